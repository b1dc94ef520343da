//! Reloads of the configuration while narthex runs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test reports")]

use rustix::process::Signal;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use support::narthex::config;
use support::numbered::sum;
use support::wire::{self, Series, Version};
use support::{Answer, FakeReceiver, Labels, Narthex, Numbered, Pushed, SOON, wait_for, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
const SUCCESSFUL: &str = "narthex_config_last_reload_successful";
const SUCCESS_TIME: &str = "narthex_config_last_reload_success_timestamp_seconds";

/// A configuration file that is written repeatedly.
struct Place {
    folder: tempfile::TempDir,
    numbered: Numbered,
}

impl Place {
    fn new() -> Place {
        let numbered = Numbered::default();
        Place { folder: tempfile::tempdir().unwrap(), numbered }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("narthex.yml")
    }

    /// Writes entries of `remote_write`, and other sections after them.
    fn write(&self, entries: &[String], more: &str) {
        let entries: String = entries.iter().map(|entry| format!("  - {{{entry}}}\n")).collect();
        config(self.folder.path(), &format!("remote_write:\n{entries}{more}\n"));
    }

    fn run(&self, arguments: &[&str]) -> Narthex {
        let path = self.path();
        let own = ["--config", path.to_str().unwrap(), "--flush-deadline", "100ms"];
        Narthex::start_in(PROGRAM, "run", &self.folder.path().join("data"), &[&own, arguments].concat())
    }

    fn push(&self, narthex: &Narthex, count: i64) -> Pushed {
        self.numbered.push(narthex, count)
    }
}

fn entry(receiver: &FakeReceiver) -> String {
    format!("url: '{}'", receiver.write_url())
}

/// Waits until all of these samples, and no others, have arrived in order.
fn arrived(receiver: &FakeReceiver, pushed: &[&Pushed]) {
    let tally = receiver.wait_for_all(&sum(pushed));
    assert_eq!((tally.out_of_order, tally.unexpected), (0, 0), "{tally:?}");
}

const QUIET: &str = "collect: {self: false, host: {collectors: none}}";

#[test]
fn on_sighup_the_destinations_follow_the_file() {
    let place = Place::new();
    let [kept, changed, gone, new] = [(); 4].map(|()| FakeReceiver::start());
    let named = |name: &str, receiver: &FakeReceiver| format!("name: {name}, {}", entry(receiver));
    place.write(&[entry(&kept), named("changed", &changed), named("gone", &gone)], QUIET);
    let narthex = place.run(&[]);
    let before = place.push(&narthex, 10);
    for receiver in [&kept, &changed, &gone] {
        arrived(receiver, &[&before]);
    }
    // The changed destination has a backlog.
    changed.go_away();
    let backlog = place.push(&narthex, 10);
    arrived(&kept, &[&before, &backlog]);
    arrived(&gone, &[&before, &backlog]);

    let slower = "queue_config: {min_shards: 2, batch_send_deadline: 1s}";
    place.write(
        &[named("new", &new), format!("{}, {slower}", named("changed", &changed)), entry(&kept)],
        QUIET,
    );
    let said = narthex.reload();
    assert!(said.contains("changed: changed; new: new; removed: gone; as before: 1"), "{said}");
    narthex.process.wait_for_line("gone was removed", SOON);
    changed.come_back();
    let after = place.push(&narthex, 10);
    arrived(&kept, &[&before, &backlog, &after]);
    arrived(&changed, &[&before, &backlog, &after]);
    arrived(&new, &[&after]);
    arrived(&gone, &[&before, &backlog]);
    assert_eq!(kept.connections(), 1, "what did not change kept its connection");

    // The API and the metrics have the new destinations.
    let status = narthex.get("/api/v1/status/remote_write").json();
    let names: Vec<&str> =
        status["destinations"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["new", "changed", kept.write_url().as_str()]);
    assert_eq!(status["removed_destinations"][0]["name"], "gone");
    let sent = |name: &str, receiver: &FakeReceiver| {
        let url = receiver.write_url();
        narthex.metric(&format!(
            "prometheus_remote_storage_samples_total{{remote_name=\"{name}\",url=\"{url}\"}}"
        ))
    };
    assert_eq!((sent("gone", &gone), sent("new", &new)), (None, Some(10.0)));
    // Its counters continue.
    wait_until("30 samples of it", SOON, || sent("changed", &changed) == Some(30.0));
    let pending = format!(
        "prometheus_remote_storage_samples_pending{{remote_name=\"changed\",url=\"{}\"}}",
        changed.write_url()
    );
    assert_eq!(narthex.metric(&pending), Some(0.0));

    // The same file again changes nothing.
    let said = narthex.reload();
    assert!(said.contains("the destinations are the same"), "{said}");
    let more = place.push(&narthex, 10);
    arrived(&kept, &[&before, &backlog, &after, &more]);
    assert_eq!(kept.connections(), 1);
    assert_eq!(narthex.process.terminate(SOON).code(), Some(0));
}

#[test]
fn a_bad_file_is_refused_and_the_old_one_stays() {
    let place = Place::new();
    let a = FakeReceiver::start();
    place.write(&[entry(&a)], QUIET);
    let narthex = place.run(&[]);
    let mut all = vec![place.push(&narthex, 10)];
    assert_eq!(narthex.metric(SUCCESSFUL), Some(1.0));
    let read = narthex.metric(SUCCESS_TIME).unwrap();
    assert!(read > 1e9);
    let config = std::fs::read_to_string(place.path()).unwrap();
    for (bad, words) in [
        (config.replace("url:", "uri:"), "narthex.yml:2:"),
        (format!("{config}\ncollect: {{self: true}}\n"), "narthex.yml:"),
        (config.replacen("}\n", ", basic_auth: {username: me, password_file: missing}}\n", 1), "missing"),
        (format!("{config}receive: {{bearer: {{token_file: missing}}}}\n"), "missing"),
        (format!("{config}receive: {{tls: {{cert_file: a, key_file: b}}}}\n"), "cert_file"),
        (String::new(), "no destination"),
    ] {
        std::fs::write(place.path(), &bad).unwrap();
        let said = narthex.reload();
        assert!(said.contains("not reloaded, and the old one is in use") && said.contains(words), "{said}");
        assert_eq!(narthex.metric(SUCCESSFUL), Some(0.0));
        assert_eq!(narthex.metric(SUCCESS_TIME), Some(read));
        all.push(place.push(&narthex, 10));
        arrived(&a, &all.iter().collect::<Vec<_>>());
    }
    assert_eq!(a.connections(), 1);
    std::fs::write(place.path(), config).unwrap();
    narthex.reload();
    assert_eq!(narthex.metric(SUCCESSFUL), Some(1.0));
    assert!(narthex.metric(SUCCESS_TIME).unwrap() > read);
}

#[test]
fn reload_over_http_answers_as_prometheus() {
    let place = Place::new();
    let (a, b) = (FakeReceiver::start(), FakeReceiver::start());
    place.write(&[entry(&a)], QUIET);
    let narthex = place.run(&[]);
    let answer = narthex.post("/-/reload", &[], b"");
    assert_eq!(answer.status, 403);
    assert!(answer.text().starts_with("Lifecycle API is not enabled"), "{}", answer.text());
    assert_eq!(narthex.get("/-/reload").status, 405);
    assert_eq!(narthex.process.terminate(SOON).code(), Some(0));

    let narthex = place.run(&["--enable-lifecycle"]);
    assert_eq!(narthex.get("/-/reload").status, 405);
    place.write(&[entry(&a), format!("name: b, {}", entry(&b))], QUIET);
    for method in ["POST", "PUT"] {
        let answer = narthex.request(method, "/-/reload", &[], Some(b""));
        assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{method}");
    }
    let pushed = place.push(&narthex, 10);
    arrived(&b, &[&pushed]);
    std::fs::write(place.path(), "remote_write: 7\n").unwrap();
    let answer = narthex.post("/-/reload", &[], b"");
    assert_eq!(answer.status, 500);
    assert!(answer.text().starts_with("failed to reload config: "), "{}", answer.text());
    assert!(answer.text().contains("narthex.yml:1:"), "{}", answer.text());
    // A web page may not request a reload.
    let answer = narthex.post("/-/reload", &[("Origin", "http://evil.example")], b"");
    assert_eq!(answer.status, 403);
    assert!(!answer.text().contains("Lifecycle"));
}

#[test]
fn reloads_under_load_lose_and_leak_nothing() {
    let place = Place::new();
    let [kept, changed] = [(); 2].map(|()| FakeReceiver::start());
    // Slow enough that there is always a request in flight.
    changed.answer(|request| Answer::success(request).delay(std::time::Duration::from_millis(3)));
    let with = |shards: usize, size: usize| {
        let queue = format!("{{min_shards: {shards}, max_shards: {shards}, max_samples_per_send: {size}}}");
        let changed = format!("name: changed, {}, queue_config: {queue}", entry(&changed));
        let fixed = format!("{}, queue_config: {{min_shards: 1, max_shards: 1}}", entry(&kept));
        if size.is_multiple_of(2) { vec![fixed, changed] } else { vec![changed, fixed] }
    };
    place.write(&with(1, 10), QUIET);
    let narthex = place.run(&[]);
    place.push(&narthex, 1);
    let files = || std::fs::read_dir(format!("/proc/{}/fd", narthex.process.id())).unwrap().count();
    let tasks = || std::fs::read_dir(format!("/proc/{}/task", narthex.process.id())).unwrap().count();
    let lines = || narthex.get("/metrics").text().lines().count();
    let mut dice = fastrand::Rng::with_seed(7);
    let mut turn = |count: usize| {
        for _ in 0..count {
            place.write(&with(dice.usize(1..6), dice.usize(1..200)), QUIET);
            narthex.reload();
        }
    };
    let stop = AtomicBool::new(false);
    let expected = std::thread::scope(|scope| {
        let pusher = scope.spawn(|| {
            let mut all = Pushed::new();
            let mut place_in_series = [0_i64; 20];
            while !stop.load(Ordering::Relaxed) {
                let now = place.numbered.next_ms();
                let series: Vec<Series> = place_in_series
                    .iter_mut()
                    .enumerate()
                    .map(|(number, next)| {
                        let samples: Vec<(i64, f64)> =
                            (*next..*next + 5).map(|at| (now + at, at as f64)).collect();
                        *next += 5;
                        Series::new("load", &[("number", &number.to_string())], &samples)
                    })
                    .collect();
                wire::push(&narthex.write_url(), Version::V1, &series).unwrap().expect_success();
                for series in series {
                    let labels: Labels = series.labels.iter().cloned().collect();
                    all.entry(labels).or_default().extend(series.samples.iter().map(|(time, _)| *time));
                }
            }
            all
        });
        turn(20);
        let before = (files(), tasks(), lines());
        turn(40);
        let after = (files(), tasks(), lines());
        assert!(
            after.0 <= before.0 + 10 && after.1 <= before.1 + 6 && after.2 == before.2,
            "files, threads and lines of metrics: {before:?}, then {after:?}"
        );
        stop.store(true, Ordering::Relaxed);
        pusher.join().unwrap()
    });
    let first = |receiver: &FakeReceiver| {
        let mut expected = expected.clone();
        let arrivals = receiver.arrivals();
        let one = arrivals.keys().find(|labels| labels.values().any(|value| value == "pushed"));
        if let Some(labels) = one {
            expected.insert(labels.clone(), arrivals[labels].iter().map(|(time, _)| *time).take(1).collect());
        }
        expected
    };
    for receiver in [&kept, &changed] {
        wait_for("everything to arrive", SOON, || {
            let tally = receiver.tally(&first(receiver));
            if tally.lost == 0 { Ok(()) } else { Err(format!("{tally:?}")) }
        });
        let tally = receiver.tally(&first(receiver));
        assert_eq!((tally.out_of_order, tally.unexpected), (0, 0), "{tally:?}");
    }
    assert_eq!(kept.connections(), 1);
    assert_eq!(kept.tally(&first(&kept)).repeated, 0);
    assert_eq!(changed.tally(&first(&changed)).repeated, 0, "the reload waited for requests in flight");
    let url = kept.write_url();
    let lost = format!("narthex_remote_positions_failed_total{{remote_name=\"{url}\",url=\"{url}\"}}");
    assert_eq!(narthex.metric(&lost), Some(0.0));
    assert_eq!(narthex.process.terminate(SOON).code(), Some(0));
}

#[test]
fn a_corrected_url_keeps_the_backlog_over_a_reload() {
    let place = Place::new();
    let (wrong, right) = (FakeReceiver::start(), FakeReceiver::start());
    wrong.go_away();
    place.write(&[entry(&wrong)], &format!("{QUIET}\nlog: {{max_size: 8MiB}}"));
    let narthex = place.run(&[]);
    let backlog = place.push(&narthex, 5000);
    place.write(&[entry(&right)], &format!("{QUIET}\nlog: {{max_size: 8MiB}}"));
    narthex.reload();
    narthex.process.wait_for_line("it goes on where it was", SOON);
    let line =
        format!("destinations changed: {} (was {}); as before: 0", right.write_url(), wrong.write_url());
    narthex.process.wait_for_line(&line, SOON);
    let after = place.push(&narthex, 10);
    arrived(&right, &[&backlog, &after]);
    assert_eq!(narthex.metric("narthex_log_orphaned_pins"), Some(0.0));
}

#[test]
fn labels_inputs_and_collectors_are_reloaded_and_other_keys_named() {
    let place = Place::new();
    let a = FakeReceiver::start();
    place.write(&[entry(&a)], QUIET);
    let narthex = place.run(&[]);
    narthex.post("/metrics/job/j", &[], b"some_metric 1\n").expect_success();
    let shown = || narthex.get("/metrics").text().contains("some_metric{");
    assert!(!shown());
    place.push(&narthex, 1);
    let has = |name: &str, value: &str| {
        a.arrivals().keys().any(|labels| labels.get(name).is_some_and(|its| its == value))
    };
    place.write(
        &[entry(&a)],
        "global: {external_labels: {site: here}}\n\
         collect: {host: {interval: 1s, collectors: [time]}}\n\
         receive: {pushgateway: {expose: true, max_groups: 1}}\n\
         log: {max_size: 64MiB, durability: os}",
    );
    narthex.reload();
    for key in ["log.max_size", "log.durability"] {
        narthex.process.wait_for_line(&format!("{key} has changed, which needs a restart"), SOON);
    }
    assert!(shown());
    assert_eq!(narthex.post("/metrics/job/k", &[], b"some_metric 1\n").status, 429);
    place.push(&narthex, 1);
    wait_until("the label", SOON, || has("site", "here"));
    wait_until("this machine's metrics", SOON, || has("__name__", "node_time_seconds"));
    wait_until("narthex' own", SOON, || has("__name__", "narthex_build_info"));
    // The old value is still in use, so the warning is repeated.
    narthex.reload();
    let told =
        narthex.process.lines().iter().filter(|line| line.contains("log.durability has changed")).count();
    assert_eq!(told, 2);
}

#[test]
fn credentials_are_reloaded() {
    let place = Place::new();
    let a = FakeReceiver::start();
    let token = |token: &str| format!("{QUIET}\nreceive: {{bearer: {{token: {token}}}}}");
    place.write(&[entry(&a)], &token("one"));
    let narthex = place.run(&["--enable-lifecycle"]);
    let status = |token: &str| {
        let header = format!("Bearer {token}");
        narthex.request("POST", "/-/reload", &[("Authorization", &header)], Some(b"")).status
    };
    assert_eq!((status("one"), status("two")), (200, 401));
    place.write(&[entry(&a)], &token("two"));
    assert_eq!(status("one"), 200, "by the old one, the last time");
    assert_eq!((status("one"), status("two")), (401, 200));
    // TLS can't be switched on, so the other changes are refused too.
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    std::fs::write(place.folder.path().join("c.pem"), certificate.cert.pem()).unwrap();
    std::fs::write(place.folder.path().join("k.pem"), certificate.signing_key.serialize_pem()).unwrap();
    let more =
        format!("{QUIET}\nreceive: {{tls: {{cert_file: c.pem, key_file: k.pem}}, bearer: {{token: three}}}}");
    place.write(&[entry(&a)], &more);
    let answer = narthex.request("POST", "/-/reload", &[("Authorization", "Bearer two")], Some(b""));
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("TLS can't be switched on or off"), "{}", answer.text());
    assert_eq!((status("two"), status("three")), (500, 401));
}

/// The text that narthex sends to systemd is shown by `systemctl status`.
#[test]
fn the_service_manager_gets_the_result_of_a_reload() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    place.write(&[entry(&receiver)], QUIET);
    let path = place.folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let message = |line: &str| loop {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{line}: {error}"));
        let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if message.lines().any(|there| there.starts_with(line)) {
            break message;
        }
    };
    let (config, data) = (place.path(), place.folder.path().join("data"));
    let arguments = ["run", "--listen", "127.0.0.1:0", "--config", config.to_str().unwrap(), "--data"];
    let arguments = arguments.into_iter().chain(data.to_str());
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap())];
    let narthex = support::Process::with_env(std::path::Path::new(PROGRAM), arguments, &variables);
    message("READY=1");
    place.write(&["url: ftp://h/".to_string(), "nmae: a".to_string()], QUIET);
    narthex.signal(Signal::HUP);
    assert!(message("RELOADING=1").contains("\nMONOTONIC_USEC="));
    let told = message("READY=1");
    let want = "STATUS=The configuration was not reloaded; the old one is in use: ";
    let status = told.lines().find(|line| line.starts_with(want)).unwrap_or_else(|| panic!("{told}"));
    assert!(status.contains("narthex.yml:2:11: remote_write[0].url: the URL must begin with"), "{status}");
    place.write(&[entry(&receiver)], QUIET);
    narthex.signal(Signal::HUP);
    message("RELOADING=1");
    assert!(message("READY=1").contains("\nSTATUS=The configuration was reloaded"));
}
