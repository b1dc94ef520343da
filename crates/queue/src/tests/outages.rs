//! An outage of the destination, beside successes and failing series: it parks and refuses nothing.

use super::*;

#[test]
fn outage_that_begins_during_a_success_parks_nothing() {
    let mut queue = started(2);
    push(&mut queue, chunk(0, 0..20));
    let mut now = Duration::from_secs(1);
    let (a, b) = (queue.poll(now).unwrap(), queue.poll(now).unwrap());
    // Both requests were under way. One is accepted a moment after the other has failed.
    answer(&mut queue, a, RETRY, now);
    answer(&mut queue, b, Verdict::Delivered, now + Duration::from_millis(1));
    push(&mut queue, chunk(1, 0..20));
    let mut probes = 0;
    while now < PARKED_AFTER * 3 {
        now = now.max(queue.next_wakeup().unwrap()) + Duration::from_millis(1);
        while let Some(request) = queue.poll(now) {
            probes += usize::from(sent(&queue, request).len() == 1);
            assert_eq!(answer(&mut queue, request, RETRY, now), [], "an outage settles nothing");
        }
    }
    assert!(probes > 100, "a single point is enough to ask");
    // The destination is back: after one probe all points are sent in whole batches.
    now += Duration::from_secs(5);
    let (mut delivered, mut requests) = (0, 0);
    while queue.pending() > 0 {
        now = now.max(queue.next_wakeup().unwrap());
        while let Some(request) = queue.poll(now) {
            requests += 1;
            delivered += answer(&mut queue, request, Verdict::Delivered, now).len();
            now += Duration::from_millis(1);
        }
    }
    assert!(delivered == 30 && requests <= 6, "{delivered} points in {requests} requests");
}

#[test]
fn credentials_that_expire_during_a_success_refuse_nothing() {
    let mut queue = started(2);
    push(&mut queue, chunk(0, 0..20));
    let mut now = Duration::from_secs(1);
    let (a, b) = (queue.poll(now).unwrap(), queue.poll(now).unwrap());
    answer(&mut queue, a, Verdict::Denied, now);
    answer(&mut queue, b, Verdict::Delivered, now + Duration::from_millis(1));
    push(&mut queue, chunk(1, 0..20));
    for _ in 0..20 {
        now = now.max(queue.next_wakeup().unwrap()) + Duration::from_millis(1);
        while let Some(request) = queue.poll(now) {
            assert_eq!(answer(&mut queue, request, Verdict::Denied, now), []);
        }
    }
}

/// Some series fail for a long time, with pauses between their tries, and from `begins` on all requests fail.
/// Returns how many points were parked since then, and the most requests of one moment.
fn outage_after(begins: Duration, pause: Duration, shards: usize, bad: fn(u64) -> bool) -> (usize, usize) {
    let mut queue = started(shards);
    let mut now = Duration::from_secs(1);
    let (mut number, mut given_up, mut most) = (0, 0, 0);
    while now < begins + Duration::from_secs(600) {
        now += Duration::from_secs(1);
        queue.tick(now);
        if queue.wants_more() {
            push(&mut queue, chunk(number, 0..300));
            number += 1;
        }
        let mut requests = 0;
        while let Some(request) = queue.poll(now) {
            requests += 1;
            let away = now >= begins;
            let hurts = sent(&queue, request).iter().any(|(series, _)| bad(*series));
            let wait = Verdict::Failed { reached: Reached::Receiver, retry_after: Some(pause) };
            let outcome = if hurts || away { wait } else { Verdict::Delivered };
            let settled = answer(&mut queue, request, outcome, now);
            given_up += settled.iter().filter(|fate| away && **fate != Fate::Delivered).count();
            assert!(!away || requests < 1000, "{requests} requests at {now:?}");
        }
        most = most.max(if now >= begins { requests } else { 0 });
    }
    (given_up, most)
}

#[test]
fn outage_during_parking_costs_at_most_one_search() {
    let one: fn(u64) -> bool = |series| series == 17;
    let many: fn(u64) -> bool = |series| series % 2 == 1 && series < 150;
    for (shards, bad) in [(1, one), (4, one), (2, many)] {
        for pause in [65, 100] {
            for begins in (850..1150).step_by(23) {
                let begins = Duration::from_secs(begins);
                let (given_up, most) = outage_after(begins, Duration::from_secs(pause), shards, bad);
                let about = format!("{shards} shards, {pause} s of pause, outage from {begins:?}");
                assert!(given_up <= 2 * narrow::PROBES, "{given_up} given up, {about}");
                assert!(most <= 12, "{most} requests at once, {about}");
            }
        }
    }
}
