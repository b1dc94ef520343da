//! Tests from the counters of all parts to the summary, also over a restart.

use super::About;
use super::facts::Delivery;
use super::monitor::{FILE, Monitor, delivery};
use super::summary::{Kind, Level};
use crate::telemetry::{Outlet, Outlets, Telemetry};
use collect::stamp::EARLIEST_PLAUSIBLE_MS;
use intake::RefusedReason;
use model::{Batch, Clock, Kinds};
use receive::Doors;
use receive::answer::Refusal;
use remote::disk::claims::Removed;
use remote::{State, Stats};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use storage::Storage;
use wal::{Position, RealFilesystem};

/// A clock whose time the test sets.
#[derive(Debug, Default)]
struct Set {
    wall_ms: AtomicI64,
    running_ms: AtomicI64,
}

impl Set {
    fn pass(&self, ms: i64) {
        self.wall_ms.fetch_add(ms, Ordering::Relaxed);
        self.running_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for Set {
    fn now_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::Relaxed)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.running_ms.load(Ordering::Relaxed).unsigned_abs())
    }
}

/// narthex without its working parts. The tests set their numbers directly.
struct Run {
    monitor: Monitor,
    telemetry: Arc<Telemetry>,
    stats: Arc<Stats>,
    clock: Arc<Set>,
    storage: Storage,
}

const START: i64 = EARLIEST_PLAUSIBLE_MS + 1_000_000_000;
const MINUTE: i64 = 60_000;

async fn start(data: &Path, wall_ms: i64) -> Run {
    let clock = Arc::new(Set { wall_ms: wall_ms.into(), running_ms: 1000.into() });
    let options = storage::Options { reserve_bytes: 0, ..storage::Options::new(data) };
    let (storage, _) = Storage::open(Arc::new(RealFilesystem), clock.clone(), options).unwrap();
    let doors = Doors::open(storage.clone(), clock.clone(), receive::Options::default()).await.unwrap();
    let stats = Arc::new(Stats::default());
    let outlet = Outlet { name: "prod".into(), url: "http://prod".into(), stats: stats.clone() };
    let outlets = Outlets { running: vec![outlet], removed: Vec::new() };
    let telemetry = Arc::new(Telemetry::new(storage.clone(), outlets, doors, wall_ms));
    let about = Arc::new(About {
        instance: "a".into(),
        data: data.to_path_buf(),
        started_ms: wall_ms,
        max_bytes: 1,
        durability: "fsync",
    });
    let monitor = Monitor::open(telemetry.clone(), about, clock.clone(), &RealFilesystem, data);
    Run { monitor, telemetry, stats, clock, storage }
}

impl Run {
    fn now(&self) -> (Level, Kind) {
        let summary = self.monitor.observe().summary;
        (summary.level, summary.kind)
    }

    fn end(self) {
        self.monitor.save();
        self.storage.close();
    }
}

fn kinds(samples: u64) -> Kinds {
    Kinds { samples, ..Kinds::default() }
}

/// Makes something happen, and expects the given states at once, two minutes later and after a restart.
async fn row(name: &str, happens: impl Fn(&Run), now: Kind, later: Kind) {
    let data = tempfile::tempdir().unwrap();
    let run = start(data.path(), START).await;
    assert_eq!(run.now(), (Level::Ok, Kind::Idle), "{name}");
    happens(&run);
    assert_eq!(run.now(), (now.level(), now), "{name}: at once");
    run.clock.pass(2 * MINUTE);
    assert_eq!(run.now(), (later.level(), later), "{name}: two minutes later");
    run.end();
    let run = start(data.path(), START + 3 * MINUTE).await;
    assert_eq!(run.now(), (later.level(), later), "{name}: after a restart");
    run.clock.pass(61 * MINUTE);
    assert_eq!(run.now(), (Level::Ok, Kind::Idle), "{name}: an hour later");
    run.end();
}

#[tokio::test]
async fn losses_are_shown_for_an_hour_and_after_a_restart() {
    row("log full", |run| run.stats.lost.add(kinds(180_204)), Kind::Losing, Kind::Lost).await;
    let aged = |run: &Run| {
        run.stats.lost.add(kinds(1));
        run.stats.lost_too_old.add(kinds(1));
    };
    row("log.max_age", aged, Kind::Losing, Kind::Lost).await;
    row("no labels", |run| run.stats.dropped_no_series.add(kinds(1)), Kind::Losing, Kind::Lost).await;
    let unreadable = Kind::LogUnreadable;
    row("unreadable", |run| run.storage.stats().damages.add(1), unreadable, unreadable).await;
    let letters = Kind::DeadLettersLost;
    row("dead letters", |run| run.stats.dead_letters_dropped.add(1), letters, letters).await;
}

#[tokio::test]
async fn refusals_and_unsupported_samples_are_shown_for_an_hour() {
    row("refused", |run| run.stats.refused.add(kinds(1336)), Kind::Refusing, Kind::Refused).await;
    let exemplar = Kinds { exemplars: 1, ..Kinds::default() };
    row("exemplar", |run| run.stats.refused.add(exemplar), Kind::Refusing, Kind::Refused).await;
    row("protocol", |run| run.stats.dropped_unsupported.add(kinds(1)), Kind::Unsupported, Kind::Unsupported)
        .await;
    row("age", |run| run.stats.dropped_too_old.add(kinds(1)), Kind::TooOld, Kind::TooOld).await;
}

#[tokio::test]
async fn failed_collections_are_shown_for_an_hour_and_after_a_restart() {
    let failed = Kind::CollectionsFailed;
    let lose = |run: &Run| run.telemetry.collection_failed(720, RefusedReason::LogFull);
    row("collections", lose, failed, failed).await;
    let data = tempfile::tempdir().unwrap();
    let run = start(data.path(), START).await;
    lose(&run);
    run.monitor.observe();
    lose(&run);
    run.telemetry.collection_failed(60, RefusedReason::DiskFull);
    let sentence = run.monitor.observe().summary.sentence;
    assert_eq!(sentence, "1,500 collected samples were lost in the last hour (disk full, log full).");
    run.end();
}

/// Collects narthex' own metrics until some of them are lost.
async fn collect_until_samples_are_lost(run: &Run) {
    let settings = crate::host::Settings {
        host: collect::HostOptions { root: "/".into(), collectors: collect::CollectorSet::EMPTY },
        interval: Duration::from_secs(15),
        own: true,
        job: "node".into(),
        instance: "a".into(),
    };
    let input = run.telemetry.doors().intake().input(crate::host::INPUT);
    let (telemetry, clock) = (run.telemetry.clone(), run.clock.clone());
    let collecting = tokio::spawn(crate::host::run(settings, input, telemetry, clock));
    while run.telemetry.collected_lost().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    collecting.abort();
}

#[tokio::test]
async fn collected_series_over_a_limit_are_shown() {
    let data = tempfile::tempdir().unwrap();
    let run = start(data.path(), START).await;
    let mut options = (*run.telemetry.doors().options()).clone();
    let limit = intake::InputSettings { max_series: Some(5), ..intake::InputSettings::default() };
    options.intake.inputs.insert(crate::host::INPUT, limit.into());
    run.telemetry.doors().set_options(options).await.unwrap();
    collect_until_samples_are_lost(&run).await;
    let summary = run.monitor.observe().summary;
    assert_eq!(summary.level, Level::Error);
    assert!(
        summary.sentence.ends_with("collected samples were lost in the last hour (too many)."),
        "{summary:?}"
    );
    let detail = &summary.details.first().unwrap().sentence;
    assert!(
        detail.contains("The last reasons: left out ") && detail.contains("a new series over the limit"),
        "{detail}"
    );
}

#[tokio::test]
async fn samples_of_a_collection_that_the_log_does_not_accept_are_counted() {
    let data = tempfile::tempdir().unwrap();
    let run = start(data.path(), START).await;
    let storage = run.storage.clone();
    tokio::task::spawn_blocking(move || storage.close()).await.unwrap();
    collect_until_samples_are_lost(&run).await;
    let lost = run.telemetry.collected_lost();
    assert!(lost.get(&RefusedReason::Ending).is_some_and(|samples| *samples > 100), "{lost:?}");
}

fn refuse(run: &Run, input: &'static str, refusal: &Refusal) {
    let counters = run.telemetry.doors().intake().counters();
    counters.refused(input, refusal.reason(), &refusal.to_string());
}

#[tokio::test]
async fn refused_pushes_are_shown_for_ten_minutes_and_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let run = start(data.path(), START).await;
    let refusal = Refusal::Malformed("line 1: \"}\" is no metric name".into());
    refuse(&run, "import", &refusal);
    let summary = run.monitor.observe().summary;
    assert_eq!(
        (summary.level, summary.sentence.as_str()),
        (Level::Warning, "1 push was refused in the last 10 minutes (invalid).")
    );
    assert!(summary.details.iter().any(|one| one.sentence.contains("is no metric name")), "{summary:?}");
    run.end();
    let run = start(data.path(), START + MINUTE).await;
    assert_eq!(run.now(), (Level::Warning, Kind::PushesRefused));
    run.clock.pass(11 * MINUTE);
    assert_eq!(run.now(), (Level::Ok, Kind::Idle));
    // A single scanner does not turn the page red.
    run.telemetry.doors().denied().pushes.add(1000);
    assert_eq!(run.now(), (Level::Warning, Kind::PushesRefused));
    run.end();
}

#[tokio::test]
async fn inputs_without_answers_report_rejected_and_lost_samples() {
    let data = tempfile::tempdir().unwrap();
    let run = start(data.path(), START).await;
    let input = run.telemetry.doors().intake().input("graphite");
    let rejected = Refusal::Malformed("\"wrong\": a line is PATH VALUE TIMESTAMP".into());
    input.listener_counters().kernel_drops.add(7);
    assert_eq!(run.now(), (Level::Warning, Kind::DatagramsDropped));
    input.counters().rejected.add(3);
    refuse(&run, "graphite", &rejected);
    let summary = run.monitor.observe().summary;
    let says = |words: &str| summary.details.iter().any(|one| one.sentence.contains(words));
    assert!(says("graphite: 7 datagrams were dropped by the kernel in the last hour"), "{summary:?}");
    assert!(says("graphite: 3 samples were rejected in the last 10 minutes"), "{summary:?}");
    assert!(says("a line is PATH VALUE TIMESTAMP") && !says("push"), "{summary:?}");
    // The newest reason is shown.
    input.counters().rejected.add(1);
    refuse(&run, "graphite", &Refusal::TooMany("requests: a new series over the limit".into()));
    let summary = run.monitor.observe().summary;
    let says = |words: &str| summary.details.iter().any(|one| one.sentence.contains(words));
    assert!(says("The last reasons: requests: a new series over the limit"), "{summary:?}");
    assert!(!says("a line is PATH VALUE TIMESTAMP"), "{summary:?}");
    input.listener_counters().lost.add(2);
    let summary = run.monitor.observe().summary;
    assert_eq!(
        (summary.level, summary.sentence.as_str()),
        (
            Level::Error,
            "2 received samples were lost in the last hour (graphite): the log did not accept them."
        )
    );
    run.end();
    let run = start(data.path(), START + MINUTE).await;
    assert_eq!(run.now(), (Level::Error, Kind::InputLost));
    run.clock.pass(61 * MINUTE);
    assert_eq!(run.now(), (Level::Ok, Kind::Idle));
    run.end();
}

#[tokio::test]
async fn last_answer_belongs_to_its_input_and_reason() {
    let data = tempfile::tempdir().unwrap();
    let run = start(data.path(), START).await;
    let denied = run.telemetry.doors().denied();
    refuse(&run, "import", &storage::AppendError::DiskFull.into());
    refuse(&run, "pushgateway", &Refusal::Malformed("no metric name".into()));
    refuse(&run, "import", &Refusal::Malformed("no number".into()));
    denied.pushes.add(1);
    let details = run.monitor.observe().summary.details;
    let sentences: Vec<&str> = details.iter().map(|one| one.sentence.as_str()).collect();
    for (of, answer) in [
        ("refused at import in the last 10 minutes (disk full)", " the disk is full"),
        ("refused at import in the last 10 minutes (invalid)", "The last answer: no number"),
        (
            "refused at the Pushgateway interface in the last 10 minutes (invalid)",
            "The last answer: no metric name",
        ),
    ] {
        assert!(sentences.iter().any(|text| text.contains(of) && text.ends_with(answer)), "{sentences:#?}");
    }
    let unauthorized = sentences.iter().find(|text| text.contains("(unauthorized)")).unwrap();
    assert!(!unauthorized.contains("The last answer"), "{unauthorized}");
    run.end();
}

#[tokio::test]
async fn loss_before_a_restart_is_shown_since_the_loss() {
    let data = tempfile::tempdir().unwrap();
    let run = start(data.path(), START).await;
    run.stats.lost.add(kinds(5));
    run.monitor.observe();
    run.end();
    let run = start(data.path(), START + 10 * MINUTE).await;
    let summary = run.monitor.observe().summary;
    assert_eq!(summary.kind, Kind::Lost);
    assert_eq!(summary.since, START, "when it happened");
    run.end();
}

#[tokio::test]
async fn relabelling_repeats_and_a_torn_end_leave_the_level_ok() {
    let data = tempfile::tempdir().unwrap();
    let run = start(data.path(), START).await;
    run.stats.dropped_by_rule.add(kinds(10));
    run.stats.refused.add(kinds(200));
    run.stats.refused_or_already_written.add(200);
    run.storage.stats().damages.add(1);
    run.storage.stats().torn_ends.add(1);
    let summary = run.monitor.observe().summary;
    assert_eq!(summary.level, Level::Ok, "{summary:?}");
    let kinds: Vec<Kind> = summary.details.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [Kind::AlreadyWritten, Kind::DroppedByRule]);
    run.end();
    let run = start(data.path(), START + MINUTE).await;
    assert_eq!(run.now().0, Level::Ok);
    run.end();
}

#[tokio::test]
async fn a_restarted_destination_counts_nothing_twice() {
    let data = tempfile::tempdir().unwrap();
    let run = start(data.path(), START).await;
    run.stats.refused.add(kinds(5));
    run.monitor.observe();
    // As after a reload that changed the destination.
    let stats = Arc::new(Stats::default());
    let outlet = Outlet { name: "prod".into(), url: "http://prod".into(), stats: stats.clone() };
    run.telemetry.set_outlets(Outlets { running: vec![outlet], removed: Vec::new() });
    run.monitor.observe();
    stats.refused.add(kinds(3));
    let sentence = run.monitor.observe().summary.sentence;
    assert_eq!(sentence, "prod is refusing samples: 8 in the last hour.");
    run.end();
}

#[tokio::test]
async fn refusals_are_named_by_the_receivers_answer() {
    let data = tempfile::tempdir().unwrap();
    let run = start(data.path(), START).await;
    for (status, words, count) in [(409, "out of bounds", 5), (418, "a teapot", 2)] {
        run.stats.refused.add(kinds(count));
        run.stats.refused_by.add(remote::Refusal::of(status, words), count);
    }
    let sentence = run.monitor.observe().summary.sentence;
    assert_eq!(sentence, "prod is refusing samples: 7 in the last hour (out of bounds, status other).");
    run.end();
}

#[test]
fn denied_access_is_recognised_by_its_status() {
    for (reason, is_url) in [
        ("404 Not Found (http://prod)", true),
        ("405 Method Not Allowed (http://prod)", true),
        ("302 Found (http://prod)", true),
        ("200 OK: <html> (http://prod)", true),
        ("401 Unauthorized (http://prod)", false),
        ("403 Forbidden (http://prod)", false),
        ("407 Proxy Authentication Required (http://prod)", false),
    ] {
        let expected = if is_url { Delivery::NotAnEndpoint } else { Delivery::Unauthorized };
        assert_eq!(delivery(State::Denied { reason: reason.into() }), expected(reason.into()));
    }
}

#[tokio::test]
async fn current_states_are_read_from_all_parts() {
    let data = tempfile::tempdir().unwrap();
    let run = start(data.path(), START).await;
    let expect = |kind: Kind, what: &str| {
        // Longer than a worse state is held.
        run.clock.pass(20_000);
        assert_eq!(run.now(), (kind.level(), kind), "{what}");
    };
    let (log, groups) = (run.storage.stats(), run.telemetry.doors().groups().stats());
    log.disk_full.set(1);
    expect(Kind::DiskFull, "disk");
    log.disk_full.set(0);
    log.budget_full.set(1);
    expect(Kind::LogFull, "log");
    log.budget_full.set(0);
    run.telemetry.reloaded(Err("narthex.yml: line 3"), START);
    expect(Kind::ReloadFailed, "reload");
    run.telemetry.reloaded(Ok(()), START);
    groups.groups_failing.set(2);
    expect(Kind::GroupsFailing, "groups");
    groups.groups_failing.set(0);
    run.telemetry.set_collectors_failing(vec!["mdadm"]);
    expect(Kind::CollectorFailing, "collector");
    run.telemetry.set_collectors_failing(vec![]);
    run.stats.batch_send_deadline_ms.set(5000);
    run.stats.waiting_ms.set(15_001);
    run.stats.waiting.set(7);
    expect(Kind::CatchingUp, "late");
    run.stats.waiting_ms.set(15_000);
    expect(Kind::Idle, "in time");
    run.clock.wall_ms.store(1000, Ordering::Relaxed);
    expect(Kind::ClockNotSet, "clock");
    run.clock.wall_ms.store(START, Ordering::Relaxed);
    expect(Kind::Idle, "again");
    let storage = run.storage.clone();
    tokio::task::spawn_blocking(move || storage.close()).await.unwrap();
    expect(Kind::TaskDead, "committer");
}

#[tokio::test]
async fn an_unset_clock_is_shown_until_it_is_set() {
    let data = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let run = start(data.path(), 1000).await;
        assert_eq!(run.now(), (Level::Warning, Kind::ClockNotSet));
        run.end();
    }
    let run = start(data.path(), 1000).await;
    assert_eq!(run.now().1, Kind::ClockNotSet);
    run.clock.wall_ms.store(START, Ordering::Relaxed);
    run.clock.pass(20_000);
    assert_eq!(run.now(), (Level::Ok, Kind::Idle));
    run.end();
}

#[tokio::test]
async fn a_removed_destination_is_shown_with_its_undelivered_bytes() {
    let data = tempfile::tempdir().unwrap();
    let run = start(data.path(), START).await;
    let family = model::Family::single("a", "A.", model::MetricType::Gauge, 1.0);
    let mut batch = Batch::default();
    batch.push_families(&[family], &[], START);
    run.storage.append(batch).await.unwrap();
    let end = run.storage.end();
    let removed = |name: &str, offset: u64, since_ms| Removed {
        name: name.into(),
        since_ms,
        lowest: Position { offset: end.offset - offset, ..end },
    };
    let all = vec![removed("late", end.offset, START + 5000), removed("whole", 0, START + 5000)];
    run.telemetry.set_outlets(Outlets { running: Vec::new(), removed: all.clone() });
    let kept = |run: &Run| {
        let details = run.monitor.observe().summary.details;
        let removed: Vec<_> =
            details.into_iter().filter(|one| one.kind == Kind::DestinationRemoved).collect();
        removed.into_iter().map(|one| (one.destination.unwrap_or_default(), one.sentence)).collect::<Vec<_>>()
    };
    let first = kept(&run);
    assert!(matches!(first.as_slice(), [(name, _)] if name == "late"), "{first:?}");
    // Samples that are written later were not meant for this destination.
    run.telemetry.set_outlets(Outlets { running: Vec::new(), removed: all });
    assert_eq!(kept(&run), first);
    run.telemetry.set_outlets(Outlets::default());
    assert_eq!(kept(&run), []);
    run.end();
}

#[tokio::test]
async fn a_damaged_or_missing_file_does_not_prevent_a_start() {
    let (ok, forgotten) = ((Level::Ok, Kind::Idle), (Level::Warning, Kind::HourForgotten));
    let damages: [(fn(&Path), _); 3] = [
        (|path| std::fs::remove_file(path).unwrap(), ok),
        (|path| std::fs::write(path, "").unwrap(), forgotten),
        (|path| std::fs::write(path, [0xa5; 100_000]).unwrap(), forgotten),
    ];
    for (damage, shown) in damages {
        let data = tempfile::tempdir().unwrap();
        let run = start(data.path(), START).await;
        run.stats.refused.add(kinds(5));
        run.monitor.observe();
        run.end();
        damage(&data.path().join(FILE));
        let run = start(data.path(), START + MINUTE).await;
        assert_eq!(run.now(), shown);
        // The file is used again.
        run.stats.refused.add(kinds(5));
        run.monitor.observe();
        run.end();
        assert_eq!(start(data.path(), START + MINUTE).await.now().0, Level::Error);
    }
}
