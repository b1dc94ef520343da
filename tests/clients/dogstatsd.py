"""Sends with two clients of StatsD: `dogstatsd.py PORT SOCKET`. `datadog` by UDP and unix datagrams, `statsd` by UDP."""

import sys

import statsd
from datadog.dogstatsd import DogStatsd

port, socket = int(sys.argv[1]), sys.argv[2]
for by, where in (("udp", {"host": "127.0.0.1", "port": port}), ("unix", {"socket_path": socket})):
    client = DogStatsd(disable_telemetry=True, constant_tags=["by:" + by], **where)
    client.increment("python.hits", 3)
    client.increment("python.hits", 4)
    client.gauge("python.level", 2.5)
    client.timing("python.wait", 250)
    client.distribution("python.size", 3)
    client.set("python.users", "ann")
    client.event("python", "An event.")
    client.service_check("python", DogStatsd.OK)
    client.flush()

with statsd.StatsClient("127.0.0.1", port, prefix="pystatsd").pipeline() as client:
    client.incr("hits", 7)
    client.gauge("level", 4)
    client.gauge("level", -1.5, delta=True)
    client.timing("wait", 250)
    client.set("users", "ann")
print("sent")
