//! Passes requests from the inputs to the log, and holds the state that they share.

use crate::budget::{Budget, Share};
use crate::counters::{Counters, InputCounters, RefusedReason};
use crate::known::{KnownSeries, Recognised, Recogniser};
use crate::labels;
use crate::refusal::Refusal;
use crate::rules;
use crate::series_limit::SeriesLimit;
use crate::settings::{Settings, SettingsError};
use crate::time::TimeBounds;
use formats::text::Format;
use formats::{Parsed, Rejected};
use model::{Batch, Clock, Kinds};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use storage::{AppendError, Journal, Storage};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The state that all inputs share: the log, the settings, the memory budget, the counters. Clones are the same intake.
#[derive(Clone)]
pub struct Intake(Arc<Inner>);

struct Inner {
    storage: Storage,
    clock: Arc<dyn Clock>,
    settings: RwLock<Snapshot>,
    known: Arc<KnownSeries>,
    budget: Budget,
    requests: Arc<Semaphore>,
    requests_max: usize,
    counters: Counters,
    /// The limits on series, by section.
    series: Mutex<BTreeMap<&'static str, Arc<Mutex<SeriesLimit>>>>,
    /// The section of each input, by the input's name.
    inputs: Mutex<BTreeMap<&'static str, &'static str>>,
    /// The state of inputs that survives their restarts, by input name.
    states: Mutex<BTreeMap<&'static str, Arc<dyn Any + Send + Sync>>>,
}

/// Settings with a number that no other settings of this intake have.
#[derive(Debug, Clone)]
struct Snapshot {
    settings: Arc<Settings>,
    generation: u64,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").field("settings", &self.settings()).finish_non_exhaustive()
    }
}

impl Intake {
    pub fn new(storage: Storage, clock: Arc<dyn Clock>, settings: Settings) -> Result<Self, SettingsError> {
        settings.check(storage.max_waiting_bytes())?;
        let requests_max = settings.requests.min(Semaphore::MAX_PERMITS);
        Ok(Intake(Arc::new(Inner {
            storage,
            clock,
            budget: Budget::new(settings.memory_bytes, settings.wait),
            requests: Arc::new(Semaphore::new(requests_max)),
            requests_max,
            known: Arc::new(KnownSeries::new(settings.known_series_bytes)),
            settings: RwLock::new(Snapshot { settings: Arc::new(settings), generation: 0 }),
            counters: Counters::default(),
            series: Mutex::default(),
            inputs: Mutex::default(),
            states: Mutex::default(),
        })))
    }

    pub fn settings(&self) -> Arc<Settings> {
        self.snapshot().settings
    }

    fn snapshot(&self) -> Snapshot {
        self.0.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies new settings from the next request on. [`Settings::requests`], [`Settings::memory_bytes`],
    /// [`Settings::wait`] and [`Settings::known_series_bytes`] can't be changed and keep their values.
    pub fn set_settings(&self, settings: Settings) -> Result<(), SettingsError> {
        settings.check(self.0.storage.max_waiting_bytes())?;
        let mut current = self.0.settings.write().unwrap_or_else(PoisonError::into_inner);
        if *current.settings != settings {
            *current = Snapshot { settings: Arc::new(settings), generation: current.generation + 1 };
            self.0.known.clear();
        }
        Ok(())
    }

    /// The input with this name. All inputs with the same name share counters and settings.
    pub fn input(&self, name: &'static str) -> Input {
        self.input_of(name, name)
    }

    /// The input with this name, with its own counters and the settings and limits of `section`.
    pub fn input_of(&self, name: &'static str, section: &'static str) -> Input {
        let mut series = self.0.series.lock().unwrap_or_else(PoisonError::into_inner);
        let series = series.entry(section).or_default().clone();
        let counters = self.0.counters.of(name);
        let mut inputs = self.0.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        inputs.insert(name, section);
        Input { intake: self.clone(), counters, series, name, section }
    }

    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub fn storage(&self) -> &Storage {
        &self.0.storage
    }

    /// All inputs, by name.
    pub fn inputs(&self) -> Vec<Input> {
        let inputs = self.0.inputs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        inputs.into_iter().map(|(name, section)| self.input_of(name, section)).collect()
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.0.clock.now_ms()
    }

    pub fn clock(&self) -> Arc<dyn Clock> {
        self.0.clock.clone()
    }

    /// The number of requests in progress.
    pub fn requests(&self) -> usize {
        self.0.requests_max.saturating_sub(self.0.requests.available_permits())
    }

    pub fn known_series(&self) -> &KnownSeries {
        &self.0.known
    }

    /// Memory for bytes that are read before a request begins, such as an answer that is still arriving. It counts as
    /// that of requests.
    pub fn share(&self) -> Share {
        self.0.budget.share()
    }

    /// The memory that no request holds, in bytes.
    pub fn memory_free(&self) -> usize {
        self.0.budget.free()
    }
}

/// The interface of one input to the intake. Clones share their counters.
#[derive(Debug, Clone)]
pub struct Input {
    intake: Intake,
    counters: Arc<InputCounters>,
    series: Arc<Mutex<SeriesLimit>>,
    name: &'static str,
    section: &'static str,
}

impl Input {
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// The name in labels.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The section with the settings and limits of the input.
    pub fn section(&self) -> &'static str {
        self.section
    }

    pub fn counters(&self) -> &InputCounters {
        &self.counters
    }

    /// The state of the input, which is kept over restarts of the input. The first call creates it. Returns `None` if
    /// an earlier call was for another type.
    pub fn state<T: Default + Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let mut states = self.intake.0.states.lock().unwrap_or_else(PoisonError::into_inner);
        let state = states.entry(self.name).or_insert_with(|| Arc::new(T::default()));
        state.clone().downcast().ok()
    }

    /// Begins a request: reserves one of the places for concurrent requests, and takes a snapshot of the settings.
    pub fn admit(&self) -> Result<Admission, Refusal> {
        let place = self.intake.0.requests.clone().try_acquire_owned();
        let place = place.map_err(|_| Refusal::Busy("too many requests at once: try again in a moment"))?;
        Ok(Admission {
            input: self.clone(),
            settings: self.intake.snapshot(),
            memory: self.intake.0.budget.share(),
            _place: place,
        })
    }

    /// Appends a batch that narthex itself produced, such as the metrics of this machine. Label limits and time bounds
    /// apply, but it needs no place and no memory of the requests. Only one task at a time may call this.
    pub async fn append_own(&self, mut batch: Batch) -> Result<Outcome, Refusal> {
        let snapshot = self.intake.snapshot();
        let mut rejected = Rejected::default();
        labels::limit(&mut batch, &snapshot.settings.limits, &mut rejected);
        let dropped = self.apply_rules(&snapshot, &mut batch, &mut rejected);
        self.counters.dropped.add(dropped.total());
        let kept = self.screen(&snapshot.settings, &mut batch, None, &mut rejected);
        match self.intake.0.storage.append(batch).await {
            Ok(()) => {
                self.count_points(kept, &rejected);
                let outcome = Outcome { kept, dropped, rejected };
                self.count(&outcome);
                Ok(outcome)
            }
            Err(error) => {
                let refusal = Refusal::from(error);
                self.count_refusal(&refusal);
                Err(refusal)
            }
        }
    }

    /// Applies the input's rules to a batch. Returns the number of points that they dropped.
    fn apply_rules(&self, snapshot: &Snapshot, batch: &mut Batch, rejected: &mut Rejected) -> Kinds {
        self.recogniser(snapshot).apply_rules(batch, rejected)
    }

    fn recogniser(&self, Snapshot { settings, generation }: &Snapshot) -> Recogniser {
        let intake = &self.intake.0;
        Recogniser {
            known: intake.known.clone(),
            hasher: intake.storage.hasher().clone(),
            settings: settings.of(self.section),
            limits: settings.limits,
            section: self.section,
            generation: *generation,
        }
    }

    /// Applies the time bounds and the limits on series. Returns the number of points that are left.
    fn screen(
        &self,
        settings: &Settings,
        batch: &mut Batch,
        written_in: Option<Format>,
        rejected: &mut Rejected,
    ) -> Kinds {
        let bounds = TimeBounds::at(self.intake.now_ms(), settings);
        let timely = bounds.apply(batch, written_in, rejected);
        let before = rejected.kinds();
        self.limit_series(settings, batch, rejected);
        timely.minus(rejected.kinds().minus(before))
    }

    /// Removes new series that are over a limit. For an input that keeps a batch and appends it later with
    /// [`Input::append_kept`].
    pub fn limit_series(&self, settings: &Settings, batch: &mut Batch, rejected: &mut Rejected) {
        let before = rejected.over_series_limit;
        let now = self.intake.0.clock.monotonic();
        let hasher = self.intake.0.storage.hasher();
        let worst = self.series().apply(&settings.of(self.section), now, hasher, batch, rejected);
        if let Some((metric, series_of_metric)) = worst {
            let series = rejected.over_series_limit - before;
            self.counters.series_refused.add(series);
            tracing::warn!(
                input = self.name,
                series,
                metric,
                series_of_metric,
                "new series over a limit were refused; metric has the most of them"
            );
        }
    }

    /// Appends a batch that was checked and kept before, together with an entry of a journal. The input's rules apply,
    /// and the series count as active. This needs no place and no memory of the requests. Only one task at a time may
    /// call this.
    pub async fn append_kept(
        &self,
        mut batch: Batch,
        journal: &Journal,
        entry: Vec<u8>,
    ) -> Result<(), AppendError> {
        let snapshot = self.intake.snapshot();
        let own = snapshot.settings.of(self.section);
        let hasher = self.intake.0.storage.hasher();
        self.series().touch(&own, self.intake.0.clock.monotonic(), hasher, &mut batch);
        let mut rejected = Rejected::default();
        let dropped = self.apply_rules(&snapshot, &mut batch, &mut rejected);
        self.intake.0.storage.append_with(batch, journal, entry).await?;
        self.counters.dropped.add(dropped.total());
        self.counters.rejected.add(rejected.kinds().total());
        Ok(())
    }

    fn series(&self) -> MutexGuard<'_, SeriesLimit> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a new series that the input refused because of a limit of its own, under the metric name of the series.
    pub fn count_refused_series(&self, metric: &[u8]) {
        self.series().count_refused(metric);
        self.counters.series_refused.add(1);
    }

    /// The number of series that were active within the last hour; 0 for an input without a limit.
    pub fn active_series(&self) -> usize {
        self.series().active()
    }

    /// The number of series that were refused because of a limit on active series, by metric name.
    pub fn blamed_metrics(&self) -> BTreeMap<String, u64> {
        self.series().blamed().clone()
    }

    /// Counts a request as accepted, or as refused if a part of it was rejected. For inputs without answers; HTTP
    /// inputs count their answers.
    pub fn count(&self, outcome: &Outcome) {
        match outcome.reason() {
            None => self.counters.accepted.add(1),
            Some(reason) => {
                self.counters.refused.add(1);
                self.intake.0.counters.refused(self.name, reason, &outcome.rejected.to_string());
            }
        }
    }

    /// Counts a request that the intake refused. For inputs without answers.
    pub fn count_refusal(&self, refusal: &Refusal) {
        match refusal.retry_after() {
            Some(_) => self.counters.deferred.add(1),
            None => self.counters.refused.add(1),
        }
        self.intake.0.counters.refused(self.name, refusal.reason(), &refusal.to_string());
    }

    fn count_points(&self, kept: Kinds, rejected: &Rejected) {
        self.counters.points.add(kept.total());
        self.counters.rejected.add(rejected.kinds().total());
    }
}

/// A request that was admitted. Its place and its memory are released when it is dropped.
#[derive(Debug)]
pub struct Admission {
    input: Input,
    settings: Snapshot,
    memory: Share,
    _place: OwnedSemaphorePermit,
}

/// The outcome of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The points in the log, as durable as the settings of the log require.
    pub kept: Kinds,
    /// The points that the input's relabelling rules dropped.
    pub dropped: Kinds,
    /// The parts that were left out, with the first reasons.
    pub rejected: Rejected,
}

impl Outcome {
    /// The reason of rejected points for counters; `None` if there are none.
    pub fn reason(&self) -> Option<RefusedReason> {
        let rejected = &self.rejected;
        match rejected.is_empty() {
            true => None,
            false if rejected.is_only_over_series_limit() => Some(RefusedReason::TooMany),
            false => Some(RefusedReason::Invalid),
        }
    }
}

impl Admission {
    /// The settings of this request.
    pub fn settings(&self) -> &Settings {
        &self.settings.settings
    }

    /// Recognises the known series of this request.
    pub fn recogniser(&self) -> Recogniser {
        self.input.recogniser(&self.settings)
    }

    /// The memory that the request holds.
    pub fn memory(&mut self) -> &mut Share {
        &mut self.memory
    }

    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.input.intake.now_ms()
    }

    /// The timestamps that are accepted now.
    pub fn time_bounds(&self) -> TimeBounds {
        TimeBounds::at(self.now_ms(), self.settings())
    }

    /// Appends a part of a request that is read in parts, like [`Admission::append`]. `held_bytes` is the memory that
    /// the rest of the request holds meanwhile.
    pub async fn append_part(
        &mut self,
        decoded: impl Into<Recognised>,
        held_bytes: usize,
    ) -> Result<Outcome, Refusal> {
        self.append_beside(decoded, None, held_bytes).await
    }

    /// Applies the input's rules, the time bounds and the limits on series, appends the batch, waits for the commit,
    /// and counts. `written_in` is the text format of the timestamps, if any: people often use the wrong unit in it.
    /// `decoded` includes what decoding has left out.
    pub async fn append(
        &mut self,
        decoded: impl Into<Recognised>,
        written_in: Option<Format>,
    ) -> Result<Outcome, Refusal> {
        self.append_beside(decoded, written_in, 0).await
    }

    async fn append_beside(
        &mut self,
        decoded: impl Into<Recognised>,
        written_in: Option<Format>,
        held_bytes: usize,
    ) -> Result<Outcome, Refusal> {
        let Recognised { parsed: Parsed { mut batch, mut rejected }, made, dropped: unmapped } =
            decoded.into();
        let mut dropped = match made {
            Some(made) => rules::apply_results(&mut batch, made, &mut rejected),
            None => self.input.apply_rules(&self.settings, &mut batch, &mut rejected),
        };
        dropped.samples += unmapped;
        self.input.counters.dropped.add(dropped.total());
        let kept = self.input.screen(self.settings(), &mut batch, written_in, &mut rejected);
        self.memory.resize(held_bytes + batch.heap_bytes()).await?;
        self.input.intake.0.storage.append(batch).await?;
        self.input.count_points(kept, &rejected);
        Ok(Outcome { kept, dropped, rejected })
    }
}

#[cfg(test)]
mod tests;
