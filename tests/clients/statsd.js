// Sends with hot-shots: `statsd.js PORT SOCKET`. By UDP only: its unix datagrams need a module that is compiled.
'use strict';
const StatsD = require('hot-shots');

const client = new StatsD({
  host: '127.0.0.1', port: Number(process.argv[2]), maxBufferSize: 1432, includeDataDogTags: false,
  globalTags: { by: 'udp' }, errorHandler: (error) => { console.error(error); process.exit(1); },
});
client.increment('javascript.hits', 3);
client.increment('javascript.hits', 4);
client.gauge('javascript.level', 2.5);
client.timing('javascript.wait', 250);
client.distribution('javascript.size', 3);
client.set('javascript.users', 'ann');
client.close(() => console.log('sent'));
