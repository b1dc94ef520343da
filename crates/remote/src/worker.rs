//! The task of one destination: it feeds the queue from the log, sends what the queue names, and tells
//! it what became of that. All decisions are the queue's; here are the clock, the files and the sockets.

use crate::answer::{self, Answer, Verdict};
use crate::batch::{Batcher, Encoded, Kinds, REQUEST_BYTES, REQUEST_BYTES_MIN};
use crate::client::{Client, Failure, Post};
use crate::config::{MetadataConfig, Narrowing, RemoteWrite};
use crate::dead::{DeadLetters, Lines, Reason};
use crate::destination::ShutdownReport;
use crate::metadata;
use crate::outgoing::{Left, Outgoing, Rules};
use crate::positions::{Lanes, PositionFile};
use crate::protocol::{Negotiator, Next};
use crate::queue::{Fate, Outcome, Queue, Request, Settings};
use crate::reshard::{self, MovingRate, Rates};
use crate::stats::{State, Stats};
use formats::remote_write::Protocol;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use model::Clock;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use storage::{Chunk, Follower, Pin, ReadError, Storage};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often positions are saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// How often files with credentials, certificates and keys are read again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// Where a receiver says how many it refused but not which, the samples of requests up to this size are kept
/// aside, all of them; of a larger one only the numbers.
const SETTLED_KEPT: u64 = 100;
/// How long reading waits after the log could not be read.
const READ_RETRY: Duration = Duration::from_secs(1);

/// What was sent, kept until its answer.
struct Flight {
    request: Request,
    protocol: Protocol,
    kinds: Kinds,
    unsupported: Kinds,
    plain_bytes: usize,
    newest: Option<i64>,
    took: Duration,
    result: Result<Answer, Failure>,
}

type Saved = (PositionFile, Box<Lanes>, io::Result<()>);
type Saving = JoinHandle<Saved>;

#[derive(Default)]
struct Rate {
    input: MovingRate,
    output: MovingRate,
    dropped: MovingRate,
    sending: MovingRate,
    last: Duration,
}

/// What a worker is made of.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) rules: Rules,
    pub(crate) client: Client,
    pub(crate) storage: Storage,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) file: PositionFile,
    pub(crate) positions: Box<Lanes>,
    pub(crate) dead: DeadLetters,
}

/// See the module.
pub(crate) struct Worker {
    name: String,
    narrow: Narrowing,
    retry_429: bool,
    age_limit: Option<Duration>,
    min_shards: usize,
    max_shards: usize,
    rules: Rules,
    client: Client,
    storage: Storage,
    follower: Follower,
    pin: Pin,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
    queue: Queue<Outgoing>,
    batcher: Batcher,
    negotiator: Negotiator,
    request_bytes: usize,
    flights: FuturesUnordered<BoxFuture<'static, Flight>>,
    file: Option<PositionFile>,
    saving: Option<Saving>,
    saved: Box<Lanes>,
    dead: Option<DeadLetters>,
    lost: storage::Lost,
    rate: Rate,
    was_full: bool,
    read_not_before: Duration,
    refresh_at: Duration,
    metadata_config: MetadataConfig,
    metadata_at: Duration,
    metadata: Option<BoxFuture<'static, ()>>,
    closed: bool,
}

impl Worker {
    pub(crate) fn new(config: &RemoteWrite, parts: Parts) -> Self {
        let Parts { name, rules, client, storage, clock, stats, file, positions, dead } = parts;
        let queue_config = &config.queue_config;
        let max_shards = queue_config.max_shards.clamp(1, crate::lanes::LANES);
        let settings = Settings {
            min_shards: queue_config.min_shards.clamp(1, max_shards),
            max_shards,
            capacity: queue_config.capacity.max(queue_config.max_samples_per_send),
            max_points: queue_config.max_samples_per_send,
            deadline: queue_config.batch_send_deadline,
            min_backoff: queue_config.min_backoff,
            max_backoff: queue_config.max_backoff,
            memory: config.max_in_memory,
            narrow: config.narrow == Narrowing::Auto,
        };
        stats.shards.set(settings.min_shards as i64);
        stats.shards_min.set(settings.min_shards as i64);
        stats.shards_max.set(max_shards as i64);
        stats.shards_desired_milli.set(settings.min_shards as i64 * 1000);
        stats.shard_capacity.set(settings.capacity as i64);
        stats.max_samples_per_send.set(settings.max_points as i64);
        let queue = Queue::new(settings.clone(), &*positions);
        let pin = storage.pin(&name, queue.head());
        let follower = storage.follow(queue.head());
        let rate = Rate { last: clock.monotonic(), ..Rate::default() };
        Worker {
            narrow: config.narrow,
            retry_429: queue_config.retry_on_http_429,
            age_limit: Some(queue_config.sample_age_limit).filter(|limit| !limit.is_zero()),
            min_shards: settings.min_shards,
            max_shards,
            negotiator: Negotiator::new(config.protobuf_message.map(Protocol::from)),
            name,
            rules,
            client,
            storage,
            follower,
            pin,
            clock,
            stats,
            queue,
            batcher: Batcher::default(),
            request_bytes: REQUEST_BYTES,
            flights: FuturesUnordered::new(),
            file: Some(file),
            saving: None,
            saved: positions,
            dead: Some(dead),
            lost: storage::Lost::default(),
            rate,
            was_full: false,
            read_not_before: Duration::ZERO,
            refresh_at: Duration::ZERO,
            metadata_config: config.metadata_config.clone(),
            metadata_at: Duration::ZERO,
            metadata: None,
            closed: false,
        }
    }

    pub(crate) async fn run(mut self, mut stop: watch::Receiver<Option<Duration>>) -> ShutdownReport {
        let mut second = tokio::time::interval(SAVE_INTERVAL);
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stop_at: Option<Duration> = None;
        let complete = loop {
            self.send_ready();
            let now = self.clock.monotonic();
            if let Some(at) = stop_at {
                let all = self.closed || self.follower.position() >= self.storage.end();
                if all && self.queue.pending() == 0 {
                    break true;
                }
                if now >= at {
                    break false;
                }
            }
            let wants_more = self.queue.wants_more();
            if !wants_more && !self.was_full {
                self.stats.full.add(1);
            }
            self.was_full = !wants_more;
            let reads = wants_more && !self.closed && now >= self.read_not_before;
            let wake = [self.queue.next_wakeup(), stop_at].into_iter().flatten().min();
            tokio::select! {
                chunk = self.follower.next(), if reads => self.read(chunk),
                Some(flight) = self.flights.next(), if !self.flights.is_empty() => self.answered(flight),
                () = tokio::time::sleep(wake.unwrap_or_default().saturating_sub(now)), if wake.is_some() => {}
                _ = second.tick() => self.every_second(),
                () = wait_for_metadata(&mut self.metadata), if self.metadata.is_some() => self.metadata = None,
                saved = wait(&mut self.saving), if self.saving.is_some() => self.save_ended(saved),
                changed = stop.changed(), if stop_at.is_none() => {
                    // Nobody holds the handle any more: stop, but not without the positions.
                    let deadline = if changed.is_ok() { *stop.borrow_and_update() } else { None };
                    stop_at = Some(self.clock.monotonic() + deadline.unwrap_or_default());
                    self.queue.set_flushing(true);
                }
            }
        };
        self.finish(complete).await
    }

    /// Saves the positions for the last time.
    async fn finish(&mut self, complete: bool) -> ShutdownReport {
        if self.saving.is_some() {
            let saved = wait(&mut self.saving).await;
            self.save_ended(saved);
        }
        self.save();
        if self.saving.is_some() {
            let saved = wait(&mut self.saving).await;
            self.save_ended(saved);
        }
        if let Some(dead) = self.dead.take() {
            dead.close().await;
        }
        let positions_saved = self.queue.positions() == *self.saved;
        self.update_gauges();
        self.stats.set_state(State::Stopped);
        let pending = self.queue.pending();
        tracing::info!(destination = %self.name, complete, pending, positions_saved, "stopped");
        ShutdownReport { complete, pending, positions_saved }
    }

    /// Takes a chunk of the log in.
    fn read(&mut self, chunk: Result<Arc<Chunk>, ReadError>) {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(ReadError::Closed) => {
                self.closed = true;
                return;
            }
            Err(error) => {
                self.read_not_before = self.clock.monotonic() + READ_RETRY;
                self.stats.set_error(error.to_string());
                tracing::error!(destination = %self.name, %error, "the log can't be read; trying again");
                return;
            }
        };
        let (end, count) = (chunk.end, chunk.batch.points.len() as u32);
        let age_limit = self.age_limit.map(|limit| self.clock.now_ms() - limit.as_millis() as i64);
        self.rules.oldest_ms = age_limit;
        let outgoing = Outgoing::new(chunk, &mut self.rules);
        let [mut queued, mut by_rule, mut too_old, mut no_series] = [Kinds::default(); 4];
        let mut newest = i64::MIN;
        let rules = &self.rules;
        self.queue.push(outgoing, end, count, |outgoing, index| {
            let Some(point) = outgoing.point(index) else { return false };
            newest = newest.max(point.timestamp);
            match outgoing.left_out(point, rules) {
                None => {
                    queued.count(&point.value);
                    return true;
                }
                Some(Left::NoSeries) => no_series.count(&point.value),
                Some(Left::Rule) => by_rule.count(&point.value),
                Some(Left::TooOld) => too_old.count(&point.value),
            }
            false
        });
        self.stats.queued.add(queued);
        self.stats.dropped_by_rule.add(by_rule);
        self.stats.dropped_too_old.add(too_old);
        self.stats.dropped_no_series.add(no_series);
        if newest > i64::MIN {
            self.stats.highest_ms.raise(newest);
        }
    }

    /// Sends what the queue names.
    fn send_ready(&mut self) {
        loop {
            let now = self.clock.monotonic();
            let Some(request) = self.queue.poll(now) else { return };
            let protocol = self.negotiator.choose(now);
            let limit = if request.whole { self.request_bytes } else { usize::MAX };
            let storage = &self.storage;
            let points = self.queue.points(request.shard);
            let encoded = self.batcher.encode(protocol, points, limit, |name| storage.metadata(name));
            if request.whole {
                self.queue.trim(request.shard, encoded.taken);
            }
            if encoded.body.is_empty() {
                // Nothing in it that this version can carry.
                self.stats.dropped_unsupported.add(encoded.unsupported);
                self.queue.answer(request.shard, Outcome::Delivered, now, |_, _, _| {});
                continue;
            }
            if request.attempt > 0 {
                self.stats.retried.add(encoded.kinds);
            }
            self.stats.bytes.add(encoded.body.len() as u64);
            self.stats.plain_bytes.add(encoded.plain_bytes as u64);
            self.flights.push(self.fly(request, protocol, encoded));
        }
    }

    fn fly(&self, request: Request, protocol: Protocol, encoded: Encoded) -> BoxFuture<'static, Flight> {
        let (client, clock) = (self.client.clone(), self.clock.clone());
        let wall = u64::try_from(clock.now_ms()).unwrap_or_default();
        let wall: SystemTime = UNIX_EPOCH + Duration::from_millis(wall);
        let Encoded { body, kinds, unsupported, plain_bytes, newest, .. } = encoded;
        let post = Post { protocol, body, attempt: request.attempt };
        Box::pin(async move {
            let started = clock.monotonic();
            let result = client.post(post, wall).await;
            let took = clock.monotonic().saturating_sub(started);
            Flight { request, protocol, kinds, unsupported, plain_bytes, newest, took, result }
        })
    }

    /// Tells the queue what became of a request.
    fn answered(&mut self, flight: Flight) {
        let now = self.clock.monotonic();
        self.stats.requests.add(1);
        self.stats.request_duration.observe(flight.took);
        let words = match &flight.result {
            Ok(answer) => in_words(answer),
            Err(failure) => failure.to_string(),
        };
        let outcome = self.outcome(&flight, now, &words);
        let about_order = answer::is_about_order(&words);
        let time = self.clock.now_ms();
        let mut refused = Refused::default();
        self.queue.answer(flight.request.shard, outcome, now, |outgoing, index, fate| {
            let Some(point) = outgoing.point(index) else { return };
            let reason = match fate {
                Fate::Delivered => return,
                Fate::Settled if flight.kinds.total() > SETTLED_KEPT => return,
                Fate::Settled => Reason::Refused,
                Fate::Refused { maybe_written } => {
                    refused.maybe += u64::from(maybe_written && about_order);
                    Reason::Refused
                }
                Fate::Presumed => {
                    refused.presumed += 1;
                    Reason::Presumed
                }
                Fate::Poisoned => {
                    refused.poisoned += 1;
                    Reason::Poisoned
                }
            };
            let labels = outgoing.labels(point.series);
            refused.lines.sample(time, reason, &words, labels, &outgoing.chunk().batch, point);
            if fate == Fate::Settled {
                return;
            }
            refused.kinds.count(&point.value);
            if refused.example.is_none() {
                refused.example = Some(format!("{labels} at {}", point.timestamp));
            }
        });
        self.stats.refused.add(refused.kinds);
        self.stats.refused_or_already_written.add(refused.maybe);
        self.stats.refused_presumed.add(refused.presumed);
        self.stats.refused_poisoned.add(refused.poisoned);
        if let Some(example) = refused.example {
            let count = refused.kinds.total();
            self.stats.set_error(format!("refused for good: {example}: {words}"));
            tracing::warn!(destination = %self.name, count, %example, answer = %words, "refused for good");
        }
        self.keep_aside(refused.lines);
    }

    fn keep_aside(&self, lines: Lines) {
        if let Some(dead) = &self.dead {
            dead.put(lines);
        }
    }

    fn outcome(&mut self, flight: &Flight, now: Duration, words: &str) -> Outcome {
        let sent = Kinds {
            samples: flight.kinds.samples - flight.unsupported.samples,
            histograms: flight.kinds.histograms - flight.unsupported.histograms,
            exemplars: flight.kinds.exemplars - flight.unsupported.exemplars,
        };
        let answer = match &flight.result {
            Ok(answer) => answer,
            Err(_) => return self.retry(None, false, words),
        };
        let confirmed = self.negotiator.is_confirmed();
        match answer::verdict(answer, flight.protocol, confirmed, self.retry_429) {
            Verdict::Delivered => {
                self.taken(flight, sent);
                Outcome::Delivered
            }
            Verdict::Settled(written) => {
                let written = Kinds {
                    samples: written.samples.min(sent.samples),
                    histograms: written.histograms.min(sent.histograms),
                    exemplars: written.exemplars.min(sent.exemplars),
                };
                let refused = Kinds {
                    samples: sent.samples - written.samples,
                    histograms: sent.histograms - written.histograms,
                    exemplars: sent.exemplars - written.exemplars,
                };
                self.taken(flight, written);
                if refused.total() == 0 {
                    return Outcome::Delivered;
                }
                self.stats.refused.add(refused);
                self.stats.set_error(format!("refused for good: {} of a request: {words}", refused.total()));
                let count = refused.total();
                if sent.total() > SETTLED_KEPT {
                    let mut lines = Lines::default();
                    lines.summary(self.clock.now_ms(), words, count, sent.total());
                    self.keep_aside(lines);
                }
                tracing::warn!(destination = %self.name, count, answer = %words, "refused for good");
                Outcome::Settled
            }
            Verdict::Retry => self.retry(answer.retry_after, true, words),
            Verdict::Refused => {
                self.negotiator.understood(flight.protocol);
                if self.narrow == Narrowing::Auto { Outcome::Refused } else { Outcome::RefusedWhole }
            }
            Verdict::RefusedWhole => Outcome::RefusedWhole,
            Verdict::TooLarge => {
                let half = (flight.plain_bytes.min(self.request_bytes) / 2).max(REQUEST_BYTES_MIN);
                self.request_bytes = half.min(self.request_bytes);
                self.stats.set_error(words.to_string());
                Outcome::TooLarge
            }
            Verdict::OtherProtocol => match self.negotiator.not_understood(flight.protocol, now) {
                Next::Resend => {
                    let to = self.negotiator.current();
                    tracing::info!(destination = %self.name, answer = %words, ?to, "another version of the protocol");
                    Outcome::Resend
                }
                Next::Hold => self
                    .denied(format!("{words} (it understands no version of remote write that may be sent)")),
            },
            Verdict::Denied => self.denied(words.to_string()),
        }
    }

    /// The destination took this much of what was sent.
    fn taken(&mut self, flight: &Flight, taken: Kinds) {
        self.negotiator.understood(flight.protocol);
        self.stats.delivered.add(taken);
        self.stats.dropped_unsupported.add(flight.unsupported);
        if let Some(newest) = flight.newest {
            self.stats.highest_sent_ms.raise(newest);
        }
        let now = self.clock.now_ms();
        if self.stats.first_accepted_ms.get() == 0 {
            self.stats.first_accepted_ms.set(now);
            tracing::info!(destination = %self.name, protocol = ?flight.protocol, "the first samples were taken");
        }
        self.stats.last_accepted_ms.set(now);
        self.stats.set_protocol(flight.protocol);
        if self.stats.set_state(State::Delivering) {
            tracing::info!(destination = %self.name, "delivering");
        }
    }

    fn retry(&mut self, after: Option<Duration>, answered: bool, words: &str) -> Outcome {
        self.stats.requests_retried.add(1);
        let reason = format!("{words} ({})", self.client.url());
        self.stats.set_error(reason.clone());
        if self.stats.set_state(State::Waiting { reason }) {
            tracing::warn!(destination = %self.name, reason = %words, "waiting, and trying again");
        }
        Outcome::Retry { answered, after, jitter: fastrand::f64() }
    }

    fn denied(&mut self, words: String) -> Outcome {
        let reason = format!("{words} ({})", self.client.url());
        self.stats.set_error(reason.clone());
        self.stats.set_state(State::Denied { reason });
        tracing::error!(destination = %self.name, answer = %words, "the destination refuses; asking it once a minute");
        Outcome::Denied
    }

    fn every_second(&mut self) {
        let now = self.clock.monotonic();
        self.queue.tick(now);
        self.save();
        if now >= self.refresh_at {
            self.refresh(now);
        }
        if self.metadata_config.send
            && now >= self.metadata_at
            && self.metadata.is_none()
            && self.stats.protocol() == Some(Protocol::V1)
        {
            self.metadata_at = now + self.metadata_config.send_interval;
            self.metadata = Some(metadata::send(
                self.client.clone(),
                self.storage.all_metadata(),
                self.metadata_config.max_samples_per_send,
                self.stats.clone(),
            ));
        }
        self.update_gauges();
        let lost = self.pin.lost();
        self.stats.lost.add(Kinds {
            samples: lost.samples.saturating_sub(self.lost.samples),
            histograms: lost.histograms.saturating_sub(self.lost.histograms),
            exemplars: lost.exemplars.saturating_sub(self.lost.exemplars),
        });
        self.lost = lost;
        if now >= self.rate.last + reshard::INTERVAL {
            self.reshard(now);
        }
    }

    fn update_gauges(&self) {
        let stats = &self.stats;
        let behind = self.follower.is_behind();
        let lag = self.queue.oldest().map_or(0, |(outgoing, point)| {
            use crate::queue::Source;
            if behind {
                // When it arrived isn't known any more; its own time is the best guess.
                (self.clock.now_ms() - outgoing.timestamp(point)).max(0)
            } else {
                self.clock.monotonic().saturating_sub(outgoing.arrived()).as_millis() as i64
            }
        });
        stats.lag_ms.set(lag);
        stats.behind.set(i64::from(behind));
        stats.memory_bytes.set(self.queue.bytes() as i64);
        stats.shards.set(self.queue.shards() as i64);
        stats.segment.set(self.saved.iter().map(|position| position.segment).min().unwrap_or(0) as i64);
        let wait = self.queue.waits_until().map(|at| at.saturating_sub(self.clock.monotonic()));
        stats.retry_in_ms.set(wait.map_or(0, |wait| wait.as_millis() as i64));
    }

    fn reshard(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.rate.last).as_secs_f64();
        self.rate.last = now;
        let stats = &self.stats;
        let total = |kinds: Kinds| kinds.total() as f64;
        let delivered = total(stats.delivered.get()) + total(stats.refused.get());
        let rates = Rates {
            input: self.rate.input.tick(total(stats.queued.get()), seconds),
            output: self.rate.output.tick(delivered, seconds),
            dropped: self.rate.dropped.tick(total(stats.dropped_by_rule.get()), seconds),
            sending: self.rate.sending.tick(stats.request_duration.sum_ns.get() as f64 / 1e9, seconds),
            delay: stats.lag_ms.get() as f64 / 1000.0,
        };
        if let Some(desired) = reshard::desired(rates) {
            stats.shards_desired_milli.set((desired * 1000.0) as i64);
        }
        let shards = self.queue.shards();
        let decided = reshard::decide(shards, rates, self.min_shards, self.max_shards);
        if decided != shards {
            tracing::info!(destination = %self.name, from = shards, to = decided, ?rates, "resharding");
            self.queue.reshard(decided);
        }
    }

    /// Reads files with credentials again.
    fn refresh(&mut self, now: Duration) {
        self.refresh_at = now + REFRESH_INTERVAL;
        match self.client.refresh() {
            Ok(true) => self.queue.probe_now(now),
            Ok(false) => {}
            Err(error) => {
                self.stats.set_error(error.to_string());
                tracing::warn!(destination = %self.name, %error, "what was read before stays in use");
            }
        }
    }

    /// Begins to save the positions, if they have changed and no save is under way.
    fn save(&mut self) {
        let positions = self.queue.positions();
        if positions == *self.saved {
            return;
        }
        let Some(mut file) = self.file.take() else { return };
        self.saving = Some(tokio::task::spawn_blocking(move || {
            let result = file.save(&positions);
            (file, Box::new(positions), result)
        }));
    }

    fn save_ended(&mut self, saved: Option<Saved>) {
        self.saving = None;
        let Some((file, positions, result)) = saved else { return };
        self.file = Some(file);
        match result {
            Ok(()) => {
                *self.saved = *positions;
                if let Some(lowest) = positions.iter().min() {
                    self.pin.set(*lowest);
                }
            }
            Err(error) => {
                self.stats.positions_failed.add(1);
                tracing::error!(destination = %self.name, %error, "positions could not be saved");
            }
        }
    }
}

#[derive(Default)]
struct Refused {
    kinds: Kinds,
    maybe: u64,
    presumed: u64,
    poisoned: u64,
    example: Option<String>,
    lines: Lines,
}

async fn wait_for_metadata(metadata: &mut Option<BoxFuture<'static, ()>>) {
    if let Some(metadata) = metadata {
        metadata.await;
    }
}

async fn wait(saving: &mut Option<Saving>) -> Option<Saved> {
    match saving {
        Some(task) => task.await.ok(),
        None => None,
    }
}

/// `404 Not Found: remote write receiver needs to be enabled`
fn in_words(answer: &Answer) -> String {
    let reason = http::StatusCode::from_u16(answer.status).ok().and_then(|status| status.canonical_reason());
    let mut words = answer.status.to_string();
    for (separator, part) in [(" ", reason.unwrap_or_default()), (": ", answer.words.as_str())] {
        if !part.is_empty() {
            words.push_str(separator);
            words.push_str(part);
        }
    }
    words
}
