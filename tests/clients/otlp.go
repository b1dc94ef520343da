// Sends with OpenTelemetry's SDK for Go: `otlp TRANSPORT HOST:PORT`, where TRANSPORT is http or grpc.
package main

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func main() {
	ctx := context.Background()
	transport, address := os.Args[1], os.Args[2]
	var exporter sdk.Exporter
	if transport == "grpc" {
		exporter = must(otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpoint(address), otlpmetricgrpc.WithInsecure(), otlpmetricgrpc.WithCompressor("gzip")))
	} else {
		exporter = must(otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpoint(address), otlpmetrichttp.WithInsecure(), otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression)))
	}
	exponential := sdk.Stream{Aggregation: sdk.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20}}
	provider := sdk.NewMeterProvider(
		sdk.WithReader(sdk.NewPeriodicReader(exporter)),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "go-"+transport),
			attribute.String("service.instance.id", "till-1"),
			attribute.String("host.name", "h"),
		)),
		sdk.WithView(sdk.NewView(sdk.Instrument{Name: "shop.size"}, exponential)),
	)
	meter := provider.Meter("shop")
	method := metric.WithAttributes(attribute.String("http.method", "get"))
	orders := must(meter.Float64Counter("shop.orders"))
	orders.Add(ctx, 3, method)
	orders.Add(ctx, 4.5, method)
	open := must(meter.Int64UpDownCounter("shop.open"))
	open.Add(ctx, 5)
	open.Add(ctx, -2)
	must(meter.Float64Gauge("shop.temperature", metric.WithUnit("Cel"))).Record(ctx, 21.5)
	wait := must(meter.Float64Histogram("shop.wait", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(0.5, 1, 2.5)))
	size := must(meter.Float64Histogram("shop.size", metric.WithUnit("By")))
	for _, value := range []float64{0.25, 0.75, 3} {
		wait.Record(ctx, value)
		size.Record(ctx, value)
	}
	must(0, provider.ForceFlush(ctx))
	must(0, provider.Shutdown(ctx))
}
