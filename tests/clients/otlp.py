"""Sends with OpenTelemetry's SDK for Python: otlp.py TRANSPORT URL [TOKEN], where TRANSPORT is http or grpc."""

import sys

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

transport, url, *token = sys.argv[1:]
headers = {"authorization": f"Bearer {token[0]}"} if token else None
if transport == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    exporter = OTLPMetricExporter(endpoint=url, insecure=True, headers=headers)
else:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    exporter = OTLPMetricExporter(endpoint=url, headers=headers)

resource = Resource({"service.name": f"python-{transport}", "service.instance.id": "till-1", "host.name": "h"})
views = [View(instrument_name="shop.size", aggregation=ExponentialBucketHistogramAggregation())]
provider = MeterProvider([PeriodicExportingMetricReader(exporter, 3600_000)], resource, views=views)
meter = provider.get_meter("shop")

orders = meter.create_counter("shop.orders")
orders.add(3, {"http.method": "get"})
orders.add(4.5, {"http.method": "get"})
open_orders = meter.create_up_down_counter("shop.open")
open_orders.add(5)
open_orders.add(-2)
meter.create_observable_gauge("shop.temperature", [lambda _: [Observation(21.5)]], unit="Cel")
wait = meter.create_histogram("shop.wait", unit="s", explicit_bucket_boundaries_advisory=[0.5, 1, 2.5])
size = meter.create_histogram("shop.size", unit="By")
for value in (0.25, 0.75, 3):
    wait.record(value)
    size.record(value)
if not provider.force_flush():
    sys.exit("the export failed")
provider.shutdown()
