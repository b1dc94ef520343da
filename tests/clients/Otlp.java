// Sends with OpenTelemetry's SDK for Java: `Otlp.java TRANSPORT URL`, where TRANSPORT is http or grpc.

import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.metrics.Meter;
import io.opentelemetry.exporter.otlp.http.metrics.OtlpHttpMetricExporter;
import io.opentelemetry.exporter.otlp.metrics.OtlpGrpcMetricExporter;
import io.opentelemetry.sdk.metrics.Aggregation;
import io.opentelemetry.sdk.metrics.InstrumentSelector;
import io.opentelemetry.sdk.metrics.SdkMeterProvider;
import io.opentelemetry.sdk.metrics.View;
import io.opentelemetry.sdk.metrics.export.MetricExporter;
import io.opentelemetry.sdk.metrics.export.PeriodicMetricReader;
import io.opentelemetry.sdk.resources.Resource;
import java.util.List;
import java.util.concurrent.TimeUnit;

class Otlp {
    public static void main(String[] arguments) throws Exception {
        String transport = arguments[0];
        MetricExporter exporter = transport.equals("grpc")
                ? OtlpGrpcMetricExporter.builder().setEndpoint(arguments[1]).build()
                : OtlpHttpMetricExporter.builder().setEndpoint(arguments[1]).setCompression("gzip").build();
        Resource resource = Resource.create(Attributes.of(
                AttributeKey.stringKey("service.name"), "java-" + transport,
                AttributeKey.stringKey("service.instance.id"), "till-1",
                AttributeKey.stringKey("host.name"), "h"));
        try (SdkMeterProvider provider = SdkMeterProvider.builder().setResource(resource)
                .registerMetricReader(PeriodicMetricReader.builder(exporter).build())
                .registerView(InstrumentSelector.builder().setName("shop.size").build(),
                        View.builder().setAggregation(Aggregation.base2ExponentialBucketHistogram()).build())
                .build()) {
            Meter meter = provider.get("shop");
            Attributes get = Attributes.of(AttributeKey.stringKey("http.method"), "get");
            var orders = meter.counterBuilder("shop.orders").ofDoubles().build();
            orders.add(3, get);
            orders.add(4.5, get);
            var open = meter.upDownCounterBuilder("shop.open").build();
            open.add(5);
            open.add(-2);
            meter.gaugeBuilder("shop.temperature").setUnit("Cel").buildWithCallback(gauge -> gauge.record(21.5));
            var wait = meter.histogramBuilder("shop.wait").setUnit("s")
                    .setExplicitBucketBoundariesAdvice(List.of(0.5, 1.0, 2.5)).build();
            var size = meter.histogramBuilder("shop.size").setUnit("By").build();
            for (double value : new double[] {0.25, 0.75, 3}) {
                wait.record(value);
                size.record(value);
            }
            if (!provider.forceFlush().join(30, TimeUnit.SECONDS).isSuccess()) {
                System.err.println("the export failed");
                System.exit(1);
            }
        }
    }
}
