// Pushes with the Prometheus client library for Go: push ACTION URL...
//
// The same registry goes to each URL, so that two gateways can be compared. The library pushes protobuf and gives
// each exemplar a timestamp.
package main

import (
	"fmt"
	"math"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
)

func main() {
	action, urls := os.Args[1], os.Args[2:]
	registry := prometheus.NewRegistry()
	odd := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "odd", Help: "Numbers that are easily lost."}, []string{"what"})
	switch action {
	case "push":
		requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests_total", Help: "Requests, with a \\ and\na second line."}, []string{"method"})
		requests.WithLabelValues("get").(prometheus.ExemplarAdder).AddWithExemplar(3.5, prometheus.Labels{"trace_id": "go-counter"})
		requests.WithLabelValues("po\"st\n\\").Add(1e308)
		for what, value := range map[string]float64{
			"tenth":    0.1,
			"third":    1.0 / 3,
			"smallest": 5e-324,
			"infinite": math.Inf(-1),
			"none":     math.NaN(),
			"big":      1<<53 - 1,
		} {
			odd.WithLabelValues(what).Set(value)
		}
		stays := prometheus.NewGauge(prometheus.GaugeOpts{Name: "stays", Help: "Not in the second push."})
		stays.Set(42)
		sizes := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sizes", Help: "Sizes.", Buckets: []float64{0.5, 1, 2.5}})
		for _, size := range []float64{0.2, 0.7, 2} {
			sizes.Observe(size)
		}
		sizes.(prometheus.ExemplarObserver).ObserveWithExemplar(99.25, prometheus.Labels{"trace_id": "go-histogram"})
		took := prometheus.NewSummary(prometheus.SummaryOpts{Name: "took_seconds", Help: "Durations.", Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01}})
		took.Observe(0.125)
		took.Observe(7)
		registry.MustRegister(requests, odd, stays, sizes, took)
	case "pushadd":
		odd.WithLabelValues("new").Set(-1.25)
		registry.MustRegister(odd)
	}
	for _, url := range urls {
		pusher := push.New(url, "go").Grouping("path", "/var/backup").Grouping("zone", "ünï")
		var err error
		switch action {
		case "push":
			err = pusher.Gatherer(registry).Push()
		case "pushadd":
			err = pusher.Gatherer(registry).Add()
		case "delete":
			err = pusher.Delete()
		default:
			err = fmt.Errorf("no such action: %s", action)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
