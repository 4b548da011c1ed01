//! Asking a STUN server from which address it sees us (RFC 8489, over UDP): at the start, when our own
//! address is another one, and at long intervals.

use crate::wire::stun::{TransactionId, binding_request, mapped_address};
use nat_common::BootTime;
use nat_common::time::NANOS_PER_SEC;
use std::net::Ipv4Addr;

/// RTO: after how long a request is sent again for the first time (section 6.2.1), nanoseconds.
const FIRST: u64 = NANOS_PER_SEC / 2;
/// Rc: how often it is sent.
const TIMES: u32 = 7;
/// Rm: for how many times RTO an answer to the last one is waited for.
const LAST: u64 = 16;
/// Until it is asked again, seconds: after an answer, and without one.
const INTERVALS: (u64, u64) = (3_600, 300);

/// What is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nobody has answered yet, and may.
    Unknown,
    /// Nobody answers.
    Unanswered,
    /// We are seen as this.
    As(Ipv4Addr),
}

impl Seen {
    /// The address.
    pub const fn address(self) -> Option<Ipv4Addr> {
        match self {
            Self::As(address) => Some(address),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Request {
    id: TransactionId,
    sent: u32,
}

/// The check.
#[derive(Clone, Copy, Debug)]
pub struct StunCheck {
    seen: Seen,
    own: Option<Ipv4Addr>,
    request: Option<Request>,
    /// When there is something to do.
    due: BootTime,
}

impl StunCheck {
    /// One that has yet to begin.
    pub const fn new() -> Self {
        Self { seen: Seen::Unknown, own: None, request: None, due: BootTime::NEVER }
    }

    /// What is known.
    pub const fn seen(&self) -> Seen {
        self.seen
    }

    /// When [`Self::tick`] has something to do.
    pub const fn next(&self) -> BootTime {
        self.due
    }

    /// Whether a request is on its way: else, before the next one, its server may be looked for anew.
    pub const fn is_asking(&self) -> bool {
        self.request.is_some()
    }

    /// Our own address is this one, from now on.
    pub fn own_is(&mut self, now: BootTime, own: Option<Ipv4Addr>) {
        if self.own != own {
            let due = if own.is_some() { now } else { BootTime::NEVER };
            *self = Self { own, due, ..Self::new() };
        }
    }

    /// What to send now. `id` names a new request.
    pub fn tick(&mut self, now: BootTime, id: TransactionId) -> Option<Vec<u8>> {
        if now < self.due {
            return None;
        }
        let request = self.request.unwrap_or(Request { id, sent: 0 });
        if request.sent >= TIMES {
            self.seen = Seen::Unanswered;
            self.rest(now, INTERVALS.1);
            return None;
        }
        let pause = match request.sent + 1 {
            TIMES => LAST * FIRST,
            sent => FIRST << (sent - 1),
        };
        self.request = Some(Request { sent: request.sent + 1, ..request });
        self.due = now.plus_nanos(pause);
        Some(binding_request(request.id))
    }

    /// A datagram has come from the server.
    pub fn hear(&mut self, now: BootTime, datagram: &[u8]) {
        let Some(request) = self.request else { return };
        if let Some(seen) = mapped_address(datagram, request.id) {
            self.seen = Seen::As(*seen.ip());
            self.rest(now, INTERVALS.0);
        }
    }

    fn rest(&mut self, now: BootTime, seconds: u64) {
        self.request = None;
        self.due = now.plus_secs(seconds);
    }
}

impl Default for StunCheck {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::stun::binding_response;
    use std::net::SocketAddrV4;

    const OWN: Option<Ipv4Addr> = Some(Ipv4Addr::new(100, 64, 0, 2));
    const ID: TransactionId = TransactionId([7; 12]);
    const SEEN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(11, 22, 44, 1), 40_000);
    const START: BootTime = BootTime(1_000_000_000);

    fn started() -> StunCheck {
        let mut check = StunCheck::new();
        assert_eq!(check.next(), BootTime::NEVER, "no address yet");
        check.own_is(START, OWN);
        check
    }

    #[test]
    fn a_request_is_sent_seven_times_in_31_5_seconds_and_given_up_after_39_5() {
        let (mut check, mut sent) = (started(), Vec::new());
        while check.seen() == Seen::Unknown {
            let now = check.next();
            if check.tick(now, ID).is_some() {
                sent.push(now.nanos_from(START) / 1_000_000);
            }
        }
        assert_eq!(sent, [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
        assert_eq!(check.seen(), Seen::Unanswered);
        let given_up = START.plus_nanos(39_500_000_000);
        assert_eq!(check.next(), given_up.plus_secs(300));
        assert!(check.tick(check.next(), ID).is_some(), "and again");
    }

    #[test]
    fn an_answer_tells_the_address_for_an_hour() {
        let mut check = started();
        check.tick(START, ID).unwrap();
        check.hear(START, &binding_response(TransactionId([8; 12]), SEEN));
        assert_eq!(check.seen(), Seen::Unknown, "to somebody else");
        check.hear(START, &binding_response(ID, SEEN));
        assert_eq!((check.seen(), check.is_asking()), (Seen::As(*SEEN.ip()), false));
        assert_eq!(check.tick(START.plus_secs(3_599), ID), None);
        assert!(check.tick(START.plus_secs(3_600), ID).is_some());
        assert_eq!(check.seen(), Seen::As(*SEEN.ip()), "meanwhile");
    }

    #[test]
    fn another_address_of_our_own_is_asked_about_at_once() {
        let mut check = started();
        check.tick(START, ID).unwrap();
        check.hear(START, &binding_response(ID, SEEN));
        check.own_is(START.plus_secs(1), OWN);
        assert_ne!(check.seen(), Seen::Unknown);
        check.own_is(START.plus_secs(2), None);
        assert_eq!((check.seen(), check.next()), (Seen::Unknown, BootTime::NEVER));
        check.own_is(START.plus_secs(3), OWN);
        assert_eq!(check.next(), START.plus_secs(3));
    }
}
