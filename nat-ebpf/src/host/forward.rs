//! Port forwards, written into the tables as the daemon writes them.

use super::HostTables;
use crate::Tables;
use nat_common::filters::{Filter, Filters};
use nat_common::ports::{Endpoint, InUse, Owner, PortSlot, SlotState, WILDCARD_PORT, slot_index};
use nat_common::session::{EndpointKey, ExternalEndpoint, RemoteKey};
use nat_common::{BootTime, NetAddr, NetPort, Protocol};

/// A port forward on the first address of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Its protocol.
    pub protocol: Protocol,
    /// External port; 0: every one that is not otherwise mapped.
    pub port: u16,
    /// The internal client.
    pub client: Endpoint,
    /// For how long every remote host is let in, seconds; `None`: not every one.
    pub any_remote: Option<u64>,
    /// Of every remote host only those are meant whom one of these takes; empty: all.
    pub filters: Vec<Filter>,
    /// Remote hosts that are let in, each for so many seconds.
    pub remotes: Vec<(NetAddr, u64)>,
    /// For how long it holds its port for nobody, seconds: a disabled mapping.
    pub disabled: Option<u64>,
}

impl Forward {
    /// The slot of its port.
    pub fn slot_index(&self) -> u32 {
        slot_index(0, self.protocol, self.port)
    }

    /// The key of its client in the endpoint index.
    pub fn endpoint_key(&self) -> EndpointKey {
        EndpointKey::new(self.protocol, self.client.addr, self.client.port)
    }

    /// Its port as the endpoint index holds it.
    pub fn external(&self) -> ExternalEndpoint {
        ExternalEndpoint { port: NetPort::new(self.port), pool_index: 0 }
    }

    /// The remote hosts for the remotes map, opened at `now`: where some are listed, everybody is
    /// listed with them as 0.0.0.0.
    pub fn listed(&self, now: BootTime) -> Vec<(RemoteKey, BootTime)> {
        if self.flags() & Owner::LISTED_REMOTES == 0 {
            return Vec::new();
        }
        let any = self.any_remote.filter(|_| self.filters.is_empty());
        let any = any.map(|seconds| (NetAddr::UNSPECIFIED, seconds));
        let entry = |(remote, seconds)| {
            (RemoteKey { slot: self.slot_index(), remote }, now.plus_secs(seconds))
        };
        self.remotes.iter().copied().chain(any).map(entry).collect()
    }

    /// The filters for the map of filters, opened at `now`.
    pub fn filters(&self, now: BootTime) -> Option<Filters> {
        let until = now.plus_secs(self.any_remote.filter(|_| !self.filters.is_empty())?);
        Some(Filters::new(until, self.filters.iter().copied()))
    }

    /// The flags of its slot's owner.
    pub fn flags(&self) -> u64 {
        match self.any_remote {
            Some(_) if !self.filters.is_empty() => Owner::LISTED_REMOTES | Owner::FILTERED,
            _ if !self.remotes.is_empty() => Owner::LISTED_REMOTES,
            // The lease is the port's, and a disabled mapping may hold it for longer.
            Some(_) if self.disabled > self.any_remote => Owner::LISTED_REMOTES,
            Some(_) => Owner::ANY_REMOTE,
            None => 0,
        }
    }

    /// Whether its client's own packets may leave from its port.
    pub fn leads(&self) -> bool {
        self.flags() != 0 && self.port != WILDCARD_PORT && !self.client.addr.is_broadcast()
    }

    /// When the last of its leases ends, opened at `now`.
    pub fn deadline(&self, now: BootTime) -> BootTime {
        let listed = self.remotes.iter().map(|(_, seconds)| *seconds);
        now.plus_secs(listed.chain(self.any_remote).chain(self.disabled).max().unwrap_or(0))
    }
}

impl HostTables {
    /// Opens a port forward.
    ///
    /// # Errors
    /// [`InUse`] when the port belongs to another internal endpoint.
    pub fn open_forward(&self, forward: &Forward) -> Result<(), InUse> {
        let now = self.now();
        let slot = self.slot(forward.slot_index()).ok_or(InUse)?;
        let settings = self.settings.ok_or(InUse)?;
        let yielding = settings.yielding(now, forward.protocol);
        slot.open_forward(now, forward.client, forward.flags(), forward.deadline(now), yielding)?;
        self.remove_remotes(forward.slot_index());
        for (key, until) in forward.listed(now) {
            self.set_remote(key, until);
        }
        self.set_filters(forward.slot_index(), forward.filters(now));
        if !forward.leads() {
            return Ok(());
        }
        let key = forward.endpoint_key();
        let led = self.endpoint(&key).is_some_and(|external| {
            let external = ExternalEndpoint::unpack(external.get());
            let slot = self.slot(external.slot(forward.protocol));
            slot.is_some_and(|slot| leads_to(&slot, now, forward.client))
        });
        if !led {
            self.set_endpoint(key, forward.external().pack());
        }
        Ok(())
    }

    /// Closes a port forward, and voids the sessions that are bound to forwards.
    pub fn close_forward(&mut self, forward: &Forward) {
        if let Some(slot) = self.slot(forward.slot_index()) {
            // Not its own any more when it has run out and somebody else has claimed the port.
            let _ = slot.close_forward(self.now(), forward.client);
        }
        self.remove_remotes(forward.slot_index());
        self.set_filters(forward.slot_index(), None);
        if let Some(settings) = &mut self.settings {
            settings.forward_generation = settings.forward_generation.wrapping_add(1);
        }
    }

    /// Gives a port to an endpoint, as if it had sent something from there.
    ///
    /// # Errors
    /// [`InUse`] when it belongs to another one.
    pub fn take_port(
        &self,
        protocol: Protocol,
        port: u16,
        owner: Endpoint,
        seconds: u64,
    ) -> Result<(), InUse> {
        let slot = self.slot(slot_index(0, protocol, port)).ok_or(InUse)?;
        let owner = Owner::new(owner, Owner::OPENED_INSIDE);
        slot.claim(self.now(), owner, self.now().plus_secs(seconds))
    }
}

/// Whether a slot is leased to `client` and open.
fn leads_to(slot: &PortSlot, now: BootTime, client: Endpoint) -> bool {
    matches!(slot.state(now), SlotState::Held { owner, leased: true }
        if owner.endpoint() == client && owner.is_open())
}
