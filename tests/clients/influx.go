// Writes with influxdb-client-go: `influx URL TIME`, the time in milliseconds.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	url := os.Args[1]
	milliseconds, err := strconv.ParseInt(os.Args[2], 10, 64)
	must(err)
	ctx := context.Background()
	for name, gzip := range map[string]bool{"go": false, "go_gzip": true} {
		options := influxdb2.DefaultOptions().SetUseGZip(gzip).SetPrecision(time.Millisecond)
		client := influxdb2.NewClientWithOptions(url, "ann:secret", options)
		ready, err := client.Ping(ctx)
		must(err)
		health, err := client.Health(ctx)
		must(err)
		if !ready || health.Status != "pass" {
			must(fmt.Errorf("not ready: %v %v", ready, health))
		}
		writes := client.WriteAPIBlocking("o", "shop")
		fields := map[string]interface{}{"level": 2.5, "count": 7, "size": uint64(9), "open": true, "note": `a "b", c=d`}
		tags := map[string]string{"shop": "a, b=c"}
		must(writes.WritePoint(ctx, influxdb2.NewPoint(name, tags, fields, time.UnixMilli(milliseconds))))
		err = writes.WriteRecord(ctx, "broken")
		if err == nil || !strings.Contains(err.Error(), "unable to parse 'broken'") {
			must(fmt.Errorf("a line that is broken: %v", err))
		}
		client.Close()
	}
	fmt.Println("sent")
}
