//! The task of one target: it scrapes at each tick, and ends its series when the target is gone.

use crate::config::PageFormat;
use crate::fetch::{self, BodyLimit, FetchError};
use crate::page::{Page, PageError, Reading, push_marker};
use crate::pool::Shared;
use crate::report::{Extra, Report, ReportSeries};
use crate::schedule::Schedule;
use crate::status::{Health, Status};
use crate::table::Table;
use crate::targets::Target;
use collect::{Stamp, Stamper};
use formats::Parsed;
use http_client::Url;
use intake::{Outcome, Refusal, Share};
use model::Batch;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What a task is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Scrape,
    /// End after the scrape in progress, and give the table to the task that comes next.
    HandOver,
    /// The target is gone: end its series, unless it comes back soon.
    Gone,
    /// End at once, without markers: narthex stops.
    Stop,
}

/// A page that is larger than this is parsed on a thread of its own, so that it delays nothing else.
const LARGE_PAGE_BYTES: usize = 256 << 10;

pub(crate) struct TargetLoop {
    target: Arc<Target>,
    pool: Arc<Shared>,
    table: Table,
    reports: Arc<ReportSeries>,
    schedule: Schedule,
    stamper: Stamper,
    status: Arc<Mutex<Status>>,
    /// The last tick that was used.
    last_tick: Option<i64>,
    /// Whether anything was appended that a marker would end.
    has_appended: bool,
}

/// Why a scrape has no page.
#[derive(Debug, thiserror::Error)]
enum ScrapeError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("{0}")]
    Forced(String),
    #[error("the page could not be read, by a mistake in narthex")]
    Panicked,
}

impl TargetLoop {
    pub(crate) fn new(
        target: Arc<Target>,
        pool: Arc<Shared>,
        table: Option<Table>,
        status: Arc<Mutex<Status>>,
    ) -> Self {
        let extra = pool.job.extra_metrics.then(|| Extra {
            timeout: target.timeout,
            sample_limit: pool.job.sampling.sample_limit.unwrap_or(0),
        });
        let hasher = pool.input.intake().storage().hasher();
        let reports = Arc::new(ReportSeries::new(&target.labels, extra, hasher));
        TargetLoop {
            schedule: Schedule::new(target.interval, target.identity, pool.seed),
            stamper: Stamper::new(target.interval),
            has_appended: table.is_some(),
            table: table.unwrap_or_default(),
            reports,
            target,
            pool,
            status,
            last_tick: None,
        }
    }

    /// Scrapes until an order ends it. Returns the table for the task that comes next.
    pub(crate) async fn run(mut self, mut orders: watch::Receiver<Order>) -> Option<Table> {
        let ended = loop {
            let ended = wait_until_other(&mut orders, Order::Scrape);
            tokio::select! {
                biased;
                order = ended => break order,
                () = self.next_tick() => {}
            }
            tokio::select! {
                biased;
                () = stopped(&mut orders) => return None,
                () = Box::pin(self.scrape()) => {}
            }
        };
        let ended = match ended {
            Order::Gone => self.end(&mut orders).await,
            order => order,
        };
        (ended == Order::HandOver && self.has_appended).then_some(self.table)
    }

    /// Waits for the next tick. Ticks that have passed meanwhile are skipped.
    async fn next_tick(&mut self) {
        let now = self.now_ms();
        let tick = self.tick_after(now);
        self.last_tick = Some(tick);
        tokio::time::sleep(milliseconds(tick - now)).await;
    }

    fn tick_after(&self, now: i64) -> i64 {
        let interval = i64::try_from(self.target.interval.as_millis()).unwrap_or(i64::MAX);
        // A timer may end a moment before the wall clock shows the tick.
        let last = self.last_tick.filter(|last| *last > now && *last - now < interval);
        self.schedule.next(last.unwrap_or(now))
    }

    fn now_ms(&self) -> i64 {
        self.pool.input.intake().now_ms()
    }

    /// Scrapes once. A scrape that there is no space for now is skipped and counted.
    async fn scrape(&mut self) {
        let timestamp = match self.stamper.stamp(&*self.pool.input.intake().clock()) {
            Stamp::At(now) => self.schedule.timestamp(now),
            stamp => match stamp.timestamp() {
                Some(timestamp) => timestamp,
                None => return self.pool.counters.skip(),
            },
        };
        let started = Instant::now();
        let mut memory = self.pool.input.intake().share();
        self.table.begin();
        let mut report = Report::default();
        let result = self.page(timestamp, &mut memory, &mut report).await;
        if let Err(ScrapeError::Fetch(FetchError::NoMemory(refusal))) = &result {
            self.pool.input.count_refusal(refusal);
            return self.pool.counters.skip();
        }
        let mut parsed = Parsed::default();
        match result {
            Ok(page) => {
                report =
                    Report { up: true, scraped: page.scraped, kept: page.kept, added: page.added, ..report };
                self.pool.counters.repeated(page.repeated);
                if page.repeated > 0 {
                    let target = &self.target.url;
                    let samples = page.repeated;
                    tracing::debug!(target, samples, "the page has samples of the same series twice");
                }
                parsed = page.parsed;
                self.note(started, None);
            }
            Err(error) => {
                if let ScrapeError::Page(PageError::TooManySamples { scraped, kept, .. }) = &error {
                    (report.scraped, report.kept) = (*scraped, *kept);
                    self.pool.counters.over_sample_limit();
                }
                if let ScrapeError::Fetch(FetchError::TooLarge { .. }) = &error {
                    report.body_bytes = -1;
                    self.pool.counters.over_body_size();
                }
                self.table.fail(|entry| push_marker(&mut parsed.batch, entry, timestamp));
                self.note(started, Some(error.to_string()));
            }
        }
        report.duration = started.elapsed();
        self.reports.push(&report, timestamp, &mut parsed.batch);
        drop(memory);
        match self.append(parsed).await {
            Ok(outcome) => {
                self.has_appended = true;
                if !outcome.rejected.is_empty() {
                    let (target, rejected) = (&self.target.url, &outcome.rejected);
                    tracing::warn!(target, %rejected, "some scraped samples were rejected");
                }
            }
            Err(refusal) => {
                self.pool.counters.skip();
                tracing::debug!(target = self.target.url, error = %refusal, "a scrape was not stored");
            }
        }
    }

    async fn append(&self, parsed: Parsed) -> Result<Outcome, Refusal> {
        let input = &self.pool.input;
        let appended = async {
            let mut admission = input.admit()?;
            admission.append(parsed, None).await
        };
        let appended = appended.await;
        match &appended {
            Ok(outcome) => input.count(outcome),
            Err(refusal) => input.count_refusal(refusal),
        }
        appended
    }

    /// Fetches and reads the page.
    async fn page(
        &mut self,
        timestamp: i64,
        memory: &mut Share,
        report: &mut Report,
    ) -> Result<Page, ScrapeError> {
        if let Some(why) = self.pool.forced_error() {
            return Err(ScrapeError::Forced(why));
        }
        let url = Url::parse(&self.target.url)
            .map_err(|error| ScrapeError::Forced(format!("{}: {error}", self.target.url)))?;
        let client = self.pool.client(url).map_err(ScrapeError::Forced)?;
        let (job, target) = (&self.pool.job, &self.target);
        let body = fetch::fetch(&client, target, job, &self.pool.accept, memory).await?;
        let format = body.format;
        // A closed semaphore would mean that narthex ends.
        let permit = self.pool.parses.clone().acquire_owned().await;
        let bytes = fetch::decompress(body, BodyLimit::of(job))?;
        memory.grow(bytes.len()).await.map_err(FetchError::NoMemory)?;
        report.body_bytes = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let mut table = std::mem::take(&mut self.table);
        let (target, pool) = (self.target.clone(), self.pool.clone());
        let is_large = bytes.len() > LARGE_PAGE_BYTES;
        let read = move || {
            let page = read(&bytes, format, &target, &pool, timestamp, &mut table);
            (table, page)
        };
        let (table, page) = if is_large {
            tokio::task::spawn_blocking(read).await.map_err(|_| ScrapeError::Panicked)?
        } else {
            read()
        };
        drop(permit);
        self.table = table;
        Ok(page?)
    }

    fn note(&self, started: Instant, error: Option<String>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let health = if error.is_none() { Health::Up } else { Health::Down };
        if let Some(error) = error.as_ref().filter(|error| status.error != **error) {
            tracing::debug!(target = self.target.url, error, "a scrape failed");
        }
        *status = Status {
            health,
            error: error.unwrap_or_default(),
            last_scrape_ms: Some(self.now_ms() - started.elapsed().as_millis() as i64),
            duration: started.elapsed(),
        };
    }

    /// Ends the series of a target that is gone, after the time in which it might come back: its markers have the
    /// time of the next tick.
    async fn end(&mut self, orders: &mut watch::Receiver<Order>) -> Order {
        let now = self.now_ms();
        let tick = self.tick_after(now);
        let patience = milliseconds(tick - now) + self.target.interval + self.target.interval / 10;
        tokio::select! {
            biased;
            order = wait_until_other(orders, Order::Gone) => return order,
            () = tokio::time::sleep(patience) => {}
        }
        if self.has_appended {
            let mut batch = Batch::new();
            let ended = std::mem::take(&mut self.table).end();
            ended.iter().for_each(|entry| push_marker(&mut batch, entry, tick));
            self.reports.push_markers(tick, &mut batch);
            if let Err(refusal) = self.append(Parsed { batch, ..Parsed::default() }).await {
                tracing::debug!(target = self.target.url, error = %refusal, "staleness markers were not stored");
            }
            self.has_appended = false;
        }
        Order::Gone
    }
}

fn read(
    bytes: &[u8],
    format: PageFormat,
    target: &Target,
    pool: &Shared,
    timestamp: i64,
    table: &mut Table,
) -> Result<Page, PageError> {
    let intake = pool.input.intake();
    let reading = Reading {
        sampling: &pool.job.sampling,
        target: &target.labels,
        timestamp,
        limits: intake.settings().limits,
        hasher: intake.storage().hasher(),
    };
    reading.read(bytes, format, table)
}

/// Waits for an order other than `current`.
async fn wait_until_other(orders: &mut watch::Receiver<Order>, current: Order) -> Order {
    match orders.wait_for(|order| *order != current).await {
        Ok(order) => *order,
        // The sender of orders is gone.
        Err(_) => Order::Stop,
    }
}

async fn stopped(orders: &mut watch::Receiver<Order>) {
    let _ = orders.wait_for(|order| *order == Order::Stop).await;
}

fn milliseconds(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
