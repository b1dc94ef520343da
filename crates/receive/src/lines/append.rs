//! The way of lines that have arrived into the intake.

use super::buffer::{Buffer, LINE_BYTES_MAX};
use super::{ReadLines, Shared, Sink};
use intake::Refusal;
use std::time::Duration;

/// How long lines wait for others before they are appended.
pub const WAIT: Duration = Duration::from_millis(200);
/// The longest pause before lines that the intake refused are tried again.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// The reasons by which lines are counted that are not parsed.
pub const LINE_TOO_LONG: &str = "line_too_long";
pub const LINE_INCOMPLETE: &str = "line_incomplete";
pub const DATAGRAM_TOO_LONG: &str = "datagram_too_long";

impl Shared {
    /// Appends lines, and tries again for as long as the intake can't accept any. Once the input has to stop, it tries
    /// once more and counts the lines as lost after that.
    pub(super) async fn append(&self, text: &[u8]) {
        let (read, work) = match &self.sink {
            Sink::Append { read, work } => (&**read, *work),
            Sink::Apply(apply) => return apply(text),
        };
        let (input, mut stop, mut stopping, mut deferred) = (&self.input, self.stop.clone(), false, false);
        while let Err(refusal) = self.append_once(text, read, work).await {
            // However often it is tried again.
            if !std::mem::replace(&mut deferred, true) {
                input.count_refusal(&refusal);
            }
            let Some(seconds) = refusal.retry_after().filter(|_| !stopping) else {
                let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
                return input.count_lost(lines.count(), &refusal);
            };
            tokio::select! {
                () = stop.requested() => stopping = true,
                () = tokio::time::sleep(Duration::from_secs(seconds.into()).min(RETRY_MAX)) => {}
            }
        }
    }

    /// Counts lines of `buffer` that were too long.
    pub(super) fn reject_too_long(&self, buffer: &mut Buffer) {
        let too_long = buffer.take_too_long();
        if too_long > 0 {
            let why = format!("lines over the limit of {LINE_BYTES_MAX} bytes were left out");
            self.input.count_unread(too_long, LINE_TOO_LONG, &why);
        }
    }

    /// Lines that are rejected are counted and logged; they are not an error.
    async fn append_once(&self, text: &[u8], read: &ReadLines, work: usize) -> Result<(), Refusal> {
        let mut admission = self.input.admit()?;
        admission.memory().grow(text.len().saturating_mul(work)).await?;
        let recognised = read(&admission.recogniser(), text, admission.now_ms());
        let outcome = admission.append(recognised, None).await?;
        self.input.count(&outcome);
        if !outcome.rejected.is_empty() {
            tracing::warn!(input = self.input.name(), rejected = %outcome.rejected, "lines were rejected");
        }
        Ok(())
    }
}
