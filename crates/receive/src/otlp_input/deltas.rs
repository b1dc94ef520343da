//! Deltas of OTLP: each is added to the running total of its series, which is what receivers get.
//!
//! ```text
//!  request ─┬─ deltas ──► totals ─► log and journal: one commit, before the answer
//!           └─ all else ► batch ──► log
//! ```
//!
//! A client repeats a request that was not answered. So the totals remember the hashes of requests, and each series the
//! start and the time of its newest delta. Deltas are committed before the batch: if the batch then fails, the repeated
//! request finds its deltas applied.

use crate::answer::Refusal;
use ::otlp::{Change, DeltaPoint, Deltas};
use intake::{Input, Intake};
use std::sync::{Arc, Weak};
use std::time::Duration;
use totals::native::{Buckets, SCHEMA_MIN};
use totals::{Accumulators, Handle, Kind, NewSeries, Now, Refused, Shape, Totals};
use xxhash_rust::xxh3::xxh3_128;

/// The name of the totals among the inputs, and of their task.
pub const DELTAS: &str = "otlp_deltas";
/// The folder of their journal.
const JOURNAL: &str = "otlp";
/// How often it is looked for totals that have to be sent again, or end.
const INTERVAL: Duration = Duration::from_secs(10);

/// How many senders a series has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Senders {
    /// One, whose data points come in the order of their times.
    #[default]
    Single,
    /// Several, whose data points are added up, whatever their times are.
    Many,
}

/// Settings of deltas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub senders: Senders,
    /// How long a series lives without a data point. `None`: for ever.
    pub ttl: Option<Duration>,
    pub limits: totals::Limits,
}

impl Settings {
    /// The default of [`Settings::ttl`].
    pub const TTL: Duration = Duration::from_secs(3600);

    pub(crate) fn totals(&self) -> totals::Settings {
        totals::Settings { limits: self.limits, begin: totals::Begin::WithZero }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings { senders: Senders::default(), ttl: Some(Settings::TTL), limits: totals::Limits::default() }
    }
}

/// Opens the totals, and starts the task that sends them again. The task ends with the last clone of the totals.
pub(crate) async fn open(
    intake: &Intake,
    settings: &Settings,
) -> Result<Arc<Accumulators>, storage::OpenError> {
    let input = intake.input_of(DELTAS, crate::OTLP);
    let totals = Accumulators::open(input, JOURNAL, intake.clock(), settings.totals()).await?;
    let totals = Arc::new(totals);
    let weak = Arc::downgrade(&totals);
    // What a change has promised is on disk, so the task may be started again.
    tokio::spawn(supervisor::supervise(supervisor::Task::only(DELTAS), move || keep(weak.clone())));
    Ok(totals)
}

async fn keep(totals: Weak<Accumulators>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(totals) = totals.upgrade() else { return };
        if let Err(error) = totals.flush().await {
            tracing::warn!(input = DELTAS, %error, "totals were not sent again; they are tried again");
        }
    }
}

/// The deltas of a request.
#[derive(Debug)]
pub(crate) struct Request {
    deltas: Deltas,
    /// By which a repeated request is recognised.
    hash: u128,
    settings: Settings,
}

impl Request {
    /// `None`: there are none. `body`: decompressed.
    pub(crate) fn new(deltas: Deltas, body: &[u8], settings: &Settings) -> Option<Arc<Request>> {
        if deltas.is_empty() {
            return None;
        }
        Some(Arc::new(Request { deltas, hash: xxh3_128(body), settings: settings.clone() }))
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.deltas.heap_bytes()
    }

    /// Adds the deltas to their totals. Returns once that is durable.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        totals: &Arc<Accumulators>,
        input: &Input,
    ) -> Result<LeftOut, Refusal> {
        let request = self.clone();
        let left_out = totals.commit(move |totals, now| request.apply(totals, now)).await?;
        left_out.over_limit.iter().for_each(|metric| input.count_refused_series(metric));
        Ok(left_out)
    }

    fn apply(&self, totals: &mut Totals, now: Now) -> LeftOut {
        let mut left_out = LeftOut::default();
        if totals.is_applied(self.hash) {
            return left_out;
        }
        let mut shape = None;
        let mut is_any_applied = false;
        for point in self.deltas.iter() {
            match self.add(totals, now, point, &mut shape) {
                Ok(()) => is_any_applied = true,
                Err(why) => left_out.add(point, why),
            }
        }
        if is_any_applied {
            totals.set_applied(self.hash, now);
        }
        left_out
    }

    fn add(
        &self,
        totals: &mut Totals,
        now: Now,
        point: DeltaPoint<'_>,
        shape: &mut Option<Arc<Shape>>,
    ) -> Result<(), Left> {
        let mark = [point.start, point.time];
        let is_single = self.settings.senders == Senders::Single;
        let newest = totals.find(point.labels).and_then(|handle| totals.mark(handle)).filter(|_| is_single);
        match newest {
            Some(newest) if newest == mark => return Ok(()),
            Some([_, newest]) if point.time <= newest => return Err(out_of_order(point.time, newest)),
            _ => {}
        }
        let open = |totals: &mut Totals, kind: &Kind| -> Result<Handle, Left> {
            let new = NewSeries {
                labels: point.labels,
                kind,
                help: &point.metadata.help,
                unit: &point.metadata.unit,
                ttl: self.settings.ttl,
            };
            totals.open_or_restart(new, now).map_err(Left::from)
        };
        let (handle, result) = match point.change {
            Change::Counter(value) => {
                let handle = open(totals, &Kind::Counter)?;
                (handle, totals.add(handle, *value))
            }
            Change::Gauge(value) => {
                let handle = open(totals, &Kind::Gauge)?;
                (handle, totals.shift(handle, *value))
            }
            Change::Explicit { bounds, counts, sum } => {
                let handle = open(totals, &Kind::Histogram(with_bounds(bounds, shape)?))?;
                (handle, totals.add_classic(handle, counts, *sum))
            }
            Change::Exponential { scale, zero, positive, negative, sum } => {
                let [positive, negative] = [positive, negative].map(|(first, counts)| (*first, &**counts));
                let Some(buckets) = Buckets::exponential(*scale, *zero, positive, negative) else {
                    return Err(Left::Invalid(format!(
                        "an exponential histogram of scale {scale}, whose numbers are too large, or whose scale is below \
                         {SCHEMA_MIN}"
                    )));
                };
                let handle = open(totals, &Kind::Histogram(Arc::new(Shape::native())))?;
                (handle, totals.add_native(handle, &buckets, *sum))
            }
        };
        result.map_err(|error| Left::Invalid(error.to_string()))?;
        if is_single {
            totals.set_mark(handle, mark).map_err(|error| Left::Invalid(error.to_string()))?;
        }
        Ok(())
    }
}

fn out_of_order(time: u64, newest: u64) -> Left {
    let late_ms = (newest - time) / 1_000_000;
    Left::Invalid(format!(
        "a delta that is {late_ms} ms older than the newest one of its series, or as old: if several senders share the \
         series, give each a service.instance.id, or set otlp.accumulate: many"
    ))
}

/// The shape of a histogram with these bounds. Most histograms of a request have the same.
fn with_bounds(bounds: &[f64], last: &mut Option<Arc<Shape>>) -> Result<Arc<Shape>, Left> {
    if let Some(shape) = last.as_ref().filter(|shape| shape.bounds() == Some(bounds)) {
        return Ok(shape.clone());
    }
    let shape = Shape::classic(bounds).map_err(|error| Left::Invalid(error.to_string()))?;
    Ok(last.insert(Arc::new(shape)).clone())
}

/// Why a delta is left out.
enum Left {
    OverLimit(String),
    Invalid(String),
}

impl From<Refused> for Left {
    fn from(refused: Refused) -> Self {
        match refused.is_over_limit() {
            true => Left::OverLimit(refused.to_string()),
            false => Left::Invalid(refused.to_string()),
        }
    }
}

/// The deltas of a request that were left out.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    pub(crate) invalid: u64,
    /// The metric name of each new series that was over a limit.
    pub(crate) over_limit: Vec<Box<[u8]>>,
    /// What is wrong with the first of each kind.
    pub(crate) reasons: [Option<String>; 2],
}

impl LeftOut {
    fn add(&mut self, point: DeltaPoint<'_>, why: Left) {
        let [invalid, over_limit] = &mut self.reasons;
        let metric = point.labels.metric_name().unwrap_or_default();
        match why {
            Left::Invalid(why) => {
                self.invalid += 1;
                invalid.get_or_insert_with(|| format!("metric {:?}: {why}", String::from_utf8_lossy(metric)));
            }
            Left::OverLimit(why) => {
                self.over_limit.push(metric.into());
                over_limit.get_or_insert(why);
            }
        }
    }
}
