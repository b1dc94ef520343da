//! Passes signals on to the command.
//!
//! A signal from the kernel (Ctrl-C, a terminal that is closed) reaches the whole process group at once, the
//! command included. So only signals that another process sent to this one are passed on: some programs exit
//! immediately at the second signal.

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::Cause;
use std::sync::{Arc, Mutex, PoisonError};

/// The signals that are passed on.
const PASSED: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// The caught signals. As long as this value exists, they don't end this process.
pub(super) struct Caught(SignalsInfo<WithOrigin>);

/// The command's process number as long as signals may be sent to it. It is removed before the command is
/// reaped, because another process may then get the same number.
#[derive(Debug, Clone, Default)]
pub(super) struct Receiver(Arc<Mutex<Option<Pid>>>);

impl Caught {
    /// Catches the signals. This is called before the command starts, so that no signal is missed. Ignored
    /// signals stay ignored in this process and in the command: `nohup` relies on that.
    pub(super) fn new() -> std::io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = ignored(&status);
        let caught = PASSED.iter().map(|signal| signal.as_raw()).filter(|number| !is_set(ignored, *number));
        SignalsInfo::new(caught).map(Caught)
    }

    /// Passes the signals on, in a thread of its own.
    pub(super) fn pass_on_to(mut self, receiver: Receiver) {
        std::thread::spawn(move || {
            for origin in &mut self.0 {
                if !matches!(origin.cause, Cause::Kernel) {
                    receiver.send(origin.signal);
                }
            }
        });
    }
}

impl Receiver {
    /// Sets the command's process number after its start.
    pub(super) fn is(&self, pid: Pid) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
    }

    /// Removes the command's process number. It has ended and is about to be reaped.
    pub(super) fn is_gone(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn send(&self, number: i32) {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let signal = PASSED.iter().find(|signal| signal.as_raw() == number);
        if let (Some(pid), Some(signal)) = (*guard, signal) {
            // The command may run as another user by now (sudo); then we may not send it a signal.
            let _ = kill_process(pid, *signal);
        }
    }
}

/// The mask of ignored signals in `/proc/PID/status`.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn is_set(mask: u64, number: i32) -> bool {
    u32::try_from(number - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_found_in_the_mask() {
        let mask = ignored("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t00000000000000ff\n");
        let set: Vec<i32> = (1..=64).filter(|number| is_set(mask, *number)).collect();
        assert_eq!(set, [1, 13], "SIGHUP and SIGPIPE");
        assert_eq!(ignored(""), 0);
    }
}
