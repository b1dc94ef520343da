//! Lines that have arrived, and their way into the intake.

use formats::graphite;
use intake::{Input, Refusal, Stop};
use std::time::Duration;

/// How long a line waits for others.
pub const WAIT: Duration = Duration::from_millis(200);
/// The longest pause before lines that the intake refused are tried again.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Appends lines, and tries again for as long as the intake can't accept any. Once the input has to stop, it tries
/// once more and counts the lines as lost after that.
pub(super) async fn append(input: &Input, text: &[u8], mut stop: Stop) {
    let mut stopping = false;
    while let Err(refusal) = append_once(input, text).await {
        input.count_refusal(&refusal);
        let Some(seconds) = refusal.retry_after().filter(|_| !stopping) else {
            let lines =
                text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
            input.count_lost(lines, &refusal);
            return;
        };
        tokio::select! {
            () = stop.requested() => stopping = true,
            () = tokio::time::sleep(Duration::from_secs(seconds.into()).min(RETRY_MAX)) => {}
        }
    }
}

/// Lines that are rejected are counted and logged; they are not an error.
async fn append_once(input: &Input, text: &[u8]) -> Result<(), Refusal> {
    let mut admission = input.admit()?;
    admission.memory().grow(text.len().saturating_mul(3)).await?;
    let parsed = graphite::parse(text, admission.now_ms(), &admission.settings().limits);
    let outcome = admission.append(parsed, None).await?;
    input.count(&outcome);
    if !outcome.rejected.is_empty() {
        tracing::warn!(input = input.name(), rejected = %outcome.rejected, "lines were rejected");
    }
    Ok(())
}
