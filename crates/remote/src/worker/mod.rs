//! The task of one destination: it feeds the queue from the log, sends what the queue names, and tells
//! it what became of that. All decisions are the queue's; here are the clock, the files and the sockets.

mod aside;
mod backlog;
mod dropped;
mod metadata;
mod orders;
mod outcome;
mod reading;
mod refused;
mod saving;
mod second;
mod sending;
mod shards;
mod stragglers;
mod unread;

use self::aside::{Aside, wait_for_entry};
use self::backlog::{Backlog, NewestFirst};
use self::orders::Ending;
pub use self::orders::ShutdownReport;
pub(crate) use self::orders::{Orders, Stop};
use self::sending::Flight;
use self::shards::Rate;
use self::stragglers::{Straggler, next_of};
use self::unread::Passed;
use crate::batch::{Batcher, REQUEST_BYTES};
use crate::client::Client;
use crate::client::answer::Resend;
use crate::client::protocol::Negotiator;
use crate::config::{BATCH_SEND_DEADLINE, CatchUp, MetadataConfig, Narrowing, RemoteWrite};
use crate::disk::aside::{Files, Shelf};
use crate::disk::keep::Keeper;
use crate::disk::positions::{self, PositionFile, Settled};
use crate::outgoing::{Outgoing, Rules};
use crate::pace::Pace;
use crate::queue::{Queue, Settings};
use crate::stats::{State, Stats};
use formats::remote_write::Protocol;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use model::Clock;
use model::Kinds;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use storage::{Follower, Pin, Storage};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wal::Filesystem;

/// How often positions are synced. They are written with each answer.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a destination that fails is given when the worker is told to stop: enough for one more try.
const LAST_TRY: Duration = Duration::from_secs(5);
/// How often files with credentials, certificates and keys are read again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);

type Saved = (positions::Sync, Box<Settled>, io::Result<()>);
type Saving = JoinHandle<Saved>;

/// What a worker is made of.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) rules: Rules,
    pub(crate) client: Client,
    pub(crate) storage: Storage,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) file: PositionFile,
    pub(crate) settled: Box<Settled>,
    /// It goes on where an earlier run has ended.
    pub(crate) went_before: bool,
    pub(crate) keeper: Keeper,
    pub(crate) fs: Arc<dyn Filesystem>,
    pub(crate) files: Files,
    pub(crate) shelf: Shelf,
}

/// See the module.
pub(crate) struct Worker {
    name: String,
    resend: Resend,
    age_limit: Option<Duration>,
    rules: Rules,
    client: Client,
    storage: Storage,
    follower: Follower,
    /// What lies before the follower.
    passed: Passed,
    pin: Pin,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
    /// The number of the queue that goes on to the log's end.
    main: u64,
    queue: Queue<Outgoing>,
    settings: Settings,
    newest_first: NewestFirst,
    /// What that queue leaves out, where the newest is sent first.
    backlog: Option<Backlog>,
    stragglers: Vec<Straggler>,
    /// The highest number of a queue so far.
    queue_number: u64,
    batcher: Batcher,
    pace: Pace,
    negotiator: Negotiator,
    request_bytes: usize,
    flights: FuturesUnordered<BoxFuture<'static, Flight>>,
    file: PositionFile,
    /// What was written last.
    written: Box<Settled>,
    saving: Option<Saving>,
    /// What was synced last.
    saved: Box<Settled>,
    keeper: Keeper,
    /// Positions that may be written once all up to a ticket of the keeper is kept.
    held: Option<(u64, Box<Settled>)>,
    aside: Aside,
    /// What the pin had lost the last time that it was asked, and how much of it for its age.
    lost: [Kinds; 2],
    rate: Rate,
    was_full: bool,
    /// Up to here the log was read from disk: chunks of it do not say when they arrived.
    behind_until: wal::Position,
    refresh_at: Duration,
    metadata_config: MetadataConfig,
    metadata_at: Duration,
    metadata: Option<BoxFuture<'static, ()>>,
    closed: bool,
    /// Where the part of a member that leaves ends.
    until: Option<wal::Position>,
    /// It has delivered that part.
    through: bool,
    /// It is to end.
    stopping: bool,
    /// When the newest request was sent of which the destination wrote a sample.
    accepted_at: Option<Duration>,
}

impl Worker {
    pub(crate) fn new(config: &RemoteWrite, parts: Parts) -> Self {
        let Parts { name, rules, client, storage, clock, stats, file, settled, went_before, .. } = parts;
        let Parts { keeper, fs, files, shelf, .. } = parts;
        let queue_config = &config.queue_config;
        let max_shards = queue_config.max_shards.clamp(1, crate::queue::lanes::LANES);
        let settings = Settings {
            min_shards: queue_config.min_shards.clamp(1, max_shards),
            max_shards,
            capacity: queue_config.capacity.max(queue_config.max_samples_per_send),
            max_points: queue_config.max_samples_per_send,
            deadline: queue_config.batch_send_deadline,
            early: !queue_config.deadline_is_set && queue_config.batch_send_deadline == BATCH_SEND_DEADLINE,
            min_backoff: queue_config.min_backoff,
            max_backoff: queue_config.max_backoff,
            memory: config.max_in_memory,
            narrow: config.narrow == Narrowing::Auto,
            put_aside: config.put_aside,
        };
        stats.shards.set(settings.min_shards as i64);
        stats.shards_min.set(settings.min_shards as i64);
        stats.shards_max.set(max_shards as i64);
        stats.shards_desired_milli.set(settings.min_shards as i64 * 1000);
        stats.shard_capacity.set(settings.capacity as i64);
        stats.max_samples_per_send.set(settings.max_points as i64);
        stats.batch_send_deadline_ms.set(settings.deadline.as_millis() as i64);
        let Settled { lanes: done, ahead } = *settled;
        let queue = Queue::new(settings.clone(), &ahead.map_or(done, |ahead| ahead.lanes));
        let pin = storage.pin(&name, done.iter().min().copied().unwrap_or_default());
        let follower = storage.follow(queue.head());
        let passed = Passed::before(&storage, queue.head());
        let rate = Rate::since(clock.monotonic());
        let aside = Aside::new(fs, files, shelf, clock.monotonic());
        let window = Some(config.out_of_order_window).filter(|_| config.catch_up == CatchUp::NewestFirst);
        // Dropped from the log by an earlier worker that was never able to deliver them.
        stats.lost.add(file.only_in_memory());
        pin.note(wal::Position::default());
        let pace = Pace::new(queue_config.max_bytes_per_second, clock.monotonic());
        let mut worker = Worker {
            resend: Resend { after_429: queue_config.retry_on_http_429, after_4xx: config.retry_on_http_4xx },
            age_limit: Some(queue_config.sample_age_limit).filter(|limit| !limit.is_zero()),
            negotiator: Negotiator::new(config.protobuf_message.map(Protocol::from)),
            name,
            rules,
            client,
            storage,
            follower,
            passed,
            pin,
            clock,
            stats,
            main: 0,
            queue,
            settings,
            newest_first: NewestFirst { window, taken_at: None, held: false },
            backlog: None,
            stragglers: Vec::new(),
            queue_number: 0,
            pace,
            batcher: Batcher::default(),
            request_bytes: REQUEST_BYTES,
            flights: FuturesUnordered::new(),
            file,
            written: settled.clone(),
            saving: None,
            saved: settled,
            keeper,
            held: None,
            aside,
            lost: [Kinds::default(); 2],
            rate,
            was_full: false,
            behind_until: wal::Position::default(),
            refresh_at: Duration::ZERO,
            metadata_config: config.metadata_config.clone(),
            metadata_at: Duration::ZERO,
            metadata: None,
            closed: false,
            until: config.part.as_ref().and_then(|part| part.end),
            through: false,
            stopping: false,
            accepted_at: None,
        };
        if let Some(ahead) = ahead {
            worker.resume_backlog(&done, ahead.from);
        }
        if went_before {
            let end = worker.storage.end();
            worker.queues_mut().for_each(|(_, queue)| queue.expect_repeats(end));
        }
        worker
    }

    pub(crate) async fn run(mut self, mut orders: watch::Receiver<Orders>) -> ShutdownReport {
        let mut second = tokio::time::interval(SAVE_INTERVAL);
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ending: Option<Ending> = None;
        let complete = loop {
            let handing_over = ending.is_some_and(|ending| ending.hands_over);
            if !handing_over {
                self.send_ready();
            }
            let now = self.clock.monotonic();
            self.end_backlog();
            if let Some(complete) = ending.and_then(|ending| self.has_ended(ending, now)) {
                break complete;
            }
            if self.is_through() {
                break true;
            }
            let wants_more = self.queue.wants_more();
            if !wants_more && !self.was_full {
                self.stats.full.add(1);
            }
            self.was_full = !wants_more;
            let reads = wants_more
                && !handing_over
                && !self.closed
                && self.until.is_none_or(|until| self.follower.position() < until);
            let reads_backlog = !handing_over && self.backlog.as_ref().is_some_and(Backlog::reads);
            let to_send = self.next_wakeup();
            let end_at = ending.map(|ending| ending.at);
            let end_if_failing = ending.and_then(|ending| ending.at_if_failing).filter(|at| *at > now);
            let ends = end_at.into_iter().chain(end_if_failing);
            let wake = to_send.filter(|_| !handing_over).into_iter().chain(ends).min();
            tokio::select! {
                chunk = self.follower.next(), if reads => self.read(chunk),
                chunk = backlog::next_of(&mut self.backlog), if reads_backlog => self.read_for_backlog(chunk),
                Some(flight) = self.flights.next(), if !self.flights.is_empty() => self.answered(flight),
                () = tokio::time::sleep(wake.unwrap_or_default().saturating_sub(now)), if wake.is_some() => {}
                _ = second.tick() => self.every_second(),
                (index, chunk) = next_of(&mut self.stragglers), if !handing_over && !self.stragglers.is_empty() => {
                    self.read_for_straggler(index, chunk);
                }
                () = wait_for_metadata(&mut self.metadata), if self.metadata.is_some() => self.metadata = None,
                saved = wait(&mut self.saving), if self.saving.is_some() => self.save_ended(saved),
                () = self.keeper.progress(), if self.held.is_some() => self.write_positions(),
                () = self.pin.wait_for_drop() => self.note_dropped(),
                read = wait_for_entry(&mut self.aside), if self.aside.is_loading() => self.entry_read(read),
                changed = orders.changed(), if ending.is_none() => {
                    let orders = *orders.borrow_and_update();
                    // Nobody holds the handle any more: stop, but not without the positions.
                    let nobody = changed.is_err().then_some(Stop::Flush(Duration::ZERO));
                    ending = self.obey(orders.memory, nobody.or(orders.stop));
                }
            }
        };
        let report = self.finish(complete).await;
        if self.through {
            self.pin.release();
        }
        report
    }

    /// See [`Keeper::ended`].
    pub(crate) fn keeper_ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.keeper.ended()
    }

    /// Does what it is told to, and says how it ends then.
    fn obey(&mut self, memory: usize, stop: Option<Stop>) -> Option<Ending> {
        self.settings.memory = memory;
        self.share_memory();
        let (deadline, hands_over) = match stop? {
            Stop::Flush(deadline) => (deadline, false),
            Stop::HandOver(deadline) => (deadline, true),
        };
        self.stopping = true;
        self.queues_mut().for_each(|(_, queue)| queue.set_flushing(true));
        let now = self.clock.monotonic();
        let accepts = matches!(self.stats.state(), State::Delivering | State::Refusing { .. });
        let at_if_failing = (!accepts && !hands_over).then_some(now + LAST_TRY);
        Some(Ending { at: now + deadline, at_if_failing, hands_over })
    }

    /// Whether it is over: then, whether everything was delivered.
    fn has_ended(&self, ending: Ending, now: Duration) -> Option<bool> {
        let read = self.closed || self.follower.position() >= self.storage.end();
        if read && self.queue.pending() == 0 && self.backlog.is_none() && self.stragglers.is_empty() {
            return Some(true);
        }
        let fails = || matches!(self.stats.state(), State::Waiting { .. } | State::Denied { .. });
        let has_failed = ending.at_if_failing.is_some_and(|at| now >= at && fails());
        (now >= ending.at || has_failed || ending.hands_over && self.flights.is_empty()).then_some(false)
    }

    /// Whether a member that leaves has delivered its part.
    fn is_through(&mut self) -> bool {
        let read = self.until.is_some_and(|until| self.follower.position() >= until);
        let settled = self.queue.pending() == 0
            && self.backlog.is_none()
            && self.stragglers.is_empty()
            && self.aside.is_empty();
        self.through |= read && settled;
        self.through
    }

    /// When something may next be to be sent, if nothing else happens.
    fn next_wakeup(&self) -> Option<Duration> {
        let held = |number: u64| self.newest_first.held && number == self.main;
        let main = Some(&self.queue).filter(|_| !held(self.main));
        let backlog = self.backlog.as_ref().map(|backlog| &backlog.queue);
        let stragglers = self.stragglers.iter().filter(|straggler| !held(straggler.parent));
        let queues = stragglers.map(|straggler| &straggler.queue).chain(main).chain(backlog);
        let next = queues.filter_map(Queue::next_wakeup).chain(self.aside.next_wakeup()).min();
        next.map(|at| at.max(self.pace.opens_at()))
    }

    /// Saves the positions for the last time.
    async fn finish(&mut self, complete: bool) -> ShutdownReport {
        self.keeper.close().await;
        if self.saving.is_some() {
            let saved = wait(&mut self.saving).await;
            self.save_ended(saved);
        }
        self.save();
        if self.saving.is_some() {
            let saved = wait(&mut self.saving).await;
            self.save_ended(saved);
        }
        let positions_saved = self.settled() == *self.saved;
        self.update_gauges();
        self.stats.set_state(if self.through { State::Left } else { State::Stopped });
        let pending: usize = self.queues_mut().map(|(_, queue)| queue.pending()).sum();
        tracing::info!(destination = %self.name, complete, pending, positions_saved, "stopped");
        ShutdownReport { complete, pending, positions_saved }
    }

    /// All queues with their numbers, but for the side queue's.
    fn queues_mut(&mut self) -> impl Iterator<Item = (u64, &mut Queue<Outgoing>)> {
        queues_of((self.main, &mut self.queue), &mut self.backlog, &mut self.stragglers)
    }

    fn queue_mut(&mut self, number: u64) -> Option<&mut Queue<Outgoing>> {
        let main = (self.main, &mut self.queue);
        queue_of(number, main, &mut self.backlog, &mut self.stragglers, &mut self.aside)
    }
}

/// See [`Worker::queues_mut`].
fn queues_of<'a>(
    (main, queue): (u64, &'a mut Queue<Outgoing>),
    backlog: &'a mut Option<Backlog>,
    stragglers: &'a mut [Straggler],
) -> impl Iterator<Item = (u64, &'a mut Queue<Outgoing>)> {
    let backlog = backlog.iter_mut().map(|backlog| (backlog.number, &mut backlog.queue));
    let stragglers = stragglers.iter_mut().map(|straggler| (straggler.number, &mut straggler.queue));
    std::iter::once((main, queue)).chain(backlog).chain(stragglers)
}

/// The side queue's too.
fn all_queues_of<'a>(
    main: (u64, &'a mut Queue<Outgoing>),
    backlog: &'a mut Option<Backlog>,
    stragglers: &'a mut [Straggler],
    aside: &'a mut Aside,
) -> impl Iterator<Item = (u64, &'a mut Queue<Outgoing>)> {
    queues_of(main, backlog, stragglers).chain(aside.queue())
}

/// The one of all with this number.
fn queue_of<'a>(
    number: u64,
    main: (u64, &'a mut Queue<Outgoing>),
    backlog: &'a mut Option<Backlog>,
    stragglers: &'a mut [Straggler],
    aside: &'a mut Aside,
) -> Option<&'a mut Queue<Outgoing>> {
    let mut all = all_queues_of(main, backlog, stragglers, aside);
    all.find(|(own, _)| *own == number).map(|(_, queue)| queue)
}

async fn wait_for_metadata(metadata: &mut Option<BoxFuture<'static, ()>>) {
    if let Some(metadata) = metadata {
        metadata.await;
    }
}

async fn wait(saving: &mut Option<Saving>) -> Option<Saved> {
    match saving {
        Some(task) => match task.await {
            Ok(saved) => Some(saved),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime ends.
            Err(_) => None,
        },
        None => None,
    }
}
