//! The version of remote write for a destination.
//!
//! It is 2.0 at first. It is 1.0 if the receiver turns out not to support 2.0, which is shown by a 415, by a
//! 2xx without `-Written` headers (the receiver has read nothing), or by a bare 400 from a receiver that
//! never supported 2.0. Now and then a single request tries 2.0 again, because receivers are upgraded. A user
//! may pin either version.

use formats::remote_write::Protocol;
use std::time::Duration;

/// How long 1.0 is used before 2.0 is tried again.
pub const UPGRADE_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// What to do with a request that the receiver did not understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send it in the other version at once.
    Resend,
    /// The receiver understands neither version, or not the only one allowed: wait, and probe now and then.
    Hold,
}

#[derive(Debug)]
pub struct Negotiator {
    pinned: Option<Protocol>,
    current: Protocol,
    confirmed: bool,
    /// While 1.0 is used: when 2.0 is tried again.
    upgrade_at: Option<Duration>,
    /// Both versions were refused since the last success.
    both_refused: bool,
}

impl Negotiator {
    /// `pinned` is the user's choice.
    pub fn new(pinned: Option<Protocol>) -> Self {
        let current = pinned.unwrap_or(Protocol::V2);
        Negotiator { pinned, current, confirmed: false, upgrade_at: None, both_refused: false }
    }

    /// Returns the version for the next request. When 2.0 is due to be tried again, only one request does.
    pub fn choose(&mut self, now: Duration) -> Protocol {
        if self.upgrade_at.is_some_and(|at| now >= at) {
            self.upgrade_at = Some(now + UPGRADE_INTERVAL);
            return Protocol::V2;
        }
        self.current
    }

    pub fn current(&self) -> Protocol {
        self.current
    }

    /// Returns true if the receiver has shown that it supports 2.0.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Notes that the receiver understood a request of this version.
    pub fn understood(&mut self, protocol: Protocol) {
        self.both_refused = false;
        if protocol == Protocol::V2 {
            self.current = Protocol::V2;
            self.confirmed = true;
            self.upgrade_at = None;
        }
    }

    /// Notes that the receiver did not understand a request of this version.
    pub fn not_understood(&mut self, protocol: Protocol, now: Duration) -> Next {
        if self.pinned.is_some() {
            return Next::Hold;
        }
        match protocol {
            Protocol::V2 => {
                self.current = Protocol::V1;
                self.confirmed = false;
                self.upgrade_at = Some(now + UPGRADE_INTERVAL);
                if self.both_refused { Next::Hold } else { Next::Resend }
            }
            Protocol::V1 => {
                self.current = Protocol::V2;
                self.upgrade_at = None;
                if std::mem::replace(&mut self.both_refused, true) { Next::Hold } else { Next::Resend }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Protocol::{V1, V2};

    #[test]
    fn receiver_of_1_0_costs_one_request_and_is_tried_again_later() {
        let mut negotiator = Negotiator::new(None);
        let mut now = Duration::ZERO;
        assert_eq!(negotiator.choose(now), V2);
        assert_eq!(negotiator.not_understood(V2, now), Next::Resend);
        assert_eq!(negotiator.choose(now), V1);
        negotiator.understood(V1);
        now += UPGRADE_INTERVAL;
        assert_eq!([negotiator.choose(now), negotiator.choose(now)], [V2, V1], "one request only");
        assert_eq!(negotiator.not_understood(V2, now), Next::Resend);
        assert_eq!(negotiator.choose(now), V1);
        now += UPGRADE_INTERVAL;
        assert_eq!(negotiator.choose(now), V2);
        negotiator.understood(V2);
        assert_eq!(negotiator.choose(now), V2);
        assert!(negotiator.is_confirmed());
    }

    #[test]
    fn receiver_of_neither_version_is_not_tried_in_a_loop() {
        let mut negotiator = Negotiator::new(None);
        let now = Duration::ZERO;
        let mut resends = 0;
        for _ in 0..10 {
            let protocol = negotiator.choose(now);
            resends += usize::from(negotiator.not_understood(protocol, now) == Next::Resend);
        }
        assert_eq!(resends, 2);
    }

    #[test]
    fn a_pinned_version_stays() {
        for pinned in [V1, V2] {
            let mut negotiator = Negotiator::new(Some(pinned));
            assert_eq!(negotiator.not_understood(pinned, Duration::ZERO), Next::Hold);
            assert_eq!(negotiator.choose(UPGRADE_INTERVAL * 2), pinned);
        }
    }
}
