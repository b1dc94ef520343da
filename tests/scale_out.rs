//! One stream over several real Prometheus servers, or VictoriaMetrics nodes: each series is complete on the configured
//! number of them. This also holds while members join, leave and fail, and while narthex is killed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]

use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use support::narthex::config;
use support::prometheus::Options;
use support::wire::{self, Series, Version};
use support::{Labels, Narthex, Peers, Prometheus, SOON, VictoriaMetrics, now_ms, wait_for, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
const SERIES: usize = 200;

/// Series and timestamp.
type Sample = (Labels, i64);

/// Some Prometheus servers, each of which can be stopped and started again, and a narthex in front of them.
struct Cluster {
    folder: tempfile::TempDir,
    peers: Peers,
    servers: Vec<Option<Prometheus>>,
    urls: Vec<String>,
    pushed: BTreeMap<Sample, f64>,
    time: i64,
}

impl Cluster {
    fn of(peers: Peers, servers: usize) -> Cluster {
        let now = now_ms();
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Cluster {
            folder,
            peers,
            servers: Vec::new(),
            urls: Vec::new(),
            pushed: BTreeMap::new(),
            time: now - 600_000,
        };
        for number in 0..servers {
            let server = cluster.server(number, None);
            cluster.urls.push(server.url().to_string());
            cluster.servers.push(Some(server));
        }
        cluster
    }

    /// Starts a server that accepts nothing out of order, so that repetitions and wrong order are visible.
    fn server(&self, number: usize, port: Option<u16>) -> Prometheus {
        let data = Some(self.folder.path().join(format!("prometheus-{number}")));
        Prometheus::start(&self.peers, Options { data, port, ..Options::receiver() })
    }

    fn kill(&mut self, number: usize) {
        let server = self.servers[number].take().unwrap();
        server.process.kill();
    }

    fn revive(&mut self, number: usize) {
        let port = self.urls[number].rsplit(':').next().unwrap().parse().unwrap();
        self.servers[number] = Some(self.server(number, Some(port)));
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn configure(&self, members: &[usize], replicas: usize) -> String {
        let members: String =
            members.iter().map(|member| format!("    - {}/api/v1/write\n", self.urls[*member])).collect();
        let text = format!(
            "global: {{external_labels: {{region: eu}}}}\nremote_write:\n- name: cluster\n  members:\n{members}  \
             shard_by: series\n  replicas: {replicas}\n  queue_config: {{batch_send_deadline: 100ms, max_backoff: 200ms}}\n\
             collect: {{self: false}}\n"
        );
        config(self.folder.path(), &text)
    }

    fn narthex(&self, members: &[usize], replicas: usize) -> Narthex {
        let config = self.configure(members, replicas);
        Narthex::start_in(PROGRAM, "run", &self.data(), &["--config", &config, "--collect", "none"])
    }

    /// Pushes `times` samples of each series, and returns them.
    fn push(&mut self, narthex: &Narthex, times: usize) -> BTreeSet<Sample> {
        let mut new = BTreeSet::new();
        for _ in 0..times {
            self.time += 1000;
            let mut series = Vec::new();
            for number in 0..SERIES {
                let (id, value) = (number.to_string(), number as f64 + self.time as f64 / 1000.0);
                series.push(Series::new("shared", &[("id", &id)], &[(self.time, value)]));
                let sent = [("__name__", "shared"), ("id", &*id), ("region", "eu")];
                let sample = (support::query::labels(sent), self.time);
                self.pushed.insert(sample.clone(), value);
                new.insert(sample);
            }
            wire::push(&narthex.write_url(), Version::V2, &series).unwrap().expect_success();
        }
        new
    }

    /// The samples of a server. Checks that each was pushed, and is there only once.
    fn has(&self, number: usize) -> BTreeSet<Sample> {
        let Some(server) = &self.servers[number] else { return BTreeSet::new() };
        let mut has = BTreeSet::new();
        for series in server.raw("shared", "1h") {
            for (time, value) in series.samples {
                let sample = (series.labels.clone(), time);
                assert_eq!(self.pushed.get(&sample), Some(&value), "{sample:?}");
                assert!(has.insert(sample), "there twice");
            }
        }
        has
    }

    /// Waits until each sample is on `replicas` servers, then checks that none is on more.
    #[track_caller]
    fn wait_for_copies(&self, replicas: usize) {
        let copies = || {
            let mut copies: BTreeMap<Sample, usize> =
                self.pushed.keys().map(|sample| (sample.clone(), 0)).collect();
            for number in 0..self.servers.len() {
                self.has(number).into_iter().for_each(|sample| *copies.get_mut(&sample).unwrap() += 1);
            }
            copies
        };
        wait_for("each sample in its copies", SOON * 2, || {
            let copies = copies();
            let too_few = copies.values().filter(|count| **count < replicas).count();
            if too_few == 0 { Ok(()) } else { Err(format!("{too_few} of {} have too few", copies.len())) }
        });
        assert_eq!(copies().values().filter(|count| **count > replicas).count(), 0, "too many copies");
    }
}

fn rings(data: &Path) -> String {
    let files = std::fs::read_dir(data.join("rings")).unwrap();
    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn each_series_is_complete_on_the_configured_number_of_servers() {
    let Some(peers) = support::peers() else { return };
    let mut cluster = Cluster::of(peers, 3);
    let narthex = cluster.narthex(&[0, 1, 2], 2);
    narthex.process.wait_for_line("pushing each series to 2 of 3 members", SOON);
    cluster.push(&narthex, 10);
    // One server is unreachable for some time: the others continue without it, and it gets the missed samples
    // afterwards.
    cluster.kill(1);
    let missed = cluster.push(&narthex, 10);
    wait_until("the others to have their part", SOON, || {
        let there = [0, 2].map(|number| cluster.has(number).intersection(&missed).count());
        there.iter().sum::<usize>() > missed.len() && there.iter().all(|count| *count < missed.len())
    });
    cluster.revive(1);
    cluster.push(&narthex, 1);
    cluster.wait_for_copies(2);
    let mut counts = Vec::new();
    for server in cluster.servers.iter().flatten() {
        let series = server.raw("shared", "1h");
        assert!(series.iter().all(|series| series.samples.len() == 21), "a series is complete or missing");
        counts.push(series.len());
    }
    assert!(counts.iter().all(|count| (100..170).contains(count)), "two thirds of {SERIES} each: {counts:?}");
    let sum: f64 = cluster
        .servers
        .iter()
        .flatten()
        .map(|server| server.query("sum(sum_over_time(shared[1h]))")[0].value)
        .sum();
    let pushed: f64 = cluster.pushed.values().sum();
    assert!((sum / pushed - 2.0).abs() < 1e-9, "{sum} of {pushed}");
    let status = narthex.get("/api/v1/status/remote_write").text();
    assert!(status.contains(&format!("cluster/{}/api/v1/write", cluster.urls[1])), "{status}");
}

#[test]
fn members_joining_and_leaving_with_kills_lose_and_repeat_nothing() {
    let Some(peers) = support::peers() else { return };
    let mut cluster = Cluster::of(peers, 4);
    let narthex = cluster.narthex(&[0, 1, 2], 1);
    cluster.push(&narthex, 10);
    // Two servers are unreachable, one of which is about to leave; their samples wait in the log.
    cluster.kill(0);
    cluster.kill(1);
    let before = cluster.push(&narthex, 10);
    narthex.process.kill();

    let narthex = cluster.narthex(&[1, 2, 3], 1);
    let between = cluster.push(&narthex, 10);
    narthex.process.kill();
    // The same members again: the position of the change stays the same.
    let narthex = cluster.narthex(&[3, 2, 1], 1);
    let mut between: BTreeSet<Sample> = between.into_iter().chain(cluster.push(&narthex, 10)).collect();
    cluster.revive(1);
    between.extend(cluster.push(&narthex, 5));
    cluster.revive(0);
    wait_until("the one that left to have its part", SOON * 2, || {
        let status = narthex.get("/api/v1/status/remote_write").json();
        let all = status["destinations"].as_array().unwrap().clone();
        let left = all.iter().find(|one| one["url"] == format!("{}/api/v1/write", cluster.urls[0]));
        left.is_none_or(|left| left["state"] == "left")
    });
    cluster.wait_for_copies(1);
    assert_eq!(
        cluster.has(3).intersection(&before).count(),
        0,
        "earlier samples are not sent to the new member"
    );
    assert_eq!(
        cluster.has(0).intersection(&between).count(),
        0,
        "later samples are not sent to the old member"
    );
    assert!(cluster.has(3).intersection(&between).count() > between.len() / 5);

    // A reload changes back to the first members, without a stop.
    let rings_before = rings(&cluster.data());
    cluster.configure(&[0, 3], 1);
    narthex.process.signal(Signal::HUP);
    narthex.process.wait_for_line("the configuration was reloaded", SOON);
    assert_ne!(rings(&cluster.data()), rings_before);
    let after = cluster.push(&narthex, 10);
    cluster.wait_for_copies(1);
    for gone in [1, 2] {
        assert_eq!(cluster.has(gone).intersection(&after).count(), 0);
    }
    let shares = [0, 3].map(|number| cluster.has(number).intersection(&after).count());
    assert!(shares.iter().all(|share| *share > after.len() / 3), "{shares:?} of {}", after.len());
}

/// Single nodes of VictoriaMetrics, which store repeated samples twice.
#[test]
fn several_victoriametrics_have_each_series_once_across_a_change_of_members() {
    let Some(peers) = support::peers() else { return };
    let nodes: Vec<VictoriaMetrics> = (0..3).map(|_| VictoriaMetrics::start(&peers)).collect();
    let folder = tempfile::tempdir().unwrap();
    let start = |members: [usize; 2]| {
        let members = members.map(|member| format!("    - {}\n", nodes[member].write_url())).concat();
        let text = format!(
            "remote_write:\n- name: cluster\n  members:\n{members}  shard_by: series\n  queue_config: \
             {{batch_send_deadline: 100ms, max_backoff: 200ms}}\ncollect: {{self: false}}\n"
        );
        let config = config(folder.path(), &text);
        Narthex::start_in(
            PROGRAM,
            "run",
            &folder.path().join("data"),
            &["--config", &config, "--collect", "none"],
        )
    };
    let begin = now_ms() - 600_000;
    let push = |narthex: &Narthex, seconds: std::ops::Range<i64>| {
        for second in seconds {
            let series: Vec<Series> = (0..SERIES)
                .map(|id| {
                    let sample = (begin + second * 1000, (second + id as i64) as f64);
                    Series::new("shared", &[("id", &id.to_string())], &[sample])
                })
                .collect();
            wire::push(&narthex.write_url(), Version::V2, &series).unwrap().expect_success();
        }
    };
    // The number of these seconds' samples on each node. Checks that none is repeated or differs from the pushed one.
    let there = |seconds: std::ops::Range<i64>| {
        let mut seen = BTreeSet::new();
        let counts: Vec<usize> = nodes
            .iter()
            .map(|node| {
                let mut count = 0;
                for series in node.export("shared") {
                    let id: i64 = series.labels["id"].parse().unwrap();
                    for (time, value) in series.samples {
                        let second = (time - begin) / 1000;
                        assert_eq!(value, (second + id) as f64);
                        assert!(seen.insert((id, time)), "{id} {time} is there twice");
                        count += usize::from(seconds.contains(&second));
                    }
                }
                count
            })
            .collect();
        counts
    };
    let narthex = start([0, 1]);
    push(&narthex, 0..10);
    wait_until("the first half", SOON, || there(0..10).iter().sum::<usize>() == 10 * SERIES);
    narthex.process.kill();
    let narthex = start([1, 2]);
    push(&narthex, 10..20);
    wait_until("the second half", SOON, || there(10..20).iter().sum::<usize>() == 10 * SERIES);
    let (before, after) = (there(0..10), there(10..20));
    assert_eq!((before[2], after[0]), (0, 0), "{before:?} {after:?}");
    for share in [before[0], before[1], after[1], after[2]] {
        assert!((share as f64 / (10 * SERIES) as f64 - 0.5).abs() < 0.2, "{before:?} {after:?}");
    }
}
