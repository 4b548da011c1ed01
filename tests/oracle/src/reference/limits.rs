//! What one internal client may have.

use super::{Reference, SECOND, Side, Ticks};
use nat_ebpf::host::packet::Peer;
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// How long it is believed what a sweep has found.
const BELIEVED: Ticks = 90 * SECOND;

/// The limits of each client; `None`: as many as it likes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub sessions: Option<u32>,
    pub ports: Option<u32>,
}

/// What a client has: what the last sweep has found, and what has begun since.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) sessions: u32,
    pub(super) ports: u32,
}

/// What clients have.
#[derive(Debug)]
pub(super) struct Clients {
    limits: Limits,
    swept: Option<Ticks>,
    counts: HashMap<Ipv4Addr, Count>,
}

impl Clients {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, swept: None, counts: HashMap::new() }
    }

    pub(super) fn of(&mut self, client: Ipv4Addr) -> &mut Count {
        self.counts.entry(client).or_default()
    }

    fn is_over(&self, now: Ticks, has: u32, limit: Option<u32>) -> bool {
        let believed = self.swept.is_some_and(|swept| now < swept + BELIEVED);
        believed && limit.is_some_and(|limit| has >= limit)
    }

    /// A quarter is for what the client opens itself.
    pub(super) fn may_have_a_session(&mut self, now: Ticks, client: Ipv4Addr, opens: bool) -> bool {
        let has = self.of(client).sessions;
        let limit = self.limits.sessions.map(|most| if opens { most } else { most - most / 4 });
        !self.is_over(now, has, limit)
    }

    pub(super) fn may_have_a_port(&mut self, now: Ticks, client: Ipv4Addr) -> bool {
        let has = self.of(client).ports;
        !self.is_over(now, has, self.limits.ports)
    }
}

impl Reference {
    /// Whether a client's endpoint has a port, or may have one.
    pub(super) fn may_be_mapped(&mut self, protocol: u8, endpoint: Peer) -> bool {
        if self.ports.is_mapped(self.now, protocol, endpoint) {
            return true;
        }
        let may = self.clients.may_have_a_port(self.now, endpoint.0);
        self.clients.of(endpoint.0).ports += u32::from(may);
        may
    }

    /// Counts what every client has.
    pub fn sweep(&mut self) {
        self.clients.swept = Some(self.now);
        self.clients.counts.clear();
        for (key, half) in &self.halves {
            let called = half.hairpin && half.answering;
            let current = half.bound || half.generation == self.nat_generation;
            if key.side == Side::Lan && !called && current && half.deadline > self.now {
                self.clients.of(key.src.0).sessions += 1;
            }
        }
        for owner in self.ports.held_by_sessions(self.now) {
            self.clients.of(owner.0).ports += 1;
        }
    }
}
