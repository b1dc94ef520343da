//! One entry over several receivers: each series is at as many of them as configured, across a change of
//! members, a restart, an outage and a reload.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests")]

mod common;

use common::World;
use remote::{Base, Destinations, RemoteWrite, State};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use support::{Answer, FakeReceiver, SOON, wait_for, wait_until};
use wal::RealFilesystem;

/// Series and timestamp.
type Sample = (support::Labels, i64);

struct Cluster {
    world: World,
    receivers: Vec<FakeReceiver>,
    running: Option<Destinations>,
}

impl Cluster {
    fn of(receivers: usize) -> Cluster {
        let receivers = (0..receivers).map(|_| FakeReceiver::start()).collect();
        Cluster { world: World::new(), receivers, running: None }
    }

    /// Returns an entry with these receivers as members.
    fn entry(&self, members: &[usize], replicas: usize) -> RemoteWrite {
        let urls: Vec<String> = members.iter().map(|member| self.receivers[*member].write_url()).collect();
        serde_json::from_value(serde_json::json!({
            "name": "cluster", "members": urls, "shard_by": "series", "replicas": replicas,
            "queue_config": {"batch_send_deadline": "20ms", "max_backoff": "60ms"},
        }))
        .unwrap()
    }

    fn start(&mut self, entry: RemoteWrite) {
        let _guard = self.world.runtime.enter();
        let base = Base {
            storage: self.world.storage().clone(),
            fs: Arc::new(RealFilesystem),
            clock: self.world.clock.clone(),
            data_dir: self.world.dir.path().to_path_buf(),
        };
        self.running = Some(Destinations::start(vec![entry], &[], 8 << 20, base).unwrap());
    }

    fn reload(&mut self, entry: RemoteWrite) -> remote::Changes {
        let running = self.running.as_mut().unwrap();
        self.world.runtime.block_on(running.reload(vec![entry], &[], 8 << 20)).unwrap()
    }

    /// Stops without waiting for requests under way, and opens the log again.
    fn stop(&mut self) {
        for destination in self.running.take().unwrap().into_all() {
            self.world.runtime.block_on(destination.hand_over());
        }
        self.world.reopen();
    }

    fn push(&self, times: usize) -> BTreeSet<Sample> {
        let before = self.expected();
        (0..times).for_each(|_| self.world.push(200));
        &self.expected() - &before
    }

    fn expected(&self) -> BTreeSet<Sample> {
        let expected = self.world.expected.lock().unwrap();
        expected.iter().flat_map(|(labels, times)| times.iter().map(|time| (labels.clone(), *time))).collect()
    }

    /// Returns the samples that a receiver has.
    fn has(&self, receiver: usize) -> BTreeSet<Sample> {
        let arrivals = self.receivers[receiver].arrivals();
        let samples = arrivals
            .iter()
            .flat_map(|(labels, samples)| samples.iter().map(|(timestamp, _)| (labels.clone(), *timestamp)));
        samples.collect()
    }

    /// Returns how many receivers have each sample.
    fn copies(&self) -> BTreeMap<Sample, usize> {
        let mut copies: BTreeMap<Sample, usize> =
            self.expected().into_iter().map(|sample| (sample, 0)).collect();
        for receiver in 0..self.receivers.len() {
            for sample in self.has(receiver) {
                *copies.get_mut(&sample).unwrap() += 1;
            }
        }
        copies
    }

    /// Waits until each sample has the expected number of copies, and no more.
    #[track_caller]
    fn wait_for_copies(&self, replicas: usize) {
        wait_for("each sample in its copies", SOON, || {
            let copies = self.copies();
            let too_few = copies.values().filter(|count| **count < replicas).count();
            if too_few == 0 { Ok(()) } else { Err(format!("{too_few} of {} have too few", copies.len())) }
        });
        let too_many = self.copies().into_iter().filter(|(_, count)| *count > replicas);
        assert_eq!(too_many.collect::<Vec<_>>(), [], "samples in too many places");
    }

    /// Returns how many of these samples a receiver has.
    fn share(&self, receiver: usize, of: &BTreeSet<Sample>) -> usize {
        self.has(receiver).intersection(of).count()
    }

    fn states(&self) -> Vec<(String, State)> {
        let running = self.running.as_ref().unwrap();
        running.iter().map(|one| (one.url_redacted(), one.stats().state())).collect()
    }
}

#[test]
fn each_series_goes_to_the_same_configured_number_of_members() {
    for replicas in 1..=3 {
        let mut cluster = Cluster::of(3);
        cluster.start(cluster.entry(&[0, 1, 2], replicas));
        let samples = cluster.push(5);
        cluster.wait_for_copies(replicas);
        let series = |receiver: usize| cluster.receivers[receiver].arrivals();
        for receiver in 0..3 {
            assert!(
                series(receiver).values().all(|samples| samples.len() == 5),
                "a series is whole or not there"
            );
            let share = cluster.share(receiver, &samples) as f64 / samples.len() as f64;
            assert!((share - replicas as f64 / 3.0).abs() < 0.15, "{share}");
        }
        let order = |receiver: &FakeReceiver| {
            let arrivals = receiver.arrivals();
            arrivals.values().all(|samples| samples.is_sorted_by_key(|(timestamp, _)| *timestamp))
        };
        assert!(cluster.receivers.iter().all(order));
    }
}

#[test]
fn changing_members_in_a_restart_loses_and_doubles_nothing() {
    let mut cluster = Cluster::of(4);
    cluster.start(cluster.entry(&[0, 1, 2], 1));
    cluster.push(5);
    // A part is still unsent when narthex ends: receivers 0 and 1 accept nothing.
    cluster.receivers[..2].iter().for_each(FakeReceiver::go_away);
    let waiting = cluster.push(5);
    cluster.stop();
    // 0 leaves, 3 joins.
    cluster.start(cluster.entry(&[1, 2, 3], 1));
    let after = cluster.push(5);
    cluster.receivers[..2].iter().for_each(FakeReceiver::come_back);
    cluster.wait_for_copies(1);
    assert_eq!(cluster.share(3, &waiting), 0, "what came before is not the new one's");
    assert_eq!(cluster.share(0, &after), 0, "what came after is not the old one's");
    assert!(cluster.share(0, &waiting) > 200, "the one that leaves has had its part");
    assert!(cluster.share(3, &after) > 100);
    // Only the series of receiver 0 have new owners.
    let series = |samples: BTreeSet<Sample>| -> BTreeSet<support::Labels> {
        samples.into_iter().map(|(labels, _)| labels).collect()
    };
    for stayed in [1, 2] {
        let own = |of: &BTreeSet<Sample>| series(cluster.has(stayed).intersection(of).cloned().collect());
        let (old, new) = (own(&waiting), own(&after));
        let kept = old.intersection(&new).count();
        assert!(kept > old.len() / 2, "{kept} of {}", old.len());
    }
    wait_until("the one that left to end", SOON, || {
        cluster.states().contains(&(cluster.receivers[0].write_url(), State::Left))
    });
    cluster.stop();
    cluster.start(cluster.entry(&[1, 2, 3], 1));
    assert_eq!(cluster.states().len(), 3, "it is not served any more");
    cluster.push(5);
    cluster.wait_for_copies(1);
}

#[test]
fn changing_members_in_a_reload_loses_and_doubles_nothing() {
    let mut cluster = Cluster::of(4);
    cluster.start(cluster.entry(&[0, 1], 1));
    cluster.push(3);
    let mut changes = Vec::new();
    for members in [&[0, 1, 2][..], &[0, 1, 2], &[1, 2, 3], &[0, 3]] {
        // Some samples are under way, others wait.
        cluster.push(3);
        let entry = cluster.entry(members, 1);
        changes.push(cluster.reload(entry));
        cluster.push(3);
    }
    cluster.wait_for_copies(1);
    assert_eq!((changes[0].new.len(), changes[0].changed.len()), (1, 2));
    assert_eq!(changes[1].kept.len(), 3, "nothing changed, nobody stops: {changes:?}");
    // Members that had delivered everything by then are not there any more.
    wait_until("those that left to end", SOON, || {
        let goes_on = |(url, state): (String, State)| {
            let left = [1, 2].map(|receiver: usize| cluster.receivers[receiver].write_url());
            left.contains(&url) && state != State::Left
        };
        !cluster.states().into_iter().any(goes_on)
    });
    assert!(cluster.share(0, &cluster.expected()) > 0);
}

#[test]
fn more_replicas_take_effect_at_the_change() {
    let mut cluster = Cluster::of(3);
    cluster.start(cluster.entry(&[0, 1, 2], 1));
    let before = cluster.push(5);
    let entry = cluster.entry(&[0, 1, 2], 2);
    cluster.reload(entry);
    let after = cluster.push(5);
    wait_for("one copy before, two after", SOON, || {
        let copies = cluster.copies();
        let wrong =
            |of: &BTreeSet<Sample>, right: usize| of.iter().filter(|one| copies[*one] != right).count();
        let wrong = (wrong(&before, 1), wrong(&after, 2));
        if wrong == (0, 0) { Ok(()) } else { Err(format!("{wrong:?}")) }
    });
}

#[test]
fn member_that_is_down_delays_no_other_and_catches_up() {
    let mut cluster = Cluster::of(3);
    cluster.start(cluster.entry(&[0, 1, 2], 1));
    cluster.receivers[1].answer(|_| Answer::status(503));
    let samples = cluster.push(20);
    wait_for("all that is the others'", SOON, || {
        let there = cluster.share(0, &samples) + cluster.share(2, &samples);
        if there > samples.len() / 2 { Ok(()) } else { Err(there.to_string()) }
    });
    assert_eq!(cluster.share(1, &samples), 0);
    cluster.receivers[1].answer(Answer::success);
    cluster.wait_for_copies(1);
}

#[test]
fn destination_that_becomes_a_member_delivers_its_old_samples() {
    let mut cluster = Cluster::of(3);
    let mut plain = RemoteWrite::to(remote::Url::parse(&cluster.receivers[0].write_url()).unwrap());
    plain.queue_config.batch_send_deadline = std::time::Duration::from_millis(20);
    plain.queue_config.max_backoff = std::time::Duration::from_millis(60);
    cluster.start(plain);
    cluster.receivers[0].go_away();
    let before = cluster.push(5);
    cluster.stop();
    cluster.start(cluster.entry(&[0, 1, 2], 1));
    let after = cluster.push(5);
    cluster.receivers[0].come_back();
    cluster.wait_for_copies(1);
    assert_eq!(cluster.share(0, &before), before.len(), "all of it was its own");
    assert!((1..after.len()).contains(&cluster.share(0, &after)));
}

/// Earlier samples arrive at their members at least, later ones only at their members.
#[test]
fn damaged_rings_are_quarantined_and_replaced() {
    let mut cluster = Cluster::of(2);
    cluster.start(cluster.entry(&[0, 1], 1));
    cluster.push(5);
    cluster.wait_for_copies(1);
    cluster.receivers.iter().for_each(|receiver| receiver.go_away());
    let undelivered = cluster.push(5);
    cluster.stop();
    let data = cluster.world.dir.path().to_path_buf();
    let rings = std::fs::read_dir(data.join("rings")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&rings, "{\"version\": 1, \"rings\": [").unwrap();
    cluster.receivers.iter().for_each(|receiver| receiver.come_back());
    cluster.start(cluster.entry(&[0, 1], 1));
    let later = cluster.push(5);
    wait_until("everything is somewhere", SOON, || cluster.copies().values().all(|count| *count > 0));
    let copies = cluster.copies();
    assert!(undelivered.iter().all(|sample| copies[sample] <= 2), "nobody knows whose they were");
    assert!(later.iter().all(|sample| copies[sample] == 1), "the new ring holds");
    let aside = std::fs::read_dir(data.join("damaged")).unwrap().next().unwrap().unwrap();
    let name = aside.file_name().into_string().unwrap();
    assert!(
        name.starts_with("000001-rings-") && std::fs::read(aside.path()).unwrap().ends_with(b"["),
        "{name}"
    );
    assert!(std::fs::read(&rings).unwrap().ends_with(b"}\n"), "they are made anew");
    assert_eq!(cluster.world.storage().stats().damages.get(), 1);
}
