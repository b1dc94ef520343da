//! Which version of remote write a destination gets.
//!
//! 2.0 first; 1.0 where the receiver turns out not to speak it (415; a 2xx without `-Written` headers,
//! which is a receiver that read nothing of it; a bare 400 from one that never spoke 2.0). Now and then 2.0
//! is tried again, by one request, since receivers are upgraded. A user may pin either.

use formats::remote_write::Protocol;
use std::time::Duration;

/// How long a destination is sent 1.0 before 2.0 is tried again.
pub const UPGRADE_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// What to do with a request that the receiver did not understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send it in the other version at once.
    Resend,
    /// Neither version is understood, or the only one allowed is not: hold on and ask now and then.
    Hold,
}

/// The state of the negotiation with one destination.
#[derive(Debug)]
pub struct Negotiator {
    pinned: Option<Protocol>,
    current: Protocol,
    confirmed: bool,
    /// While 1.0 is in use: when 2.0 is tried again.
    upgrade_at: Option<Duration>,
    /// Both versions were refused since the last success.
    both_refused: bool,
}

impl Negotiator {
    /// Begins; `pinned` is the user's choice.
    pub fn new(pinned: Option<Protocol>) -> Self {
        let current = pinned.unwrap_or(Protocol::V2);
        Negotiator { pinned, current, confirmed: false, upgrade_at: None, both_refused: false }
    }

    /// The version for the next request. Where it is time to try 2.0 again, only one request does.
    pub fn choose(&mut self, now: Duration) -> Protocol {
        if self.upgrade_at.is_some_and(|at| now >= at) {
            self.upgrade_at = Some(now + UPGRADE_INTERVAL);
            return Protocol::V2;
        }
        self.current
    }

    /// The version in use.
    pub fn current(&self) -> Protocol {
        self.current
    }

    /// Whether the receiver has shown that it speaks 2.0.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// The receiver understood a request of this version.
    pub fn understood(&mut self, protocol: Protocol) {
        self.both_refused = false;
        if protocol == Protocol::V2 {
            self.current = Protocol::V2;
            self.confirmed = true;
            self.upgrade_at = None;
        }
    }

    /// The receiver did not understand a request of this version.
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
    fn a_receiver_of_1_0_gets_it_after_one_request_and_2_0_is_tried_again_now_and_then() {
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
    fn a_receiver_that_understands_neither_is_not_asked_in_a_loop() {
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
