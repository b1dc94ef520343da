//! A progress line on a terminal for work that takes long. Nothing is written if standard error is no
//! terminal.

use model::size::Human;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};
use wal::log::Progress;

/// Shorter work gets no progress line.
const AFTER: Duration = Duration::from_millis(500);
/// How often the line is updated.
const EVERY: Duration = Duration::from_millis(100);

/// The progress line.
#[derive(Debug)]
pub(crate) struct Line {
    what: &'static str,
    on: bool,
    since: Instant,
    next: Duration,
    shown: bool,
}

impl Line {
    /// A line for work with the name `what`.
    pub(crate) fn new(what: &'static str) -> Line {
        Line { what, on: stderr().is_terminal(), since: Instant::now(), next: AFTER, shown: false }
    }

    /// Shows `progress`, if an update is due.
    pub(crate) fn show(&mut self, progress: Progress) {
        let elapsed = self.since.elapsed();
        if !self.on || elapsed < self.next {
            return;
        }
        self.next = elapsed + EVERY;
        self.shown = true;
        let _ = write!(stderr(), "\r{}\x1b[K", text(self.what, progress, elapsed));
    }
}

impl Drop for Line {
    /// Clears the line.
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn text(what: &str, Progress { done, total }: Progress, elapsed: Duration) -> String {
    let share = if total == 0 { 1.0 } else { done as f64 / total as f64 };
    let filled = (share * 20.0) as usize;
    let bar = format!("{}{}", "#".repeat(filled), "-".repeat(20_usize.saturating_sub(filled)));
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let left = (total.saturating_sub(done)) as f64 / rate.max(1.0);
    format!(
        "{what} [{bar}] {:.0} % of {}, {} a second, {left:.0} s left",
        share * 100.0,
        Human(total),
        Human(rate as u64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_progress_and_remaining_time() {
        let progress = Progress { done: 256 << 20, total: 1 << 30 };
        assert_eq!(
            text("reading", progress, Duration::from_secs(2)),
            "reading [#####---------------] 25 % of 1.00 GiB, 128 MiB a second, 6 s left"
        );
        assert!(text("reading", Progress { done: 0, total: 0 }, Duration::ZERO).contains("100 %"));
    }
}
