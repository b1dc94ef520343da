//! The task of one destination: it reads the log for [`Delivery`], sends its requests, and writes its
//! positions, dead letters and parked samples to disk. All decisions are in [`crate::delivery`]; this module
//! has the files and sockets.

mod every_second;
mod orders;
mod readers;
mod unread;

use self::orders::Ending;
pub use self::orders::ShutdownReport;
pub(crate) use self::orders::{Orders, Stop};
use self::readers::{Read, Readers};
use crate::client::Post;
use crate::client::answer::Answer;
use crate::delivery::{Delivery, Flight};
use crate::disk::aside::Files;
use crate::disk::keep::Keeper;
use crate::disk::progress::{Progress, Saving};
use crate::output::{Output, RemoteWriteOutput};
use crate::stats::State;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http_client::Failure;
use model::Kinds;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use storage::{Pin, ReadError, Storage};
use tokio::sync::watch;
use wal::Filesystem;

/// How often positions are synced. They are written with each answer.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a failing destination is given when the worker is told to stop. It is enough for one more try.
const LAST_TRY: Duration = Duration::from_secs(5);

pub(crate) struct Parts {
    pub(crate) delivery: Delivery<RemoteWriteOutput>,
    pub(crate) progress: Progress,
    pub(crate) keeper: Keeper,
    pub(crate) storage: Storage,
    pub(crate) fs: Arc<dyn Filesystem>,
    /// The parked entries.
    pub(crate) files: Files,
}

pub(crate) struct Worker {
    delivery: Delivery<RemoteWriteOutput>,
    progress: Progress,
    keeper: Keeper,
    readers: Readers,
    pin: Pin,
    fs: Arc<dyn Filesystem>,
    files: Files,
    /// All tasks of the worker, except reading the log.
    tasks: FuturesUnordered<BoxFuture<'static, Done>>,
    /// What the pin had lost when it was last asked, and how much of that because of its age.
    lost: [Kinds; 2],
}

enum Done {
    Replied(Box<Flight<Post>>, Result<Answer, Failure>),
    /// Positions were synced. `None` if the runtime ends.
    Saved(Option<(Saving, io::Result<()>)>),
    Loaded(Option<io::Result<Vec<u8>>>),
    /// Metadata was sent, or its requests failed.
    MetadataSent,
}

impl Worker {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { delivery, progress, keeper, storage, fs, files } = parts;
        let lowest = progress.saved().lanes.iter().min().copied().unwrap_or_default();
        let pin = storage.pin(delivery.name(), lowest);
        // Samples that an earlier worker had only in memory, because the log had dropped them, and that it
        // did not deliver.
        delivery.stats().lost.add(progress.only_in_memory());
        pin.note(wal::Position::default());
        let (readers, tasks) = (Readers::new(storage), FuturesUnordered::new());
        let lost = [Kinds::default(); 2];
        let mut worker = Worker { delivery, progress, keeper, readers, pin, fs, files, tasks, lost };
        worker.update();
        worker
    }

    pub(crate) async fn run(mut self, mut orders: watch::Receiver<Orders>) -> ShutdownReport {
        let mut second = tokio::time::interval(SAVE_INTERVAL);
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ending: Option<Ending> = None;
        let complete = loop {
            let hands_over = ending.is_some_and(|ending| ending.hands_over);
            if !hands_over {
                self.send();
            }
            self.update();
            let now = self.delivery.now();
            if let Some(complete) = ending.and_then(|ending| self.has_ended(ending, now)) {
                break complete;
            }
            if self.delivery.is_through() {
                break true;
            }
            let wake = self.delivery.next_wakeup().filter(|_| !hands_over);
            let ends = ending.into_iter().flat_map(|ending| ending.wakes(now));
            let wake = wake.into_iter().chain(ends).min();
            let delivery = &self.delivery;
            let is_wanted = |number| {
                let mut streams = delivery.streams().iter();
                streams.any(|stream| stream.number == number && delivery.wants_chunk(stream))
            };
            tokio::select! {
                read = self.readers.next(is_wanted), if !hands_over => self.read(read),
                Some(done) = self.tasks.next(), if !self.tasks.is_empty() => self.done(done),
                () = tokio::time::sleep(wake.unwrap_or_default().saturating_sub(now)), if wake.is_some() => {}
                _ = second.tick() => self.every_second(),
                () = self.keeper.progress(), if self.progress.is_held() => self.write_positions(),
                () = self.pin.wait_for_drop() => self.segment_dropped(),
                changed = orders.changed(), if ending.is_none() => {
                    let orders = *orders.borrow_and_update();
                    // The handle was dropped: stop, but save the positions.
                    let dropped = changed.is_err().then_some(Stop::Flush(Duration::ZERO));
                    ending = self.apply(orders.memory, dropped.or(orders.stop));
                }
            }
        };
        let report = self.finish(complete).await;
        if self.delivery.is_through() {
            self.pin.release();
        }
        report
    }

    pub(crate) fn keeper_ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.keeper.ended()
    }

    fn send(&mut self) {
        while let Some(flight) = self.delivery.begin_request() {
            let Some(message) = &flight.encoded.message else { continue };
            let reply = self.delivery.output().send(message, flight.request.tries);
            let flight = Box::new(flight);
            self.tasks.push(Box::pin(async move { Done::Replied(flight, reply.await) }));
        }
    }

    /// Does the follow-up of any event. To be called after each.
    fn update(&mut self) {
        self.delivery.count_full();
        self.delivery.take_keeps().into_iter().for_each(|keep| self.keeper.put(keep));
        self.readers.update(self.delivery.streams());
        for (stream, position) in self.readers.positions() {
            self.delivery.advance(stream, position);
        }
        let rereads = self.delivery.take_rereads();
        if !rereads.is_empty() {
            // Points whose segment was dropped can't be read again.
            let dropped_before = self.pin.set_read(self.readers.read_up_to(self.delivery.streams()));
            let lost = rereads.iter().filter(|(position, _)| *position < dropped_before);
            let lost = lost.fold(Kinds::default(), |sum, (_, kinds)| sum.plus(*kinds));
            self.delivery.stats().lost.add(lost);
        }
        // A parked entry that is not written yet must not be loaded: it would count as one that could not be
        // written.
        let is_kept = self.keeper.kept() == self.keeper.handed();
        if is_kept && let Some(id) = self.delivery.entry_to_load() {
            let (fs, files) = (self.fs.clone(), self.files.clone());
            let loading = tokio::task::spawn_blocking(move || files.load(&*fs, id));
            self.tasks.push(Box::pin(async move { Done::Loaded(loading.await.ok()) }));
        }
    }

    /// Takes a chunk that was read for a stream.
    fn read(&mut self, read: Read) {
        let chunk = match read.chunk {
            Ok(chunk) => chunk,
            Err(ReadError::Closed) => return self.delivery.close(read.stream),
            Err(error) => {
                // The reader retries by itself, with growing pauses.
                self.delivery.stats().set_error(error.to_string());
                tracing::error!(
                    destination = self.delivery.name(), %error, "the log can't be read; trying again"
                );
                return;
            }
        };
        let streams = self.delivery.streams();
        if streams
            .iter()
            .any(|stream| stream.number == read.stream && stream.is_live() && !stream.is_isolated)
        {
            let records = chunk.records.len() as u64;
            let stats = self.delivery.stats();
            stats.records_read.add(records);
            stats.records_read_behind.add(if read.is_from_disk { records } else { 0 });
        }
        let is_there = self.pin.take(chunk.segment, self.readers.read_up_to(streams));
        self.delivery.feed(read.stream, chunk, read.is_from_disk, is_there);
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Replied(flight, reply) => {
                self.delivery.answered(*flight, &reply);
                self.update();
                // Before any other request is sent, so that after a kill only the requests under way are sent
                // again.
                self.write_positions();
            }
            Done::Saved(saved) => {
                let Some((saving, result)) = saved else { return };
                if let Some(settled) = self.progress.end_sync(saving, result)
                    && let Some(lowest) = settled.lanes.iter().min()
                {
                    self.pin.set(*lowest);
                }
            }
            Done::Loaded(read) => self.delivery.entry_loaded(read),
            Done::MetadataSent => self.delivery.output_mut().metadata_sent(),
        }
    }

    /// Writes the positions, if they have changed and all dead letters and parked samples before them are
    /// kept.
    fn write_positions(&mut self) {
        // This is written first. A kill between the two then causes no wrong count, because the segment of
        // these samples is gone.
        self.write_only_in_memory();
        self.progress.write(self.delivery.settled(), self.keeper.handed(), self.keeper.kept());
    }

    /// Saves how many undelivered samples are only in memory, because the log's budget has dropped their
    /// segments. If this process is killed, the next start counts them as lost.
    fn write_only_in_memory(&mut self) {
        let dropped = self.pin.dropped();
        let mut kinds = Kinds::default();
        for (outgoing, index) in self.delivery.log_queues().flat_map(|queue| queue.pending_before(dropped)) {
            if let Some(point) = outgoing.point(index) {
                kinds.count(&point.value);
            }
        }
        self.progress.write_only_in_memory(kinds);
    }

    /// Lets the log delete a dropped segment, once the number of its samples in memory is saved.
    fn segment_dropped(&mut self) {
        let dropped = self.pin.dropped();
        self.write_only_in_memory();
        self.pin.note(dropped);
    }

    /// Writes the positions, and begins to sync them.
    fn save(&mut self) {
        self.write_positions();
        let Some(saving) = self.progress.begin_sync() else { return };
        let task = tokio::task::spawn_blocking(move || {
            let result = saving.wait();
            (saving, result)
        });
        self.tasks.push(Box::pin(async move {
            match task.await {
                Ok(saved) => Done::Saved(Some(saved)),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime ends.
                Err(_) => Done::Saved(None),
            }
        }));
    }

    /// Applies the orders. Returns how to end, if the worker is told to stop.
    fn apply(&mut self, memory: usize, stop: Option<Stop>) -> Option<Ending> {
        self.delivery.set_memory(memory);
        let (deadline, hands_over) = match stop? {
            Stop::Flush(deadline) => (deadline, false),
            Stop::HandOver(deadline) => (deadline, true),
        };
        self.delivery.stop();
        let now = self.delivery.now();
        let accepts = matches!(self.delivery.stats().state(), State::Delivering | State::Refusing { .. });
        let at_if_failing = (!accepts && !hands_over).then_some(now + LAST_TRY);
        Some(Ending { at: now + deadline, at_if_failing, hands_over })
    }

    /// Returns `Some` if the worker is done. The value is true if everything was delivered.
    fn has_ended(&self, ending: Ending, now: Duration) -> Option<bool> {
        let end = self.readers.storage.end();
        let live = self.delivery.main(crate::delivery::Kind::Live);
        let is_read = live.is_none_or(|live| live.is_read() || live.queue.head() >= end);
        if is_read && self.delivery.is_all_delivered() {
            return Some(true);
        }
        let fails = || matches!(self.delivery.stats().state(), State::Waiting { .. } | State::Denied { .. });
        let has_failed = ending.at_if_failing.is_some_and(|at| now >= at && fails());
        let is_answered = ending.hands_over && self.delivery.health().is_idle();
        (now >= ending.at || has_failed || is_answered).then_some(false)
    }

    async fn finish(&mut self, complete: bool) -> ShutdownReport {
        self.keeper.close().await;
        for _ in 0..2 {
            while self.progress.is_saving() {
                match self.tasks.next().await {
                    Some(Done::Saved(saved)) => self.done(Done::Saved(saved)),
                    // Requests under way are sent again after the next start.
                    Some(_) => {}
                    None => break,
                }
            }
            self.save();
        }
        let settled = self.delivery.settled();
        let positions_saved = settled == *self.progress.saved();
        self.update_gauges();
        let state = if self.delivery.is_through() { State::Left } else { State::Stopped };
        self.delivery.stats().set_state(state);
        let pending = self.delivery.pending();
        tracing::info!(destination = self.delivery.name(), complete, pending, positions_saved, "stopped");
        ShutdownReport { complete, pending, positions_saved }
    }
}
