// Pushes with the Prometheus client library for Node.js: push.js ACTION URL...
//
// The same registry goes to each URL, so that two gateways can be compared.
'use strict';
const { Counter, Gauge, Histogram, Pushgateway, Registry, Summary } = require('prom-client');

const [action, ...urls] = process.argv.slice(2);
const register = new Registry();
const registers = [register];
// No slash: the library writes it as %2F, which the Pushgateway answers with a redirect that the library takes
// for success.
const groupings = { path: 'var backup', zone: 'ünï' };

if (action === 'push') {
    const requests = new Counter({ name: 'requests_total', help: 'Requests, with a \\ and\na second line.', labelNames: ['method'], registers });
    requests.inc({ method: 'get' }, 3.5);
    requests.inc({ method: 'po"st\n\\' }, 1e308);
    const odd = new Gauge({ name: 'odd', help: 'Numbers that are easily lost.', labelNames: ['what'], registers });
    const values = { tenth: 0.1, third: 1 / 3, smallest: 5e-324, infinite: -Infinity, none: NaN, big: 2 ** 53 - 1 };
    for (const [what, value] of Object.entries(values)) odd.set({ what }, value);
    new Gauge({ name: 'stays', help: 'Not in the second push.', registers }).set(42);
    // No whole number: Prometheus 3 writes 1 as 1.0 when it scrapes, by remote write it arrives as it was pushed.
    const sizes = new Histogram({ name: 'sizes', help: 'Sizes.', buckets: [0.5, 1, 2.5], registers });
    for (const size of [0.2, 0.7, 2, 99.25]) sizes.observe(size);
    const took = new Summary({ name: 'took_seconds', help: 'Durations.', percentiles: [0.5, 0.9], registers });
    took.observe(0.125);
    took.observe(7);
} else if (action === 'pushadd') {
    new Gauge({ name: 'odd', help: 'Numbers that are easily lost.', labelNames: ['what'], registers }).set({ what: 'new' }, -1.25);
}

async function main() {
    const method = { push: 'push', pushadd: 'pushAdd', delete: 'delete' }[action];
    for (const url of urls) {
        // Compressed, as its manual shows it.
        const gateway = new Pushgateway(url, { headers: { 'Content-Encoding': 'gzip' } }, register);
        await gateway[method]({ jobName: 'javascript', groupings });
    }
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
