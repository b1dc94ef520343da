//! Lanes that move to a queue of their own, and return.

use super::*;
use crate::lanes::{LANES, lane_of};

fn mask(lanes: &[usize]) -> [bool; LANES] {
    std::array::from_fn(|lane| lanes.contains(&lane))
}

/// Returns the points that a queue sends at once, with series and timestamp.
fn drain(queue: &mut Queue<Points>, health: &mut Health, now: Duration) -> Vec<(u64, i64)> {
    let mut sent = Vec::new();
    while let Some(request) = queue.begin_request(now, health) {
        sent.extend(queue.points(request.shard).map(|(chunk, point)| chunk.points[point as usize]));
        let isolate = queue.answer(request.shard, Verdict::Delivered, now, 0.0, health, |_, _, _| {});
        assert_eq!(isolate, None);
    }
    sent
}

fn feed(queue: &mut Queue<Points>, chunk: &Points) -> usize {
    let end = Position { segment: 0, offset: chunk.number + 1, index: 0 };
    queue.push(chunk.clone(), end, chunk.points.len() as u32, |_, _| true)
}

#[test]
fn split_moves_the_points_of_its_lanes_and_no_others() {
    let (mut queue, mut health, now) =
        (Queue::new(settings(), &[]), Health::default(), Duration::from_secs(1));
    queue.set_flushing(true);
    feed(&mut queue, &chunk(0, 0..4));
    feed(&mut queue, &chunk(1, 0..4));
    let mut part = queue.split(0, &mask(&[1, 3]), usize::MAX, now, |_, _| panic!("there is room"));
    assert_eq!((queue.pending(), part.pending(), part.head()), (4, 4, queue.head()));
    let next = chunk(2, 0..4);
    assert_eq!((feed(&mut queue, &next), feed(&mut part, &next)), (2, 2));
    assert_eq!(drain(&mut queue, &mut health, now).len(), 6);
    assert_eq!(drain(&mut part, &mut health, now), [(1, 0), (3, 0), (1, 1), (3, 1), (1, 2), (3, 2)]);
    assert_eq!((queue.bytes(), part.bytes()), (0, 0));
}

#[test]
fn points_without_room_are_dropped_and_read_again() {
    let (mut queue, mut health, now) =
        (Queue::new(settings(), &[]), Health::default(), Duration::from_secs(1));
    queue.set_flushing(true);
    let chunks: Vec<Points> = (0..5).map(|number| chunk(number, 0..4)).collect();
    chunks.iter().for_each(|chunk| assert_eq!(feed(&mut queue, chunk), 4));
    let mut dropped = Vec::new();
    let mut part = queue.split(0, &mask(&[2]), 200, now, |chunk, _| dropped.push(chunk.number));
    assert_eq!((dropped, part.pending(), queue.pending()), (vec![2, 3, 4], 2, 15));
    assert_eq!(part.head().offset, 2);
    assert_eq!(part.positions()[2], Position { segment: 0, offset: 0, index: 2 });
    for chunk in chunks.iter().skip(2) {
        assert_eq!(feed(&mut part, chunk), 1);
    }
    assert_eq!(drain(&mut part, &mut health, now), [(2, 0), (2, 1), (2, 2), (2, 3), (2, 4)]);
    assert_eq!(part.positions()[2], queue.head());
}

#[test]
fn failing_batch_continues_in_the_isolated_queue() {
    let (mut queue, mut health) = (Queue::new(settings(), &[]), Health::default());
    queue.set_flushing(true);
    feed(&mut queue, &chunk(0, 0..4));
    let mut now = Duration::from_secs(1);
    let mut isolated = None;
    while isolated.is_none() {
        now = now.max(queue.next_wakeup(&health).unwrap());
        let request = queue.begin_request(now, &mut health).unwrap();
        let fails = queue.points(request.shard).any(|(chunk, point)| chunk.series(point) == 3);
        let verdict = if fails { RETRY } else { Verdict::Delivered };
        isolated = queue.answer(request.shard, verdict, now, 0.0, &mut health, |_, _, _| {});
        assert!(now < NARROWED_AFTER * 3);
    }
    assert_eq!(isolated, Some(mask(&[3])));
    assert!(!queue.is_working());
    let part = queue.split(0, &mask(&[3]), 0, now, |_, _| panic!("the batch is always kept"));
    assert!(queue.is_working() && !part.is_working());
    assert_eq!((queue.pending(), part.pending()), (0, 1));
    assert_eq!(part.positions()[3], Position { segment: 0, offset: 0, index: 3 });
}

#[test]
fn returning_lane_continues_at_its_queues_position() {
    let (mut queue, mut health, now) =
        (Queue::new(settings(), &[]), Health::default(), Duration::from_secs(1));
    queue.set_flushing(true);
    feed(&mut queue, &chunk(0, 0..4));
    let mut part = queue.split(0, &mask(&[2]), usize::MAX, now, |_, _| {});
    // The isolated queue is fed further than the main one.
    let (one, two, three) = (chunk(1, 0..4), chunk(2, 0..4), chunk(3, 0..4));
    [&one, &two].iter().for_each(|chunk| assert_eq!(feed(&mut part, chunk), 1));
    feed(&mut queue, &one);
    assert_eq!(drain(&mut part, &mut health, now).len(), 3);
    queue.rejoin(&part);
    assert_eq!(queue.positions()[2], part.head());
    assert_eq!(feed(&mut queue, &two), 3, "the part has delivered the fourth");
    assert_eq!(feed(&mut queue, &three), 4);
    let sent = drain(&mut queue, &mut health, now);
    let of_2 = sent.iter().filter(|(series, _)| lane_of(*series) == 2);
    assert_eq!(of_2.collect::<Vec<_>>(), [&(2, 3)]);
    assert!(queue.positions().iter().all(|position| *position == queue.head()));
}
