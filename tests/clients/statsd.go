// Sends with datadog-go: `statsd PORT SOCKET`, by UDP and unix datagrams.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/DataDog/datadog-go/v5/statsd"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	for by, address := range map[string]string{"udp": "127.0.0.1:" + os.Args[1], "unix": "unix://" + os.Args[2]} {
		client, err := statsd.New(address, statsd.WithTags([]string{"by:" + by}), statsd.WithoutTelemetry())
		must(err)
		must(client.Count("go.hits", 3, nil, 1))
		must(client.Count("go.hits", 4, nil, 1))
		must(client.Gauge("go.level", 2.5, nil, 1))
		must(client.Timing("go.wait", 250*time.Millisecond, nil, 1))
		must(client.Distribution("go.size", 3, nil, 1))
		must(client.Set("go.users", "ann", nil, 1))
		must(client.Close())
	}
	fmt.Println("sent")
}
