"""Pushes with the Prometheus client library for Python: push.py ACTION URL...

The same registry goes to each URL, so that two gateways can be compared: its `_created` series hold the
time at which this process made it.
"""

import sys

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client import delete_from_gateway, push_to_gateway, pushadd_to_gateway

action, *urls = sys.argv[1:]
registry = CollectorRegistry()
group = {"path": "/var/backup", "zone": "\u00fcn\u00ef"}

if action == "push":
    requests = Counter("requests", "Requests, with a \\ and\na second line.", ["method"], registry=registry)
    requests.labels("get").inc(3.5)
    requests.labels('po"st\n\\').inc(1e308)
    odd = Gauge("odd", "Numbers that are easily lost.", ["what"], registry=registry)
    for what, value in {
        "tenth": 0.1,
        "third": 1 / 3,
        "smallest": 5e-324,
        "infinite": float("-inf"),
        "none": float("nan"),
        "big": 2**53 - 1,
    }.items():
        odd.labels(what).set(value)
    Gauge("stays", "Not in the second push.", registry=registry).set(42)
    sizes = Histogram("sizes", "Sizes.", buckets=[0.5, 1, 2.5], registry=registry)
    for size in (0.2, 0.7, 2, 99.25):
        sizes.observe(size)
    took = Summary("took_seconds", "Durations.", registry=registry)
    took.observe(0.125)
    took.observe(7)
    Info("version", "Version.", registry=registry).info({"number": "1.2.3"})
    Enum("state", "State.", states=["on", "off"], registry=registry).state("off")
elif action == "pushadd":
    Gauge("odd", "Numbers that are easily lost.", ["what"], registry=registry).labels("new").set(-1.25)

for url in urls:
    if action == "push":
        push_to_gateway(url, job="python", registry=registry, grouping_key=group)
    elif action == "pushadd":
        pushadd_to_gateway(url, job="python", registry=registry, grouping_key=group)
    elif action == "delete":
        delete_from_gateway(url, job="python", grouping_key=group)
    else:
        sys.exit(f"no such action: {action}")
