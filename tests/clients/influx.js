// Writes with @influxdata/influxdb-client: `influx.js URL TIME`, the time in milliseconds.
'use strict';
const { InfluxDB, Point, HttpError } = require('@influxdata/influxdb-client');

const [url, time] = [process.argv[2], Number(process.argv[3])];

async function main() {
  for (const [name, gzipThreshold] of [['javascript', 1000000], ['javascript_gzip', 0]]) {
    const writes = new InfluxDB({ url, token: 'ann:secret' }).getWriteApi('o', 'shop', 'ms', { gzipThreshold });
    writes.useDefaultTags({ shop: 'a, b=c' });
    const point = new Point(name).floatField('level', 2.5).intField('count', 7).uintField('size', 9);
    writes.writePoint(point.booleanField('open', true).stringField('note', 'a "b", c=d').timestamp(time));
    await writes.close();
    const failing = new InfluxDB({ url, token: 'ann:secret' }).getWriteApi('o', 'shop', 'ms', { maxRetries: 0 });
    failing.writeRecord('broken');
    await failing.close().then(
      () => { throw new Error('a line that is broken was accepted'); },
      (error) => {
        if (!(error instanceof HttpError) || error.statusCode !== 400 || !error.message.includes("unable to parse 'broken'")) {
          throw error;
        }
      });
  }
}

main().then(() => console.log('sent'), (error) => { console.error(error); process.exit(1); });
