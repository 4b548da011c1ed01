//! Returning what has expired. No packet depends on it: expired entries count for nothing. What it
//! gives back is room, and ports of TCP connections that are over.
//!
//! A slot of the port table is held until the latest deadline that any of its sessions ever had, more
//! than two hours for an established connection. When the connection closes its own deadline moves
//! nearer, but the packet path cannot know whether other sessions need the port. The sweep sees them
//! all, so it moves the slot's hold to the latest deadline that is left.
//!
//! The kernel walks over the sessions itself ([`Walker`]); where it cannot, they are read and removed by
//! thousands, each batch by one system call. Either way it locks one bucket of a map at a time, so
//! packets, and others that read the maps meanwhile, wait for nothing longer. Memory: the buffers of a
//! batch, 256 KiB for each external address, and 16 bytes for each port of an established connection.

mod holds;
mod rhythm;
mod walker;

use super::clients::Tally;
use super::maps::Maps;
use super::{Shared, hints, now, peers};
use anyhow::Result;
use holds::Holds;
use nat_common::BootTime;
use nat_common::hints::list_index;
use nat_common::ports::{PortSlot, SlotState};
use nat_common::session::{EndpointKey, ExternalEndpoint, SessionKey};
use nat_common::settings::Settings;
use nat_common::sweep::{Live, is_dead};
use nat_common::time::NANOS_PER_SEC;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

pub(super) use rhythm::{sweep_once, sweep_regularly};
pub(super) use walker::Walker;

/// Entries are left alone for this long after their end, so that a packet that is just reviving one
/// does not lose it.
const GRACE: u64 = 2 * NANOS_PER_SEC;

/// How much was given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Session entries that were looked at.
    pub seen: usize,
    /// Session entries that were removed: two for each session.
    pub sessions: usize,
    /// Internal endpoints that have no external port any more.
    pub endpoints: usize,
    /// External ports that are held for less long now.
    pub ports: usize,
    /// Contacts of internal clients.
    pub contacts: usize,
    /// Internal clients that have nothing any more.
    pub clients: usize,
    /// What it has cost, time of a CPU.
    pub cpu: Duration,
}

impl Swept {
    /// Whether anything was given back.
    pub const fn is_something(&self) -> bool {
        self.sessions + self.endpoints + self.ports + self.contacts + self.clients > 0
    }
}

/// Removes expired sessions and endpoints from the maps, and lets go of ports.
///
/// # Errors
/// When the kernel refuses.
pub fn sweep(shared: &Shared) -> Result<Swept> {
    let before = cpu_time();
    let maps = &shared.maps;
    let settings = maps.settings()?;
    let mut swept = Swept::default();
    let pool = maps.externals()?;
    let held = peers::restate(maps, &settings, now());
    let mut holds = Holds::observe(maps.ports.slots(), &pool, &settings, now());
    holds.keep(&held);
    let past = BootTime(now().0.saturating_sub(GRACE));

    let mut tally = Tally::default();
    let mut live = |live: &Live| {
        holds.needs(live);
        tally.session(live.charged());
    };
    (swept.seen, swept.sessions) = match &shared.walker {
        Some(walker) => {
            let progress = walker.walk(past, &mut live)?;
            (progress.seen as usize, progress.removed as usize)
        }
        None => walk(maps, &settings, past, &mut live)?,
    };
    swept.ports = holds.let_go(maps.ports.slots(), &settings, now());

    let mut held = vec![0; maps.hints.slots().len()];
    let mut stale: Vec<EndpointKey> = Vec::new();
    let mut endpoints = maps.endpoints();
    while let Some(chunk) = endpoints.next_chunk()? {
        for (key, word) in chunk {
            let external = ExternalEndpoint::unpack(*word);
            let slot = maps.ports.slot(external.slot(key.protocol()));
            if !slot.is_some_and(|slot| belongs_to(slot, key, past)) {
                stale.push(*key);
            } else if let Some(held) =
                held.get_mut(list_index(u32::from(external.pool_index), key.protocol()) as usize)
            {
                *held += 1;
            }
        }
        swept.endpoints += maps.remove_endpoints(&stale)?;
        stale.clear();
    }
    let at = now();
    tally.ports(maps.ports.slots(), at);
    swept.clients = maps.clients.sweep(&tally, past)?;
    maps.change_settings(|settings| settings.swept_at = at.0)?;
    swept.contacts = maps.contacts.sweep(past)?;
    hints::refresh(shared, &settings, &held)?;
    if let Some(log) = &shared.mapping_log {
        log.look_through(shared);
    }
    swept.cpu = cpu_time().saturating_sub(before);
    Ok(swept)
}

/// Removes dead sessions and calls `each` for the others, from outside. Tells how many entries it has
/// seen and removed.
fn walk(
    maps: &Maps,
    settings: &Settings,
    past: BootTime,
    each: &mut dyn FnMut(&Live),
) -> Result<(usize, usize)> {
    let (mut seen, mut removed) = (0, 0);
    let mut dead: Vec<SessionKey> = Vec::new();
    let mut sessions = maps.sessions();
    while let Some(chunk) = sessions.next_chunk()? {
        for (key, record) in chunk {
            seen += 1;
            if is_dead(record, settings, past) {
                dead.push(*key);
            } else if let Some(live) = Live::of(key, record) {
                each(&live);
            }
        }
        removed += maps.remove_sessions(&dead)?;
        dead.clear();
    }
    Ok((seen, removed))
}

/// What this thread has used of a CPU so far.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn belongs_to(slot: &PortSlot, key: &EndpointKey, past: BootTime) -> bool {
    match slot.state(past) {
        SlotState::Held { owner, .. } => {
            let endpoint = owner.endpoint();
            endpoint.addr == key.addr && endpoint.port == key.port
        }
        SlotState::Claiming => true,
        SlotState::Free => false,
    }
}
