// Sends with hot-shots by UDP and by unix datagrams: `statsd.js PORT SOCKET`. The latter need a module that is compiled;
// without it they are left out, with a message.
'use strict';
const StatsD = require('hot-shots');

function send(by, options, done) {
  const client = new StatsD({
    maxBufferSize: 1432, includeDataDogTags: false, globalTags: { by },
    errorHandler: (error) => { console.error(error); process.exit(1); }, ...options,
  });
  client.increment('javascript.hits', 3);
  client.increment('javascript.hits', 4);
  client.gauge('javascript.level', 2.5);
  client.timing('javascript.wait', 250);
  client.distribution('javascript.size', 3);
  client.set('javascript.users', 'ann');
  client.close(done);
}

function sendByUnix() {
  try {
    require('unix-dgram');
  } catch (error) {
    console.log(`no unix datagrams: ${error.message}`);
    return;
  }
  send('unix', { protocol: 'uds', path: process.argv[3] }, () => console.log('sent by both'));
}

send('udp', { host: '127.0.0.1', port: Number(process.argv[2]) }, sendByUnix);
