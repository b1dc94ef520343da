"""Writes with two clients of InfluxDB: `influx.py URL TIME`, the time in milliseconds. `influxdb` speaks InfluxDB 1 and
`influxdb-client` InfluxDB 2. URL has InfluxDB's own paths."""

import sys
from urllib.parse import urlparse

from influxdb import InfluxDBClient as Client1
from influxdb.exceptions import InfluxDBClientError
from influxdb_client import InfluxDBClient as Client2, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

url, time = sys.argv[1], int(sys.argv[2])
address = urlparse(url)


def points(name, **more):
    fields = {"level": 2.5, "count": 7, "open": True, "note": 'a "b", c=d'}
    return [{"measurement": name, "tags": {"shop": "a, b=c"}, "fields": fields, "time": time, **more}]


for gzip in (False, True):
    name = "python1_gzip" if gzip else "python1"
    client = Client1(address.hostname, address.port, "ann", "secret", "shop", gzip=gzip)
    assert client.ping() == "1.8.10"
    client.create_database("shop")
    assert {"name": "_internal"} in client.get_list_database()
    assert client.write_points(points(name), time_precision="ms")
    try:
        client.write(["%s level=3 %d" % (name, time - 1000), "broken"], {"db": "shop", "precision": "ms"}, protocol="line")
        raise AssertionError("a line that is broken was accepted")
    except InfluxDBClientError as error:
        assert error.code == 400 and "partial write: unable to parse 'broken': missing fields" in str(error), error

for gzip in (False, True):
    name = "python2_gzip" if gzip else "python2"
    with Client2(url, token="ann:secret", org="o", enable_gzip=gzip) as client:
        assert client.ping()
        assert client.health().status == "pass"
        assert client.version() == "1.8.10"
        writes = client.write_api(write_options=SYNCHRONOUS)
        writes.write("shop", record=points(name), write_precision=WritePrecision.MS)
        point = Point(name + "_point").tag("shop", "a").field("value", 1.5).time(time * 1000, WritePrecision.US)
        writes.write("shop", record=point, write_precision=WritePrecision.US)
        try:
            writes.write("shop", record="broken")
            raise AssertionError("a line that is broken was accepted")
        except ApiException as error:
            assert error.status == 400 and "unable to parse 'broken': missing fields" in error.body, error
    # In the background, as most programs write.
    with Client2(url, token="ann:secret", org="o", enable_gzip=gzip) as client:
        with client.write_api() as writes:
            for number in range(1000):
                writes.write("shop", record="%s_many,n=%d value=%di %d" % (name, number, number, time * 1000000))

with Client2(url, token="ann:wrong", org="o") as client:
    try:
        client.write_api(write_options=SYNCHRONOUS).write("shop", record="wrong value=1")
        raise AssertionError("a wrong password was accepted")
    except ApiException as error:
        assert error.status == 401 and "unauthorized" in error.body, (error.status, error.body)
print("sent")
