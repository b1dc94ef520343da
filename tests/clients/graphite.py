"""Pushes with prometheus_client's bridge: `graphite.py HOST PORT`. Prints the value that it pushed."""

import sys

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.bridge.graphite import GraphiteBridge

host, port = sys.argv[1:3]
registry = CollectorRegistry()
gauge = Gauge("queue_length", "Jobs that wait.", ["shop", "till"], registry=registry)
gauge.labels("Köln", "3").set(17)
gauge.labels("a b", "4").set(0.5)
GraphiteBridge((host, int(port)), registry=registry, tags=True).push(prefix="shop.eu")
print("pushed")
