//! `timex`: the state of the kernel's clock, from `adjtimex(2)`, mainly whether it is synchronised. The
//! values come from the running kernel, not from a file.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, counter, gauge};
use std::io;

const SYNC_STATUS: Def =
    gauge("node_timex_sync_status", "Is clock synchronized to a reliable server (1 = yes, 0 = no).");
const OFFSET: Def =
    gauge("node_timex_offset_seconds", "Time offset in between local system and reference clock.");
const FREQUENCY: Def = gauge("node_timex_frequency_adjustment_ratio", "Local clock frequency adjustment.");
const MAX_ERROR: Def = gauge("node_timex_maxerror_seconds", "Maximum error in seconds.");
const ESTIMATED_ERROR: Def = gauge("node_timex_estimated_error_seconds", "Estimated error in seconds.");
const STATUS: Def = gauge("node_timex_status", "Value of the status array bits.");
const CONSTANT: Def = gauge("node_timex_loop_time_constant", "Phase-locked loop time constant.");
const TICK: Def = gauge("node_timex_tick_seconds", "Seconds between clock ticks.");
const TAI: Def = gauge("node_timex_tai_offset_seconds", "International Atomic Time (TAI) offset.");
const PPS_FREQUENCY: Def = gauge("node_timex_pps_frequency_hertz", "Pulse per second frequency.");
const PPS_JITTER: Def = gauge("node_timex_pps_jitter_seconds", "Pulse per second jitter.");
const PPS_SHIFT: Def = gauge("node_timex_pps_shift_seconds", "Pulse per second interval duration.");
const PPS_STABILITY: Def = gauge(
    "node_timex_pps_stability_hertz",
    "Pulse per second stability, average of recent frequency changes.",
);
const PPS_JITTERS: Def =
    counter("node_timex_pps_jitter_total", "Pulse per second count of jitter limit exceeded events.");
const PPS_CALIBRATIONS: Def =
    counter("node_timex_pps_calibration_total", "Pulse per second count of calibration intervals.");
const PPS_ERRORS: Def =
    counter("node_timex_pps_error_total", "Pulse per second count of calibration errors.");
const PPS_STABILITY_EXCEEDED: Def = counter(
    "node_timex_pps_stability_exceeded_total",
    "Pulse per second count of stability limit exceeded events.",
);

/// The unit of the kernel's frequencies: parts per million with 16 bits of fraction.
const PPM_16: f64 = 1_000_000.0 * 65_536.0;
const MICROS: f64 = 1e6;
const NANOS: f64 = 1e9;

pub(super) fn collect(_: &mut Context<'_>, out: &mut Out) -> Outcome {
    let (state, timex) = read().map_err(|source| match source.kind() {
        // Some sandboxes forbid the call.
        io::ErrorKind::PermissionDenied => CollectError::NoData("adjtimex is not permitted"),
        _ => CollectError::System { call: "adjtimex", source },
    })?;
    let unit = if timex.status & libc::STA_NANO != 0 { NANOS } else { MICROS };
    out.single(SYNC_STATUS, if state == libc::TIME_ERROR { 0.0 } else { 1.0 });
    out.single(OFFSET, timex.offset as f64 / unit);
    out.single(FREQUENCY, 1.0 + timex.freq as f64 / PPM_16);
    out.single(MAX_ERROR, timex.maxerror as f64 / MICROS);
    out.single(ESTIMATED_ERROR, timex.esterror as f64 / MICROS);
    out.single(STATUS, f64::from(timex.status));
    out.single(CONSTANT, timex.constant as f64);
    out.single(TICK, timex.tick as f64 / MICROS);
    out.single(PPS_FREQUENCY, timex.ppsfreq as f64 / PPM_16);
    out.single(PPS_JITTER, timex.jitter as f64 / unit);
    out.single(PPS_SHIFT, f64::from(timex.shift));
    out.single(PPS_STABILITY, timex.stabil as f64 / PPM_16);
    out.single(PPS_JITTERS, timex.jitcnt as f64);
    out.single(PPS_CALIBRATIONS, timex.calcnt as f64);
    out.single(PPS_ERRORS, timex.errcnt as f64);
    out.single(PPS_STABILITY_EXCEEDED, timex.stbcnt as f64);
    out.single(TAI, f64::from(timex.tai));
    Ok(())
}

/// The state of the clock (such as TIME_OK) and its parameters.
#[allow(unsafe_code, reason = "no crate in use wraps adjtimex, and the kernel tells it nowhere else")]
fn read() -> io::Result<(libc::c_int, libc::timex)> {
    // SAFETY: `timex` is a C structure of integers, for which zero bytes are a valid value. With `modes` 0
    // the call only reads the clock and fills in the structure, which lives until after the call.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        let state = libc::adjtimex(&raw mut timex);
        (state, timex)
    };
    if state == -1 { Err(io::Error::last_os_error()) } else { Ok((state, timex)) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_ticks_a_hundred_times_a_second() {
        // The machine decides whether the call is permitted. If it is, the structure has a valid value.
        if let Ok((_, timex)) = super::read() {
            assert!((9_000..=11_000).contains(&timex.tick), "{}", timex.tick);
        }
    }
}
