//! Watchdog messages are sent only while narthex works. Before every `WATCHDOG=1`, [`supervise`] asks each
//! essential part and waits for all answers. A part that hangs or has ended never answers, so the service
//! manager restarts narthex after `WatchdogSec=`. A slow disk only delays an answer.

use super::parts::{Part, Question, run_loop};
use super::send;
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// The number of watchdog messages in each `WatchdogSec=`.
const BEATS_PER_TIMEOUT: u32 = 4;
/// The watchdog's task. It is aborted when this value is dropped.
pub(crate) struct Watchdog(Option<JoinHandle<()>>);

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

/// Starts to send watchdog messages, if the service manager expects them. `parts` are all essential parts
/// except the run loop, which must answer the questions from the receiver.
pub(crate) fn start(mut parts: Vec<Part>) -> (Watchdog, mpsc::Receiver<Question>) {
    let (questions, receiver) = mpsc::channel(1);
    // Zero disables it.
    let timeout = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero());
    let Some(timeout) = timeout else { return (Watchdog(None), receiver) };
    parts.push(run_loop(questions));
    let task = supervise(parts, timeout / BEATS_PER_TIMEOUT, || send(&[NotifyState::Watchdog]));
    (Watchdog(Some(tokio::spawn(task))), receiver)
}

/// Asks all parts every `interval`, and calls `beat` each time that all have answered. Returns without
/// another beat if a part has ended.
async fn supervise(parts: Vec<Part>, interval: Duration, beat: impl Fn()) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for part in &parts {
            if !answers(part, interval).await {
                tracing::error!(part = part.name, "ended unexpectedly; the watchdog is not fed any more");
                return;
            }
        }
        beat();
    }
}

/// Waits for the part's answer without a limit. Logs if the answer is late.
async fn answers(part: &Part, late: Duration) -> bool {
    let mut answer = (part.ask)();
    match tokio::time::timeout(late, &mut answer).await {
        Ok(alive) => alive,
        Err(_) => {
            tracing::warn!(part = part.name, seconds = late.as_secs(), "does not answer the watchdog yet");
            answer.await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::BoxFuture;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

    const WORKS: u8 = 0;
    const HANGS: u8 = 1;
    const ENDED: u8 = 2;
    const INTERVAL: Duration = Duration::from_secs(10);

    fn part(name: &'static str, state: &Arc<AtomicU8>) -> Part {
        let state = state.clone();
        let ask = move || -> BoxFuture<'static, bool> {
            match state.load(Ordering::Relaxed) {
                WORKS => Box::pin(async { true }),
                HANGS => Box::pin(std::future::pending()),
                _ => Box::pin(async { false }),
            }
        };
        Part { name, ask: Box::new(ask) }
    }

    /// The number of beats in a minute while the second of three parts works, and in the minute after it
    /// changed to `then`.
    async fn beats(then: u8) -> (u32, u32) {
        let (good, changing) = (Arc::new(AtomicU8::new(WORKS)), Arc::new(AtomicU8::new(WORKS)));
        let parts = vec![part("first", &good), part("second", &changing), part("third", &good)];
        let count = Arc::new(AtomicU32::new(0));
        let counted = count.clone();
        let task = tokio::spawn(supervise(parts, INTERVAL, move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        tokio::time::sleep(Duration::from_secs(61)).await;
        let before = count.swap(0, Ordering::Relaxed);
        changing.store(then, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(60)).await;
        task.abort();
        (before, count.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_only_while_every_part_answers() {
        assert_eq!(beats(WORKS).await, (7, 6));
        assert_eq!(beats(HANGS).await, (7, 0));
        assert_eq!(beats(ENDED).await, (7, 0));
    }
}
