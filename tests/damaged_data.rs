//! A data folder that was damaged while narthex was not running: narthex starts, delivers all readable samples, reports
//! the unreadable ones, and continues normally.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use support::folder::copy;
use support::narthex::config;
use support::wire::{self, Series, Version};
use support::{FakeReceiver, Labels, Narthex, SOON, now_ms, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
/// One segment for each start.
const SEGMENTS: usize = 5;
const PUSHES: usize = 40;
const SERIES: usize = 50;
const SAMPLES: usize = 20;
/// Samples of a push. Each push is one record.
const PUSH: usize = SERIES * SAMPLES;
/// The maximum of pushes that a damaged page costs: those in it, and those that cross its ends.
const PUSHES_OF_PAGE: usize = 5;

/// A data folder after a kill, and the acknowledged samples.
struct Made {
    folder: tempfile::TempDir,
    /// Series and times by segment.
    acked: Vec<BTreeSet<(Labels, i64)>>,
    groups: usize,
}

fn start(folder: &Path, receiver: &FakeReceiver) -> Narthex {
    let text = format!(
        "remote_write:\n- url: {}\n  name: a\n  queue_config: {{max_backoff: 200ms, batch_send_deadline: 50ms}}\n\
         collect: {{host: {{collectors: none}}, self: false}}\n",
        receiver.write_url()
    );
    let config = config(folder, &text);
    Narthex::start_in(PROGRAM, "run", &folder.join("data"), &["--config", &config, "--flush-deadline", "1s"])
}

fn push(narthex: &Narthex, first: i64, dice: &mut fastrand::Rng) -> BTreeSet<(Labels, i64)> {
    let times: Vec<i64> = (0..SAMPLES as i64).map(|at| first + at).collect();
    let series: Vec<Series> = (0..SERIES)
        .map(|number| {
            let samples: Vec<(i64, f64)> = times.iter().map(|time| (*time, dice.f64())).collect();
            Series::new("damage", &[("id", &number.to_string())], &samples)
        })
        .collect();
    wire::push(&narthex.write_url(), Version::V1, &series).unwrap().expect_success();
    let pairs = |one: Series| {
        let labels: Labels = one.labels.into_iter().collect();
        one.samples.into_iter().map(move |(time, _)| (labels.clone(), time))
    };
    series.into_iter().flat_map(pairs).collect()
}

/// Creates a log of several segments that have not been delivered.
fn make() -> Made {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::start();
    receiver.go_away();
    let mut made = Made { folder, acked: Vec::new(), groups: 0 };
    let mut time = now_ms() - 3_600_000;
    let mut dice = fastrand::Rng::with_seed(7);
    for _ in 0..SEGMENTS {
        let narthex = start(made.folder.path(), &receiver);
        let mut acked = BTreeSet::new();
        for _ in 0..PUSHES {
            acked.extend(push(&narthex, time, &mut dice));
            time += SAMPLES as i64;
        }
        for _ in 0..5 {
            let path = format!("/metrics/job/damage/group/{}", made.groups);
            narthex.request("PUT", &path, &[], Some(b"damage_group 1\n")).expect_success();
            made.groups += 1;
        }
        made.acked.push(acked);
        narthex.process.kill();
    }
    made
}

/// The segments of the copy, oldest first.
fn segments(data: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(data.join("wal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    assert_eq!(files.len(), SEGMENTS);
    files
}

fn flip(path: &Path, at: f64) {
    let mut bytes = std::fs::read(path).unwrap();
    let place = (bytes.len() as f64 * at) as usize;
    bytes[place] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn positions(data: &Path) -> PathBuf {
    let mut all = std::fs::read_dir(data.join("positions")).unwrap();
    all.next().unwrap().unwrap().path()
}

/// The maximum loss in a segment by a kind of damage.
#[derive(Debug, Clone, Copy)]
enum Cost {
    Nothing,
    /// This number of pages.
    Pages(usize),
    Whole,
}

struct Case {
    name: &'static str,
    damage: fn(&Path),
    /// By segment.
    costs: [Cost; SEGMENTS],
    /// The texts that narthex must log, each in its own line.
    says: &'static [&'static str],
    /// The files that must be quarantined: the rest of their names after the number.
    aside: &'static [&'static str],
}

const NOTHING: Cost = Cost::Nothing;

const CASES: &[Case] = &[
    Case { name: "no damage", damage: |_| {}, costs: [NOTHING; SEGMENTS], says: &[], aside: &[] },
    Case {
        name: "a flipped bit in the middle of a segment",
        damage: |data| flip(&segments(data)[2], 0.5),
        costs: [NOTHING, NOTHING, Cost::Pages(1), NOTHING, NOTHING],
        says: &["00000002: "],
        aside: &["wal-00000002"],
    },
    Case {
        name: "flipped bits in three segments, the newest among them",
        damage: |data| {
            let segments = segments(data);
            flip(&segments[0], 0.2);
            flip(&segments[0], 0.9);
            flip(&segments[3], 0.7);
            flip(&segments[4], 0.4);
        },
        costs: [Cost::Pages(2), NOTHING, NOTHING, Cost::Pages(1), Cost::Pages(1)],
        says: &["00000000: ", "00000003: ", "00000004: "],
        aside: &["wal-00000000", "wal-00000003", "wal-00000004"],
    },
    Case {
        name: "a flipped bit in the series records of a segment",
        damage: |data| flip(&segments(data)[1], 0.0003),
        costs: [NOTHING, Cost::Whole, NOTHING, NOTHING, NOTHING],
        says: &["00000001: "],
        aside: &["wal-00000001"],
    },
    Case {
        name: "a segment of zeros",
        damage: |data| {
            let path = &segments(data)[2];
            std::fs::write(path, vec![0; std::fs::metadata(path).unwrap().len() as usize]).unwrap();
        },
        costs: [NOTHING, NOTHING, Cost::Whole, NOTHING, NOTHING],
        says: &["00000002: "],
        aside: &["wal-00000002"],
    },
    Case {
        name: "an empty segment",
        damage: |data| std::fs::write(&segments(data)[3], "").unwrap(),
        costs: [NOTHING, NOTHING, NOTHING, Cost::Whole, NOTHING],
        says: &[],
        aside: &[],
    },
    Case {
        name: "a segment that is gone",
        damage: |data| std::fs::remove_file(&segments(data)[1]).unwrap(),
        costs: [NOTHING, Cost::Whole, NOTHING, NOTHING, NOTHING],
        says: &["missing"],
        aside: &[],
    },
    Case {
        name: "the newest segment cut in the middle of a record",
        damage: |data| {
            let path = &segments(data)[4];
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(std::fs::metadata(path).unwrap().len() - 4_321).unwrap();
        },
        costs: [NOTHING, NOTHING, NOTHING, NOTHING, Cost::Pages(1)],
        says: &["00000004: "],
        aside: &["wal-00000004-from-"],
    },
    Case {
        name: "a truncated file of positions",
        damage: |data| {
            let file = std::fs::OpenOptions::new().write(true).open(positions(data)).unwrap();
            file.set_len(5000).unwrap();
        },
        costs: [NOTHING; SEGMENTS],
        says: &["saved positions were damaged"],
        aside: &["positions-"],
    },
    Case {
        name: "a file of positions with corrupt bytes",
        damage: |data| std::fs::write(positions(data), [0xa5; 40_000]).unwrap(),
        costs: [NOTHING; SEGMENTS],
        says: &["saved positions were damaged"],
        aside: &["positions-"],
    },
    Case {
        name: "a state file with corrupt bytes",
        damage: |data| std::fs::write(data.join("state"), [0xa5; 8192]).unwrap(),
        costs: [NOTHING; SEGMENTS],
        says: &["state"],
        aside: &["state"],
    },
    Case {
        name: "an empty state file",
        damage: |data| std::fs::write(data.join("state"), "").unwrap(),
        costs: [NOTHING; SEGMENTS],
        says: &["state"],
        aside: &["state"],
    },
    Case {
        name: "no state file",
        damage: |data| std::fs::remove_file(data.join("state")).unwrap(),
        costs: [NOTHING; SEGMENTS],
        says: &[],
        aside: &[],
    },
    Case {
        name: "the whole log is gone",
        damage: |data| std::fs::remove_dir_all(data.join("wal")).unwrap(),
        costs: [Cost::Whole; SEGMENTS],
        says: &["missing"],
        aside: &[],
    },
    Case {
        name: "the whole log and the state file are gone",
        damage: |data| {
            std::fs::remove_dir_all(data.join("wal")).unwrap();
            std::fs::remove_file(data.join("state")).unwrap();
        },
        costs: [Cost::Whole; SEGMENTS],
        says: &[],
        aside: &[],
    },
];

/// The first position at which a segment differs from its old content, by segment. Only segments with their old length
/// are compared.
fn changed(before: &Path, after: &Path) -> Vec<(usize, usize)> {
    let of =
        |data: &Path, number: usize| std::fs::read(data.join(format!("wal/{number:08}"))).unwrap_or_default();
    let changed = |number| {
        let (before, after) = (of(before, number), of(after, number));
        let place = before.iter().zip(&after).position(|(before, after)| before != after);
        place.filter(|_| before.len() == after.len()).map(|place| (number, place))
    };
    (0..SEGMENTS).filter_map(changed).collect()
}

/// The start and end of each range of a segment that a line names: `…/00000002: 32758 bytes at 65536: …`.
fn named(lines: &[&String], number: usize) -> Vec<(usize, usize)> {
    let stretch = |line: &&String| {
        let (_, rest) = line.split_once(&format!("/{number:08}: "))?;
        let (bytes, rest) = rest.split_once(" bytes at ")?;
        let offset: usize = rest.split_once(':')?.0.parse().ok()?;
        Some((offset, offset + bytes.parse::<usize>().ok()?))
    };
    lines.iter().filter_map(stretch).collect()
}

/// Starts narthex on the damaged copy, and compares the received samples with those that may be lost.
fn check(made: &Made, case: &Case) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    copy(&made.folder.path().join("data"), &data);
    (case.damage)(&data);
    let changed = changed(&made.folder.path().join("data"), &data);
    let receiver = FakeReceiver::start();
    let narthex = start(folder.path(), &receiver);
    // These samples are pushed after the start. When they arrive, each lane has been read up to here.
    let mut dice = fastrand::Rng::with_seed(8);
    let now = now_ms();
    let last = push(&narthex, now, &mut dice);
    let arrived = || {
        let arrivals = receiver.arrivals();
        let pairs = arrivals
            .iter()
            .flat_map(|(labels, samples)| samples.iter().map(move |(time, _)| (labels.clone(), *time)));
        pairs.collect::<BTreeSet<(Labels, i64)>>()
    };
    wait_until(&format!("{}: what was pushed after the start", case.name), SOON, || {
        last.is_subset(&arrived())
    });
    let there = arrived();
    let mut wrong = Vec::new();
    let mut lost = Vec::new();
    for (number, (acked, cost)) in made.acked.iter().zip(case.costs).enumerate() {
        let gone = acked.difference(&there).count();
        let (least, most) = match cost {
            Cost::Nothing => (0, 0),
            Cost::Pages(pages) => (1, pages * PUSHES_OF_PAGE * PUSH),
            Cost::Whole => (1, PUSHES * PUSH),
        };
        if gone < least || gone > most {
            wrong.push(format!("segment {number} lost {gone} samples, expected {least} to {most}"));
        }
        lost.push(gone);
    }
    let order: BTreeMap<Labels, Vec<i64>> = {
        let mut order = BTreeMap::<Labels, Vec<i64>>::new();
        let all = made.acked.iter().flatten().chain(&last);
        all.for_each(|(labels, time)| order.entry(labels.clone()).or_default().push(*time));
        order.values_mut().for_each(|times| times.sort_unstable());
        order
    };
    let tally = receiver.tally(&order);
    if tally.out_of_order > 0 {
        wrong.push(format!("{tally:?}"));
    }
    let groups = narthex.get("/api/v1/metrics").expect_success().json();
    // A log without its end is like one after a kill in the middle of a commit: the groups lose the pushes whose
    // samples were in the missing part. At most those of the newest segment are lost.
    let lost_at_end = case.aside.contains(&"wal-00000004-from-");
    let least = made.groups - if lost_at_end { made.groups / SEGMENTS } else { 0 };
    let there = groups["data"].as_array().unwrap().len();
    if !(least..=made.groups).contains(&there) {
        wrong.push(format!("{there} groups, not {least} to {}: {groups}", made.groups));
    }
    let lines = narthex.process.lines();
    let tellings: Vec<&String> = lines.iter().filter(|line| line.contains("WARN")).collect();
    for words in case.says {
        if !tellings.iter().any(|line| line.contains(words)) {
            wrong.push(format!("it doesn't say {words:?}"));
        }
    }
    for (number, place) in changed {
        let named = named(&tellings, number);
        if !named.iter().any(|(begin, end)| (*begin..*end).contains(&place)) {
            wrong.push(format!("segment {number} is damaged at {place}, and it names {named:?}"));
        }
    }
    let aside: Vec<String> = match std::fs::read_dir(data.join("damaged")) {
        Ok(files) => files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect(),
        Err(_) => Vec::new(),
    };
    for expected in case.aside {
        if !aside.iter().any(|name| name[7..].starts_with(expected)) {
            wrong.push(format!("{expected} is not set aside: {aside:?}"));
        }
    }
    if aside.len() != case.aside.len() {
        wrong.push(format!("set aside: {aside:?}"));
    }
    let flipped = case.name.contains("flipped");
    if flipped && narthex.metric("prometheus_agent_corruptions_total").unwrap_or(0.0) == 0.0 {
        wrong.push("prometheus_agent_corruptions_total is 0".into());
    }
    if !wrong.is_empty() {
        return Err(format!("{}: {}\n{}", case.name, wrong.join("; "), lines.join("\n")));
    }
    Ok(format!("{}: lost {lost:?} of {} samples each", case.name, PUSHES * PUSH))
}

#[test]
fn readable_samples_are_delivered_and_unreadable_ones_reported() {
    let made = make();
    let mut failed = Vec::new();
    for case in CASES {
        match check(&made, case) {
            Ok(told) => println!("{told}"),
            Err(told) => failed.push(told),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
