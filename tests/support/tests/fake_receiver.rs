//! The fake receiver's behaviours, as a sender sees them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::query::labels;
use support::receiver::{Ending, Tally};
use support::wire::{Series, Version, push};
use support::{Answer, FakeReceiver};

fn sample(timestamp: i64) -> [Series; 1] {
    [Series::new("a", &[("x", "1")], &[(timestamp, timestamp as f64)])]
}

#[test]
fn the_receiver_reports_written_samples_only_in_2_0() {
    let receiver = FakeReceiver::start();
    let one = push(&receiver.write_url(), Version::V1, &sample(1)).unwrap();
    assert_eq!((one.status, one.header("x-prometheus-remote-write-samples-written")), (204, None));
    let two = push(&receiver.write_url(), Version::V2, &sample(2)).unwrap();
    assert_eq!(two.header("x-prometheus-remote-write-samples-written"), Some("1"));
    assert_eq!(two.header("x-prometheus-remote-write-exemplars-written"), Some("0"));
    assert_eq!(receiver.arrivals().values().next().unwrap(), &[(1, 1.0), (2, 2.0)]);
    assert_eq!(receiver.requests()[1].version(), Version::V2);
}

#[test]
fn a_script_refuses_delays_and_hangs_up() {
    let receiver = FakeReceiver::start();
    receiver.answer(|request| match request.number {
        0 => Answer::status(503).header("Retry-After", "7").body("later"),
        1 => Answer::success(request).delay(Duration::from_millis(150)),
        2 => Answer::status(200).body("cut in two").ending(Ending::HalfAnswer),
        3 => Answer { stored: true, ..Answer::status(204).ending(Ending::NoAnswer) },
        4 => Answer::success(request).ending(Ending::Close),
        _ => Answer::success(request),
    });
    let send = |timestamp| push(&receiver.write_url(), Version::V1, &sample(timestamp));
    let refused = send(0).unwrap();
    assert_eq!(
        (refused.status, refused.header("retry-after"), refused.text().as_str()),
        (503, Some("7"), "later")
    );
    let start = Instant::now();
    assert_eq!(send(1).unwrap().status, 204);
    assert!(start.elapsed() >= Duration::from_millis(150));
    send(2).unwrap_err();
    send(3).unwrap_err();
    assert_eq!(send(4).unwrap().status, 204);
    assert_eq!(send(5).unwrap().status, 204);
    let statuses: Vec<_> =
        receiver.requests().iter().map(|request| (request.status, request.stored)).collect();
    assert_eq!(statuses, [(503, false), (204, true), (200, false), (204, true), (204, true), (204, true)]);

    let series = labels([("__name__", "a"), ("x", "1")]);
    let expected = BTreeMap::from([(series, vec![0, 1, 2, 3, 4, 5])]);
    let tally = receiver.tally(&expected);
    assert_eq!(tally, Tally { arrived: 4, lost: 2, ..Tally::default() });
}

#[test]
fn an_outage_refuses_connections_and_ends_at_the_same_address() {
    let receiver = FakeReceiver::start();
    let send = |timestamp| push(&receiver.write_url(), Version::V1, &sample(timestamp));
    assert_eq!(send(0).unwrap().status, 204);
    receiver.go_away();
    send(1).unwrap_err();
    receiver.come_back();
    assert_eq!(send(2).unwrap().status, 204);
    assert_eq!(receiver.stored(), 2);
}

#[test]
fn a_body_that_cannot_be_decompressed_is_an_error() {
    let receiver = FakeReceiver::start();
    receiver.answer(|request| Answer::status(if request.decoding.is_some() { 400 } else { 204 }));
    let headers = Version::V1.headers();
    let answer = support::http::post(&receiver.write_url(), &headers, b"\xff\xff\xff\xff\xff\xff").unwrap();
    assert_eq!(answer.status, 400);
}
