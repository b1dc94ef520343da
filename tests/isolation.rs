//! Several destinations, regions and outages: no destination blocks another one, and afterwards all samples are there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::narthex::config;
use support::prometheus::Options;
use support::wire::{self, Series, Version};
use support::{Answer, FakeReceiver, Narthex, Prometheus, SOON, now_ms, wait_for, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");

fn start(folder: &Path, text: &str) -> Narthex {
    let config = config(folder, text);
    let arguments = ["--config", &config, "--collect", "none", "--flush-deadline", "1s"];
    Narthex::start_in(PROGRAM, "run", &folder.join("data"), &arguments)
}

/// Pushes one sample of each of `series` series with this time. The value identifies both.
fn push(narthex: &Narthex, series: usize, time: i64) {
    let one = |number: usize| {
        Series::new("pushed", &[("id", &number.to_string())], &[(time, number as f64 + time as f64 / 1000.0)])
    };
    let series: Vec<Series> = (0..series).map(one).collect();
    wire::push(&narthex.write_url(), Version::V2, &series).unwrap().expect_success();
}

/// One destination is dead and one accepts one request a second. The third one is never two seconds behind, and memory
/// stays limited.
#[test]
fn a_dead_and_a_slow_destination_delay_no_other() {
    const PUSHES: usize = 200;
    const SERIES: usize = 1000;
    let [dead, slow, quick] = [(); 3].map(|()| FakeReceiver::start());
    dead.go_away();
    slow.answer(|request| Answer::success(request).delay(Duration::from_secs(1)));
    let longest = Arc::new(Mutex::new(0));
    let seen = longest.clone();
    quick.answer(move |request| {
        let now = now_ms();
        wire::visit(request.version(), &request.content, |view| {
            let oldest = view.samples.iter().map(|(time, _)| *time).min().unwrap_or(now);
            let mut longest = seen.lock().unwrap();
            *longest = (now - oldest).max(*longest);
        })
        .unwrap();
        Answer::success(request)
    });
    let folder = tempfile::tempdir().unwrap();
    let entry = |receiver: &FakeReceiver, shards: usize| {
        format!(
            "- url: {}\n  queue_config: {{batch_send_deadline: 500ms, max_shards: {shards}}}\n",
            receiver.write_url()
        )
    };
    let text = format!(
        "remote_write:\n{}{}{}collect: {{self: false}}\n",
        entry(&dead, 50),
        entry(&slow, 1),
        entry(&quick, 50)
    );
    let narthex = start(folder.path(), &text);
    for _ in 0..PUSHES {
        push(&narthex, SERIES, now_ms());
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_for("everything at the third", SOON, || {
        let stored = quick.stored();
        if stored == PUSHES * SERIES { Ok(()) } else { Err(format!("{stored} of {}", PUSHES * SERIES)) }
    });
    let longest = *longest.lock().unwrap();
    assert!(longest < 2000, "a sample took {longest} ms");
    let behind = slow.stored();
    assert!((1..PUSHES * SERIES / 2).contains(&behind), "the slow one was to be slow: {behind}");
    let memory = narthex.process.peak_rss_bytes();
    println!("longest {longest} ms, the slow one has {behind}, peak memory {memory} bytes");
    // The queues' 32 MiB, the 32 MiB of the log's tail, and the program itself.
    assert!(memory < 100 << 20, "{memory} bytes");
}

/// A Prometheus that accepts nothing out of order and narthex are killed in turn and together. Afterwards every sample
/// is stored once.
#[test]
fn strict_prometheus_has_every_sample_once_after_kills() {
    const SERIES: usize = 50;
    let Some(peers) = support::peers() else { return };
    let stored = tempfile::tempdir().unwrap();
    let server = |port| {
        let data = Some(stored.path().join("data"));
        Prometheus::start(&peers, Options { data, port, ..Options::receiver() })
    };
    let prometheus = server(None);
    let port: Option<u16> = Some(prometheus.port());
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "remote_write:\n- url: {}\n  queue_config: {{batch_send_deadline: 50ms, max_backoff: 200ms, max_samples_per_send: 100}}\ncollect: {{self: false}}\n",
        prometheus.write_url()
    );
    let mut time = now_ms() - 600_000;
    let mut times = Vec::new();
    let mut load = |narthex: &Narthex, pushes: usize| {
        for _ in 0..pushes {
            time += 1000;
            push(narthex, SERIES, time);
            times.push(time);
        }
    };
    let narthex = start(folder.path(), &text);
    load(&narthex, 40);
    // In the middle of delivery, each alone and then both.
    prometheus.process.kill();
    load(&narthex, 20);
    narthex.process.kill();
    let narthex = start(folder.path(), &text);
    load(&narthex, 20);
    let prometheus = server(port);
    load(&narthex, 40);
    narthex.process.kill();
    prometheus.process.kill();
    let narthex = start(folder.path(), &text);
    load(&narthex, 20);
    let prometheus = server(port);
    load(&narthex, 20);
    wait_for("all samples", SOON * 2, || {
        let series = prometheus.raw("pushed", "1h");
        let count: usize = series.iter().map(|series| series.samples.len()).sum();
        if count == SERIES * times.len() {
            Ok(())
        } else {
            Err(format!("{count} of {}", SERIES * times.len()))
        }
    });
    for series in prometheus.raw("pushed", "1h") {
        let number: f64 = series.labels["id"].parse().unwrap();
        let expected: Vec<(i64, f64)> =
            times.iter().map(|time| (*time, number + *time as f64 / 1000.0)).collect();
        assert_eq!(series.samples, expected, "{:?}", series.labels);
    }
}

/// A connection that can be cut. It passes all bytes on to `to`.
struct Line {
    url: String,
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Line {
    fn to(to: &str) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/api/v1/write", listener.local_addr().unwrap());
        let line = Line { url, cut: Arc::default(), open: Arc::default() };
        let (cut, open, to) =
            (line.cut.clone(), line.open.clone(), to.trim_start_matches("http://").to_string());
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let mut open = open.lock().unwrap();
                if cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(&to) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || hand_on(from, to));
                }
                open.extend([near, far]);
            }
        });
        line
    }

    fn cut(&self, cut: bool) {
        let mut open = self.open.lock().unwrap();
        self.cut.store(cut, Ordering::SeqCst);
        if cut {
            open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        }
    }
}

fn hand_on(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16384];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// Two regions push into one global Prometheus, and one of them is disconnected for an hour of samples. Afterwards both
/// are complete. The global Prometheus has an out-of-order window: without one, no Prometheus accepts samples more than
/// an hour older than its newest one.
#[test]
fn a_region_disconnected_for_an_hour_is_complete_afterwards() {
    const SERIES: usize = 20;
    const STEP_MS: i64 = 15_000;
    let Some(peers) = support::peers() else { return };
    let global =
        Prometheus::start(&peers, Options { out_of_order_window: Some("2h".into()), ..Options::receiver() });
    let lines = [Line::to(global.url()), Line::to(global.url())];
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let regions: Vec<Narthex> = (0..2)
        .map(|number| {
            let text = format!(
                "global: {{external_labels: {{region: \"{number}\"}}}}\nremote_write:\n- url: {}\n  queue_config: {{batch_send_deadline: 50ms, max_backoff: 200ms}}\ncollect: {{self: false}}\n",
                lines[number].url
            );
            start(folders[number].path(), &text)
        })
        .collect();
    let first = now_ms() - 80 * 60_000;
    let mut times = Vec::new();
    let mut step = |steps: usize| {
        for _ in 0..steps {
            let time = first + times.len() as i64 * STEP_MS;
            regions.iter().for_each(|region| push(region, SERIES, time));
            times.push(time);
        }
        times.len()
    };
    let have = |region: usize| -> usize {
        let raw = global.raw(&format!("pushed{{region=\"{region}\"}}"), "90m");
        raw.iter().map(|series| series.samples.len()).sum()
    };
    let before = step(20);
    wait_until("both regions", SOON, || (0..2).all(|region| have(region) == before * SERIES));
    lines[1].cut(true);
    let during = step(240);
    wait_until("the region that is not cut off", SOON * 2, || have(0) == during * SERIES);
    assert_eq!(have(1), before * SERIES);
    lines[1].cut(false);
    let all = step(20);
    wait_for("both to be whole", SOON * 2, || {
        let have = [have(0), have(1)];
        if have == [all * SERIES; 2] { Ok(()) } else { Err(format!("{have:?} of {}", all * SERIES)) }
    });
    let mut per_region: BTreeMap<String, usize> = BTreeMap::new();
    for series in global.raw("pushed", "90m") {
        let number: f64 = series.labels["id"].parse().unwrap();
        let expected: Vec<(i64, f64)> =
            times.iter().map(|time| (*time, number + *time as f64 / 1000.0)).collect();
        assert_eq!(series.samples, expected, "{:?}", series.labels);
        *per_region.entry(series.labels["region"].clone()).or_default() += 1;
    }
    assert_eq!(per_region.into_values().collect::<Vec<_>>(), [SERIES; 2]);
}
