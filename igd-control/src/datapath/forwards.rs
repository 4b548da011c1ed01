//! Port forwards, written into the port table.

use super::{Shared, lease, peers};
use crate::igd::connection::WanLink;
use crate::mapping::{PacketPath, PathError, Peer, PeerHeld, PeerWish, PortForward};
use nat_common::filters::Filters;
use nat_common::ports::{
    Endpoint, InUse, Owner, SlotState, WILDCARD_PORT, slot_index, wildcard_slot,
};
use nat_common::session::{EndpointKey, ExternalEndpoint, RemoteKey};
use nat_common::{BootTime, Counter, NetPort, Protocol};
use socket2::{Domain, Socket, Type};
use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

/// Forwards lie on the first address of the pool.
const POOL_INDEX: u16 = 0;

/// Writes port forwards. There is one, and only it writes them.
pub struct Forwards {
    shared: Arc<Shared>,
    /// What is listed for a slot.
    listed: HashMap<u32, Vec<RemoteKey>>,
    /// Slots that have filters.
    filtered: HashSet<u32>,
}

impl Forwards {
    /// Takes over what the maps hold already.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let mut listed: HashMap<u32, Vec<RemoteKey>> = HashMap::new();
        for (key, _) in shared.maps.remotes() {
            listed.entry(key.slot & !RemoteKey::DISABLED).or_default().push(key);
        }
        let filtered = shared.maps.filters().into_keys().collect();
        Self { shared, listed, filtered }
    }

    /// The forwards that are in force in the maps: those of a former daemon, after a restart.
    pub fn in_force(&self, now: BootTime) -> Vec<PortForward> {
        let deadlines: HashMap<RemoteKey, BootTime> =
            self.shared.maps.remotes().into_iter().collect();
        let filters = self.shared.maps.filters();
        let mut forwards = Vec::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for port in WILDCARD_PORT..=u16::MAX {
                let index = slot_index(u32::from(POOL_INDEX), protocol, port);
                let Some(slot) = self.shared.maps.ports.slot(index) else {
                    continue;
                };
                slot.resume();
                let SlotState::Held { owner, leased: true } = slot.state(now) else {
                    continue;
                };
                let keys = self.listed.get(&index).into_iter().flatten();
                let entries = keys.filter_map(|key| Some((*key, *deadlines.get(key)?)));
                let filters = filters.get(&index);
                let forward =
                    lease::read(now, (protocol, port), owner, slot.lease(), entries, filters);
                forwards.push(forward);
            }
        }
        forwards
    }

    /// States what is listed for a slot; what was listed before goes.
    fn list(&mut self, slot: u32, wanted: &lease::Listed) -> anyhow::Result<()> {
        for (key, deadline) in wanted {
            self.shared.maps.set_remote(key, *deadline)?;
        }
        let kept = |old: &RemoteKey| wanted.iter().any(|(key, _)| key == old);
        let old = self.listed.remove(&slot).unwrap_or_default();
        for key in old.into_iter().filter(|old| !kept(old)) {
            self.shared.maps.remove_remote(&key);
        }
        if !wanted.is_empty() {
            self.listed.insert(slot, wanted.iter().map(|(key, _)| *key).collect());
        }
        Ok(())
    }

    /// States the filters of a slot; those that were there before go.
    fn filter(&mut self, slot: u32, wanted: Option<&Filters>) -> anyhow::Result<()> {
        match wanted {
            Some(filters) => {
                self.shared.maps.set_filters(slot, filters)?;
                self.filtered.insert(slot);
            }
            None if self.filtered.remove(&slot) => self.shared.maps.remove_filters(slot),
            None => {}
        }
        Ok(())
    }

    /// Has the endpoint's own packets leave from this port, unless another forward of it comes first.
    fn lead(&self, now: BootTime, forward: &PortForward, endpoint: Endpoint) -> anyhow::Result<()> {
        let key = EndpointKey::new(forward.protocol, endpoint.addr, endpoint.port);
        let ours =
            ExternalEndpoint { port: NetPort::new(forward.external_port), pool_index: POOL_INDEX };
        let leads = |external: ExternalEndpoint| {
            let slot = self.shared.maps.ports.slot(external.slot(forward.protocol));
            slot.is_some_and(|slot| {
                matches!(slot.state(now), SlotState::Held { owner, leased: true }
                    if owner.endpoint() == endpoint && owner.is_open())
            })
        };
        match self.shared.maps.endpoint(&key) {
            Some(other) if other == ours || leads(other) => Ok(()),
            _ => self.shared.maps.set_endpoint(&key, ours),
        }
    }

    /// Voids the UDP sessions that live by a forward: those whose forward is still there are made
    /// anew by their next packet.
    fn void_bound_sessions(&self) -> anyhow::Result<()> {
        self.shared.maps.change_settings(|settings| {
            settings.forward_generation = settings.forward_generation.wrapping_add(1);
        })
    }

    fn try_open(&mut self, now: BootTime, forward: &PortForward) -> anyhow::Result<()> {
        let endpoint = lease::endpoint(forward);
        let flags = lease::flags(forward);
        let index = index_of(forward);
        let shared = Arc::clone(&self.shared);
        let slot = shared.maps.ports.slot(index).ok_or(PathError::Failed)?;
        let yielding = shared.maps.settings()?.yielding(now, forward.protocol);
        if slot.is_others(now, endpoint, yielding) {
            return Err(PathError::PortInUse.into());
        }
        if forward.external_port != WILDCARD_PORT
            && matches!(slot.state(now), SlotState::Free)
            && self.held_by_router(forward.protocol, forward.external_port)
        {
            return Err(PathError::HeldByRouter.into());
        }
        // Sessions that live by the forward notice when it lets in less, or for less long.
        let narrower = match slot.state(now) {
            SlotState::Held { owner, leased: true } => {
                forward.deadline() < slot.lease()
                    || flags != Owner::ANY_REMOTE
                    || owner.has(Owner::LISTED_REMOTES)
            }
            // So do those that came in to this port by the wildcard.
            SlotState::Held { .. } => shared
                .maps
                .ports
                .slot(wildcard_slot(index))
                .is_some_and(|slot| matches!(slot.state(now), SlotState::Held { .. })),
            _ => false,
        };
        self.list(index, &lease::listed(index, forward)).map_err(|error| full(&error))?;
        // Filters are there before the slot sends packets to them, and go after it does not any more.
        let filters = lease::filters(forward);
        if filters.is_some() {
            self.filter(index, filters.as_ref()).map_err(|error| full(&error))?;
        }
        if let Err(InUse) = slot.open_forward(now, endpoint, flags, forward.deadline(), yielding) {
            self.list(index, &Vec::new())?;
            self.filter(index, None)?;
            return Err(PathError::PortInUse.into());
        }
        self.filter(index, filters.as_ref()).map_err(|error| full(&error))?;
        if forward.leads()
            && let Err(error) = self.lead(now, forward, endpoint)
        {
            let _ = slot.close_forward(now, endpoint);
            self.list(index, &Vec::new())?;
            self.filter(index, None)?;
            return Err(full(&error));
        }
        if let Some(log) = &shared.mapping_log {
            log.look_at(&shared, index, slot);
        }
        if narrower {
            self.void_bound_sessions()?;
        }
        Ok(())
    }

    /// Whether a service of the router itself listens on a port: then it cannot be bound.
    fn held_by_router(&self, protocol: Protocol, port: u16) -> bool {
        let Some(addr) = self.shared.external_address() else { return false };
        let addr = SocketAddr::from((addr, port)).into();
        let bound = match protocol {
            Protocol::Udp => {
                Socket::new(Domain::IPV4, Type::DGRAM, None).and_then(|socket| socket.bind(&addr))
            }
            // Connections from that port do not matter, only who listens on it.
            _ => Socket::new(Domain::IPV4, Type::STREAM, None).and_then(|socket| {
                socket.set_reuse_address(true)?;
                socket.bind(&addr)
            }),
        };
        bound.is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
    }

    /// Ends forwards at one moment: their leases are marked to end with the forward generation, which is
    /// what voids the sessions that live by them too; then it changes, by one store. After that the
    /// slots can be cleared one by one.
    fn try_close_all(&mut self, now: BootTime, forwards: &[PortForward]) -> anyhow::Result<()> {
        // Nobody else changes the settings meanwhile.
        self.shared.maps.change_settings(|settings| {
            for forward in forwards {
                if let Some(slot) = self.shared.maps.ports.slot(index_of(forward)) {
                    slot.end_with(lease::endpoint(forward), settings.forward_generation);
                }
            }
            settings.forward_generation = settings.forward_generation.wrapping_add(1);
        })?;
        for forward in forwards {
            self.clear(now, forward)?;
        }
        Ok(())
    }

    /// Takes a forward out of its slot.
    fn clear(&mut self, now: BootTime, forward: &PortForward) -> anyhow::Result<()> {
        let index = index_of(forward);
        if let Some(slot) = self.shared.maps.ports.slot(index) {
            slot.clear_ended();
            // Not ours any more when the lease ran out and somebody else has claimed it since.
            let _ = slot.close_forward(now, lease::endpoint(forward));
            if let Some(log) = &self.shared.mapping_log {
                log.look_at(&self.shared, index, slot);
            }
        }
        self.list(index, &Vec::new())?;
        self.filter(index, None)
    }

    fn try_close(&mut self, now: BootTime, forward: &PortForward) -> anyhow::Result<()> {
        self.clear(now, forward)?;
        self.void_bound_sessions()
    }
}

/// The slot of a forward.
fn index_of(forward: &PortForward) -> u32 {
    slot_index(u32::from(POOL_INDEX), forward.protocol, forward.external_port)
}

fn full(error: &anyhow::Error) -> anyhow::Error {
    tracing::warn!(error = format!("{error:#}"), "a table of the packet path takes no more");
    PathError::Full.into()
}

/// What the table is told of an error; others than those that it knows go to the log.
fn known(error: anyhow::Error, what: &str) -> PathError {
    error.downcast().unwrap_or_else(|other| {
        tracing::error!(error = format!("{other:#}"), "{what}");
        PathError::Failed
    })
}

impl PacketPath for Forwards {
    fn external_address(&self) -> Option<Ipv4Addr> {
        self.shared.external_address()
    }

    fn external_port(
        &self,
        now: BootTime,
        protocol: Protocol,
        internal: SocketAddrV4,
    ) -> Option<u16> {
        let endpoint = lease::internal_endpoint(internal);
        let key = EndpointKey::new(protocol, endpoint.addr, endpoint.port);
        let external = self.shared.maps.endpoint(&key)?;
        let slot = self.shared.maps.ports.slot(external.slot(protocol))?;
        let holds = matches!(slot.state(now), SlotState::Held { owner, .. }
            if owner.endpoint() == endpoint);
        (holds && external.pool_index == POOL_INDEX).then(|| external.port.get())
    }

    fn open(&mut self, now: BootTime, forward: &PortForward) -> Result<(), PathError> {
        self.try_open(now, forward).map_err(|error| known(error, "cannot open a port forward"))
    }

    fn close(&mut self, now: BootTime, forward: &PortForward) {
        if let Err(error) = self.try_close(now, forward) {
            tracing::error!(error = format!("{error:#}"), "cannot close a port forward");
        }
    }

    fn close_all(&mut self, now: BootTime, forwards: &[PortForward]) {
        if let Err(error) = self.try_close_all(now, forwards) {
            tracing::error!(error = format!("{error:#}"), "cannot close port forwards");
        }
    }

    fn hold_peer(&mut self, _now: BootTime, wish: &PeerWish) -> Result<PeerHeld, PathError> {
        let held_by_router = |protocol, port| self.held_by_router(protocol, port);
        let held = peers::hold(&self.shared, wish, held_by_router);
        held.map_err(|error| known(error, "cannot hold a session for PEER"))
    }

    fn let_go_of_peer(&mut self, _now: BootTime, peer: &Peer, others: BootTime) {
        if let Err(error) = peers::let_go(&self.shared, peer, others) {
            tracing::error!(error = format!("{error:#}"), "cannot let go of a session of PEER");
        }
    }

    fn peers(&self, now: BootTime) -> Vec<Peer> {
        peers::in_force(&self.shared.maps, now).unwrap_or_default()
    }

    fn wan_link(&self) -> WanLink {
        self.shared.wan_link()
    }

    fn packets(&self) -> u64 {
        let counters = self.shared.maps.counters().unwrap_or_default();
        let translated = [Counter::OutboundPackets, Counter::InboundPackets];
        let counts = counters.iter().filter(|(counter, _)| translated.contains(counter));
        counts.map(|(_, count)| count).sum()
    }

    fn permit(&mut self, transit: bool) {
        if let Err(error) = self.shared.permit(transit) {
            tracing::error!(error = format!("{error:#}"), "cannot switch the connection");
        }
    }
}
