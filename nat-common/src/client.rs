//! Internal clients, and how much each has opened and claimed, for the limits that hold for each of
//! them (RFC 6888 REQ-3, REQ-4).
//!
//! Sessions and ports end by the clock, and nobody is told. So the packet path counts only what
//! begins, and the daemon, whose sweep sees what lives, says how much of that has ended since. Neither
//! writes what the other one counts, and what a sweep gets wrong, because the world does not stand
//! still for it, the next one does not build on.

use crate::BootTime;
use crate::atomic::Word64;

/// What an internal client has begun. The packet path alone writes it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Client {
    /// Sessions ever created, modulo 2^64.
    pub sessions: Word64,
    /// External ports ever claimed.
    pub ports: Word64,
    /// When the current second began, in ticks, shifted left; below it, how many sessions the client
    /// has opened in it.
    window: Word64,
    /// Packets refused by the limit of sessions, of ports, and of new sessions.
    pub refused: [Word64; 3],
}

/// A tick is about a millisecond.
const TICK_SHIFT: u32 = 20;
/// Ticks in a second, rounded up.
const TICKS: u64 = 954;
/// Bits of a window that count sessions; the other 40 are ticks, which last for 36 years.
pub const WINDOW_SHIFT: u32 = 24;
/// Most sessions that a window can count.
pub const MAX_RATE: u32 = (1 << WINDOW_SHIFT) - 1;

/// Tries at a compare-and-swap before the packet is let through uncounted.
const TRIES: u32 = 4;

/// Ticks of a time.
#[inline(always)]
const fn ticks(time: BootTime) -> u64 {
    time.0 >> TICK_SHIFT
}

impl Client {
    /// Notes that the client opens a session at `now`; `false`, and nothing is noted, when it has
    /// opened `most` within a second already. The second begins with its first session.
    #[inline(always)]
    pub fn may_open(&self, now: BootTime, most: u32) -> bool {
        for _ in 0..TRIES {
            let window = self.window.get();
            let start = window >> WINDOW_SHIFT;
            // Another CPU's clock may have been read a moment later.
            let next = if ticks(now).saturating_sub(start) >= TICKS {
                ticks(now) << WINDOW_SHIFT | 1
            } else if window & MAX_RATE as u64 >= most as u64 {
                return false;
            } else {
                window + 1
            };
            if self.window.replace(window, next).is_ok() {
                return true;
            }
        }
        true
    }

    /// See [`ClientRecord::window`].
    pub fn window(&self) -> u64 {
        self.window.get()
    }
}

/// A [`Client`] as user space reads it from the map.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct ClientRecord {
    /// See [`Client::sessions`].
    pub sessions: u64,
    /// See [`Client::ports`].
    pub ports: u64,
    /// See [`Client::may_open`].
    pub window: u64,
    /// See [`Client::refused`].
    pub refused: [u64; 3],
}

impl ClientRecord {
    /// Whether the last second in which it opened sessions was over at `past`.
    pub const fn is_silent(&self, past: BootTime) -> bool {
        ticks(past).saturating_sub(self.window >> WINDOW_SHIFT) >= TICKS
    }

    /// Moves the window back by so many nanoseconds, for tests whose clock cannot be set.
    pub const fn bring_forward(&mut self, nanos: u64) {
        let start = (self.window >> WINDOW_SHIFT).saturating_sub(nanos >> TICK_SHIFT);
        self.window = start << WINDOW_SHIFT | (self.window & MAX_RATE as u64);
    }
}

/// How much of what a client has begun has ended. The daemon alone writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Ended {
    /// Sessions, modulo 2^64.
    pub sessions: u64,
    /// External ports.
    pub ports: u64,
}

/// What a client has at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Sessions.
    pub sessions: u32,
    /// External ports that its sessions hold.
    pub ports: u32,
}

impl Ended {
    /// What has ended of what was begun, when so much is alive. That may be more than was begun, of
    /// a client that is older than its counts: differences are what counts.
    pub const fn of(begun: &ClientRecord, live: Live) -> Self {
        Self {
            sessions: begun.sessions.wrapping_sub(live.sessions as u64),
            ports: begun.ports.wrapping_sub(live.ports as u64),
        }
    }
}

/// How much is alive of what was begun. Where more has ended than was begun the counts are of two
/// clients, the second of which has just come: nothing is.
#[inline(always)]
pub const fn alive(begun: u64, ended: u64) -> u64 {
    let alive = begun.wrapping_sub(ended);
    if alive > i64::MAX as u64 { 0 } else { alive }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::NANOS_PER_SEC;

    #[test]
    fn layouts_have_no_padding() {
        assert_eq!(size_of::<Client>(), 48);
        assert_eq!(size_of::<ClientRecord>(), size_of::<Client>());
        assert_eq!(size_of::<Ended>(), 16);
    }

    #[test]
    fn a_second_begins_with_its_first_session() {
        let client = Client::default();
        let start = BootTime(5 * NANOS_PER_SEC + 900_000_000);
        for most in [1, 2, 3] {
            assert!(client.may_open(start.plus_nanos(u64::from(most) * 1_000_000), most));
        }
        assert!(!client.may_open(start.plus_nanos(900_000_000), 3));
        assert!(client.may_open(start.plus_nanos(1_100_000_000), 3), "a new second");
        assert!(client.may_open(start, 3), "another CPU's clock is a little behind");
        assert!(client.may_open(start, 3) && !client.may_open(start, 3));
    }

    #[test]
    fn what_lives_is_what_has_begun_and_not_ended() {
        let mut begun = ClientRecord { sessions: 10, ports: 3, ..ClientRecord::default() };
        let ended = Ended::of(&begun, Live { sessions: 4, ports: 1 });
        assert_eq!(ended, Ended { sessions: 6, ports: 2 });
        begun.sessions += 5;
        assert_eq!(alive(begun.sessions, ended.sessions), 9);
    }

    #[test]
    fn a_client_may_have_more_than_its_counts_know_of() {
        let begun = ClientRecord::default();
        let ended = Ended::of(&begun, Live { sessions: 4, ports: 1 });
        assert_eq!((alive(0, ended.sessions), alive(2, ended.ports)), (4, 3));
    }

    #[test]
    fn what_an_earlier_client_has_ended_is_not_held_against_the_next() {
        assert_eq!(alive(1, 100), 0);
    }

    #[test]
    fn a_client_is_silent_when_its_second_is_over() {
        let client = Client::default();
        let now = BootTime(5 * NANOS_PER_SEC);
        client.may_open(now, 1);
        let mut record = ClientRecord { window: client.window.get(), ..ClientRecord::default() };
        assert!(!record.is_silent(now.plus_nanos(900_000_000)));
        assert!(record.is_silent(now.plus_nanos(1_100_000_000)));
        record.bring_forward(NANOS_PER_SEC);
        assert!(record.is_silent(now.plus_nanos(100_000_000)));
    }
}
