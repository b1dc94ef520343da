//! The spool: samples that could not be sent are sent in order when the target is reachable again.

use crate::{Place, dead_url, stderr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use support::{Answer, FakeReceiver, Process, SOON, wait_for};

#[test]
fn heartbeats_are_not_kept_and_drain_the_spool() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    receiver.answer(|_| Answer::status(503));
    let url = receiver.url();
    let process = place.start(&[
        "exec",
        "--gateway",
        &url,
        "--job",
        "long",
        "--heartbeat",
        "50ms",
        "--",
        "sleep",
        "60",
    ]);
    wait_for("several heartbeats to be tried", SOON, || {
        let tried = receiver.requests().len();
        if tried >= 5 { Ok(()) } else { Err(tried) }
    });
    assert_eq!(place.entries().len(), 1, "the start alone is kept");
    receiver.answer(|_| Answer::status(200));
    wait_for("the start to be sent", SOON, || {
        let left = place.entries().len();
        if left == 0 { Ok(()) } else { Err(left) }
    });
    process.kill();
}

#[test]
fn unsent_pushes_arrive_in_order_before_newer_ones() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    receiver.go_away();
    let url = receiver.url();
    let push = |value: &str| place.run(&["push", "--gateway", &url, "--job", "j", &format!("a={value}")]);
    for (number, value) in ["1", "2", "3"].into_iter().enumerate() {
        let output = push(value);
        assert_eq!(output.status.code(), Some(0), "a gateway that is down is no failure of the script");
        let text = stderr(&output);
        assert!(text.contains(&format!("kept for the next push in {}", place.spool().display())), "{text}");
        assert!(text.contains(&format!("({} waiting)", number + 1)) && text.lines().count() == 1, "{text}");
    }
    for entry in place.entries() {
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&entry), mode(entry.parent().unwrap())), (0o600, 0o700));
        assert_eq!(mode(&place.spool()), 0o700);
    }
    receiver.come_back();
    // The first answer is a failure in the middle: the order is kept nevertheless.
    let mut left = 1;
    receiver.answer(move |_| {
        left -= 1;
        Answer::status(if left == -1 { 503 } else { 200 })
    });
    assert!(stderr(&push("4")).contains("503"), "1 is taken, 2 is not");
    assert_eq!(stderr(&push("5")), "");
    let bodies: Vec<_> = receiver.requests().iter().map(body).collect();
    assert_eq!(bodies, ["a 1", "a 2", "a 2", "a 3", "a 4", "a 5"]);
    assert_eq!(place.entries(), Vec::<PathBuf>::new());
}

fn body(request: &support::receiver::Received) -> String {
    let text = String::from_utf8_lossy(&request.body).into_owned();
    text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_pushgateway_has_the_newest_of_each_job_after_an_outage() {
    let Some(peers) = support::peers() else { return };
    let place = Place::new();
    let dead = dead_url();
    for number in 0..5 {
        let script = format!("exit {number}");
        let output = place.run(&[
            "exec",
            "--gateway",
            &dead,
            "--job",
            "j",
            "--instance",
            "i",
            "--",
            "sh",
            "-c",
            &script,
        ]);
        assert_eq!(output.status.code(), Some(number));
    }
    let address = dead.strip_prefix("http://").unwrap();
    let gateway = Process::start(&peers.pushgateway, [format!("--web.listen-address={address}")]);
    wait_for("the gateway", SOON, || support::http::get(&format!("{dead}/-/ready")));
    let output = place.run(&["push", "--gateway", &dead, "--job", "other", "a=1"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{}", gateway.tail());
    let metric = |series: &str| {
        let page = support::http::get(&format!("{dead}/metrics")).unwrap().text();
        support::query::metric_in(&page, series)
    };
    assert_eq!(metric("narthex_job_last_exit_code{instance=\"i\",job=\"j\"}"), Some(4.0));
    assert_eq!(metric("narthex_job_running{instance=\"i\",job=\"j\"}"), Some(0.0));
    assert!(metric("narthex_job_last_success_timestamp_seconds{instance=\"i\",job=\"j\"}").is_some());
    assert_eq!(metric("a{instance=\"\",job=\"other\"}"), Some(1.0));
    assert_eq!(place.entries(), Vec::<PathBuf>::new());
}

#[test]
fn concurrent_pushes_lose_and_repeat_nothing() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    receiver.go_away();
    let url = receiver.url();
    let push_all = |from: usize| {
        let all: Vec<_> = (from..from + 8)
            .map(|number| {
                let value = format!("a={number}");
                let mut command = place.command(&["push", "--gateway", &url, "--job", "j", &value]);
                command.stderr(Stdio::null()).spawn().unwrap()
            })
            .collect();
        for mut child in all {
            assert!(child.wait().unwrap().success());
        }
    };
    push_all(0);
    assert_eq!(place.entries().len(), 8);
    receiver.come_back();
    receiver.answer(|_| Answer::status(200));
    push_all(8);
    let mut seen: Vec<String> = receiver.requests().iter().map(body).collect();
    assert_eq!(place.entries(), Vec::<PathBuf>::new());
    let newer = seen.iter().take(8).filter(|body| body[2..].parse::<usize>().unwrap() >= 8).count();
    assert_eq!(newer, 0, "those that waited come first: {seen:?}");
    seen.sort_by_key(|body| body[2..].parse::<usize>().unwrap());
    assert_eq!(seen, (0..16).map(|number| format!("a {number}")).collect::<Vec<_>>());
}

#[test]
fn a_push_refused_for_good_does_not_block_the_others() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    receiver.go_away();
    let url = receiver.url();
    let push = |value: &str| place.run(&["push", "--gateway", &url, "--job", "j", &format!("a={value}")]);
    push("1");
    push("2");
    receiver.come_back();
    receiver.answer(|request| {
        let bad = body(request) == "a 1";
        if bad { Answer::status(400).body("that is wrong") } else { Answer::status(200) }
    });
    let output = push("3");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stderr(&output).contains("1 push that waited was refused and deleted: 400"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("that is wrong"));
    let bodies: Vec<_> = receiver.requests().iter().map(body).collect();
    assert_eq!(bodies, ["a 1", "a 2", "a 3"]);
    assert_eq!(push("1").status.code(), Some(1), "one's own push that is refused is a failure");
}

/// Pushes `a=value` directly to the receiver and returns the messages.
fn push_straight(place: &Place, receiver: &FakeReceiver, value: u32) -> String {
    let url = receiver.write_url();
    let output = place.run(&["push", "--to", &url, "--job", "j", &format!("a{value}=1")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stderr(&output)
}

/// Fails on requests that contain `a1`.
fn fails_on_the_first(receiver: &FakeReceiver) {
    receiver.answer(|request| {
        let is_first = request.content.windows(2).any(|bytes| bytes == b"a1");
        if is_first { Answer::status(500).body("it hurts") } else { Answer::success(request) }
    });
}

#[test]
fn an_entry_that_always_fails_is_parked_and_the_others_arrive() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    fails_on_the_first(&receiver);
    // The order is kept at first, because the target itself may be failing.
    for value in 1..=3 {
        assert!(push_straight(&place, &receiver, value).contains("500 Internal Server Error: it hurts"));
    }
    assert_eq!(place.entries().len(), 3);
    let text = push_straight(&place, &receiver, 4);
    assert!(text.contains("keeps failing on 1 push that waited, which was parked"), "{text}");
    assert_eq!(place.entries(), Vec::<PathBuf>::new(), "2, 3 and 4 arrived");
    assert_eq!(place.parked().len(), 1);
    // The parked entry delays no other, and is not retried yet.
    let before = receiver.requests().len();
    assert_eq!(push_straight(&place, &receiver, 5), "");
    assert_eq!(receiver.requests().len(), before + 1);
    // After its pause it is retried, and arrives when the target accepts it.
    receiver.answer(Answer::success);
    rest(&place);
    assert_eq!(push_straight(&place, &receiver, 6), "");
    assert_eq!(place.parked(), Vec::<PathBuf>::new());
    assert!(receiver.requests().last().unwrap().content.windows(2).any(|bytes| bytes == b"a1"));
}

#[test]
fn consecutive_failing_entries_are_parked_and_others_arrive() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    receiver.answer(|request| {
        let fails = [b"a1", b"a2", b"a3"]
            .into_iter()
            .any(|name| request.content.windows(2).any(|bytes| bytes == name));
        Answer::status(if fails { 500 } else { 204 })
    });
    for value in 1..=8 {
        push_straight(&place, &receiver, value);
    }
    assert_eq!((place.entries().len(), place.parked().len()), (0, 3));
}

/// Sets the last attempt of all parked entries to a time long ago.
fn rest(place: &Place) {
    for file in place.parked() {
        let file = std::fs::File::open(file).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
}

#[test]
fn a_single_failing_entry_is_found_with_the_next_push() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    fails_on_the_first(&receiver);
    push_straight(&place, &receiver, 1);
    // Heartbeats and pushes from elsewhere have failed at it too.
    for file in place.entries() {
        std::fs::write(file.parent().unwrap().join("failing"), "0 9\n").unwrap();
    }
    let text = push_straight(&place, &receiver, 2);
    assert!(text.contains("was parked"), "{text}");
    assert_eq!((place.entries().len(), place.parked().len()), (0, 1));
}

#[test]
fn a_target_that_fails_on_everything_parks_nothing() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    receiver.answer(|_| Answer::status(503));
    for value in 1..=8 {
        push_straight(&place, &receiver, value);
    }
    assert_eq!((place.entries().len(), place.parked().len()), (8, 0));
    receiver.answer(Answer::success);
    assert_eq!(push_straight(&place, &receiver, 9), "");
    assert_eq!(place.entries(), Vec::<PathBuf>::new());
    let order: Vec<u32> = receiver
        .requests()
        .iter()
        .rev()
        .take(9)
        .rev()
        .map(|request| {
            let found = (1..=9).find(|value| {
                let name = format!("a{value}");
                request.content.windows(2).any(|bytes| bytes == name.as_bytes())
            });
            found.unwrap()
        })
        .collect();
    assert_eq!(order, (1..=9).collect::<Vec<_>>(), "in order");
}

#[test]
fn a_parked_push_never_overwrites_a_newer_one_at_a_gateway() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    receiver.answer(|request| Answer::status(if body(request) == "a 1" { 500 } else { 200 }));
    let url = receiver.url();
    let push = |job: &str, value: u32| {
        let value = format!("a={value}");
        stderr(&place.run(&["push", "--gateway", &url, "--job", job, &value]))
    };
    push("j", 1);
    push("other", 2);
    push("other", 3);
    let text = push("other", 4);
    assert!(text.contains("was parked"), "{text}");
    let text = push("j", 5);
    assert!(
        text.contains("1 push that had been parked was deleted, because the target has a newer"),
        "{text}"
    );
    assert_eq!((place.entries().len(), place.parked().len()), (0, 0));
}

#[test]
fn wrong_credentials_certificates_and_urls_fail_after_the_value_is_kept() {
    let place = Place::new();
    let receiver = FakeReceiver::start();
    for (status, code, said) in [
        (401, 1, "401 Unauthorized; kept"),
        (403, 1, "403 Forbidden; kept"),
        (404, 1, "404 Not Found; kept"),
        (503, 0, "503 Service Unavailable; kept"),
    ] {
        // Many servers repeat the status in the body.
        let repeated = match status {
            401 => "Unauthorized\n",
            403 => "403 Forbidden",
            404 => "not found",
            _ => "",
        };
        receiver.answer(move |_| Answer::status(status).body(repeated));
        for target in [["--gateway", &receiver.url()], ["--to", &receiver.write_url()]] {
            let before = place.entries().len();
            let output = place.run(&[&["push"], &target[..], &["--job", "j", "a=1"]].concat());
            assert_eq!(output.status.code(), Some(code), "{target:?} {}", stderr(&output));
            assert!(stderr(&output).contains(said), "{target:?} {}", stderr(&output));
            assert_eq!(place.entries().len(), before + 1, "kept first");
        }
    }
    // An outage is a failure only with --strict.
    let dead = dead_url();
    for (strict, code) in [(&[][..], 0), (&["--strict"][..], 1)] {
        let output = place.run(&[&["push", "--gateway", &dead], strict, &["--job", "j", "a=1"]].concat());
        assert_eq!(output.status.code(), Some(code));
        assert!(stderr(&output).contains("kept for the next push"), "{}", stderr(&output));
    }
    // The exit code of a job is unchanged.
    receiver.answer(|_| Answer::status(401));
    let output = place.run(&["exec", "--gateway", &receiver.url(), "--job", "j", "--", "true"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
