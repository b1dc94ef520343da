// Sends with OpenTelemetry's SDK for Node.js: otlp.js FORMAT URL, where FORMAT is json or protobuf.
'use strict';
const { AggregationType, MeterProvider, PeriodicExportingMetricReader } = require('@opentelemetry/sdk-metrics');
const { resourceFromAttributes } = require('@opentelemetry/resources');

const [format, url] = process.argv.slice(2);
const library = { json: 'http', protobuf: 'proto' }[format];
const { OTLPMetricExporter } = require(`@opentelemetry/exporter-metrics-otlp-${library}`);

async function main() {
    let failure;
    const exporter = new OTLPMetricExporter({ url, compression: format === 'json' ? 'gzip' : 'none' });
    const send = exporter.export.bind(exporter);
    exporter.export = (metrics, done) => send(metrics, (result) => { failure ??= result.error; done(result); });
    const provider = new MeterProvider({
        resource: resourceFromAttributes({ 'service.name': `javascript-${format}`, 'service.instance.id': 'till-1', 'host.name': 'h' }),
        readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3600_000, exportTimeoutMillis: 30_000 })],
        views: [
            { instrumentName: 'shop.size', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } },
            { instrumentName: 'shop.wait', aggregation: { type: AggregationType.EXPLICIT_BUCKET_HISTOGRAM, options: { boundaries: [0.5, 1, 2.5] } } },
        ],
    });
    const meter = provider.getMeter('shop');
    const orders = meter.createCounter('shop.orders');
    orders.add(3, { 'http.method': 'get' });
    orders.add(4.5, { 'http.method': 'get' });
    const open = meter.createUpDownCounter('shop.open');
    open.add(5);
    open.add(-2);
    meter.createObservableGauge('shop.temperature', { unit: 'Cel' }).addCallback((result) => result.observe(21.5));
    const wait = meter.createHistogram('shop.wait', { unit: 's' });
    const size = meter.createHistogram('shop.size', { unit: 'By' });
    for (const value of [0.25, 0.75, 3]) {
        wait.record(value);
        size.record(value);
    }
    await provider.forceFlush();
    await provider.shutdown();
    if (failure) throw failure;
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
