//! Returning what has expired. Nothing depends on it but room: expired entries count for nothing.

use super::inspect::is_live;
use super::{Shared, now};
use anyhow::Result;
use nat_common::ports::SlotState;
use nat_common::session::{EndpointKey, ExternalEndpoint, SessionKey};
use nat_common::time::NANOS_PER_SEC;

/// Entries are left alone for this long after their end, so that a packet that is just reviving one
/// does not lose it.
const GRACE: u64 = 2 * NANOS_PER_SEC;

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Session entries: two for each session.
    pub sessions: usize,
    /// Internal endpoints that have no external port any more.
    pub endpoints: usize,
}

/// Removes expired sessions and endpoints from the maps.
///
/// # Errors
/// When the kernel refuses.
pub fn sweep(shared: &Shared) -> Result<Swept> {
    let maps = &shared.maps;
    let settings = maps.settings()?;
    let past = nat_common::BootTime(now().0.saturating_sub(GRACE));
    let mut swept = Swept::default();

    let mut dead: Vec<SessionKey> = Vec::new();
    let mut sessions = maps.sessions();
    while let Some(chunk) = sessions.next_chunk()? {
        let expired = chunk.filter(|(_, record)| !is_live(record, &settings, past));
        dead.extend(expired.map(|(key, _)| *key));
        dead.drain(..).for_each(|key| {
            maps.remove_session(&key);
            swept.sessions += 1;
        });
    }

    let mut stale: Vec<EndpointKey> = Vec::new();
    let mut endpoints = maps.endpoints();
    while let Some(chunk) = endpoints.next_chunk()? {
        for (key, word) in chunk {
            let slot = maps.ports.slot(ExternalEndpoint::unpack(*word).slot(key.protocol()));
            let held = slot.is_some_and(|slot| match slot.state(past) {
                SlotState::Held { owner, .. } => {
                    let endpoint = owner.endpoint();
                    endpoint.addr == key.addr && endpoint.port == key.port
                }
                SlotState::Claiming => true,
                SlotState::Free => false,
            });
            if !held {
                stale.push(*key);
            }
        }
        stale.drain(..).for_each(|key| {
            maps.remove_endpoint(&key);
            swept.endpoints += 1;
        });
    }
    Ok(swept)
}
