//! Answers that wait: a search is answered at a random moment, so that the answers of all devices of
//! a network do not collide (UPnP Device Architecture 1.1, 1.3.3).

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tokio::time::Instant;

/// Searches that may wait at a time. More are dropped; clients repeat them.
const CAPACITY: usize = 64;
/// Of these, from one host.
const CAPACITY_PER_HOST: usize = 16;
/// A client's MX counts up to this (UPnP Device Architecture 1.1, 1.3.2).
const LONGEST_MX: Duration = Duration::from_secs(5);
/// The share of MX that is used, percent: the rest is left for the way there.
const SHARE: u32 = 60;

/// A search that waits to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting<T> {
    /// Who asked.
    pub(super) client: SocketAddr,
    /// What it is answered.
    pub(super) target: T,
}

/// Waiting answers by the time when they are due.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// The number keeps those apart that are due at the same time.
    waiting: BTreeMap<(Instant, u64), Waiting<T>>,
    next: u64,
}

/// What became of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// It waits.
    Waits,
    /// The same client waits for the same already.
    Twice,
    /// There was no room.
    Full,
}

impl<T: PartialEq> Queue<T> {
    pub(super) fn new() -> Self {
        Self { waiting: BTreeMap::new(), next: 0 }
    }

    /// Takes a search that came at `now`; `random` (from 0 to 1) picks the moment within `mx`.
    pub(super) fn push(
        &mut self,
        now: Instant,
        mx: Duration,
        random: f32,
        search: Waiting<T>,
    ) -> Queued {
        if self.waiting.values().any(|waiting| *waiting == search) {
            return Queued::Twice;
        }
        let of_host = self.waiting.values().filter(|one| one.client.ip() == search.client.ip());
        if self.waiting.len() >= CAPACITY || of_host.count() >= CAPACITY_PER_HOST {
            return Queued::Full;
        }
        let window = mx.min(LONGEST_MX) * SHARE / 100;
        let due = now + window.mul_f32(random.clamp(0.0, 1.0));
        self.waiting.insert((due, self.next), search);
        self.next = self.next.wrapping_add(1);
        Queued::Waits
    }

    /// When the next answer is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes the next answer, if it is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Waiting<T>> {
        let next = self.waiting.first_entry()?;
        (next.key().0 <= now).then(|| next.remove())
    }
}
