//! Port forwards, written into the port table.

use super::Shared;
use crate::mapping::{PacketPath, PathError, PortForward};
use nat_common::ports::{Endpoint, InUse, Owner, SlotState, slot_index};
use nat_common::session::{EndpointKey, ExternalEndpoint, RemoteKey};
use nat_common::{BootTime, NetAddr, NetPort, Protocol};
use socket2::{Domain, Socket, Type};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Forwards lie on the first address of the pool.
const POOL_INDEX: u16 = 0;

/// Writes port forwards. There is one, and only it writes them.
pub struct Forwards {
    shared: Arc<Shared>,
    /// The remote hosts listed for a slot; 0.0.0.0 stands for everybody.
    remotes: HashMap<u32, Vec<NetAddr>>,
}

impl Forwards {
    /// Takes over what the maps hold already.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let mut remotes: HashMap<u32, Vec<NetAddr>> = HashMap::new();
        for (key, _) in shared.maps.remotes() {
            remotes.entry(key.slot).or_default().push(key.remote);
        }
        Self { shared, remotes }
    }

    /// The forwards that are in force in the maps: those of a former daemon, after a restart.
    pub fn in_force(&self, now: BootTime) -> Vec<PortForward> {
        let listed: HashMap<(u32, NetAddr), BootTime> = self
            .shared
            .maps
            .remotes()
            .into_iter()
            .map(|(key, deadline)| ((key.slot, key.remote), deadline))
            .collect();
        let mut forwards = Vec::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for port in 1..=u16::MAX {
                let index = slot_index(u32::from(POOL_INDEX), protocol, port);
                let Some(slot) = self.shared.maps.ports.slot(index) else {
                    continue;
                };
                let SlotState::Held { owner, leased: true } = slot.state(now) else {
                    continue;
                };
                let client = owner.endpoint();
                let mut forward = PortForward {
                    protocol,
                    external_port: port,
                    internal: std::net::SocketAddrV4::new(client.addr.into(), client.port.get()),
                    any_remote: owner.has(Owner::ANY_REMOTE).then(|| slot.lease()),
                    remotes: Vec::new(),
                };
                for remote in self.remotes.get(&index).into_iter().flatten() {
                    let Some(deadline) = listed.get(&(index, *remote)) else {
                        continue;
                    };
                    if *deadline <= now {
                        continue;
                    }
                    if remote.is_unspecified() {
                        forward.any_remote = Some(*deadline);
                    } else {
                        forward.remotes.push((Ipv4Addr::from(*remote), *deadline));
                    }
                }
                forwards.push(forward);
            }
        }
        forwards
    }

    /// States the remote hosts of a slot; the former ones go.
    fn list_remotes(&mut self, slot: u32, wanted: &[(NetAddr, BootTime)]) -> anyhow::Result<()> {
        for (remote, deadline) in wanted {
            self.shared.maps.set_remote(&RemoteKey { slot, remote: *remote }, *deadline)?;
        }
        let kept = |old: &NetAddr| wanted.iter().any(|(remote, _)| remote == old);
        let old = self.remotes.remove(&slot).unwrap_or_default();
        for remote in old.into_iter().filter(|old| !kept(old)) {
            self.shared.maps.remove_remote(&RemoteKey { slot, remote });
        }
        if !wanted.is_empty() {
            self.remotes.insert(slot, wanted.iter().map(|(remote, _)| *remote).collect());
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
                    if owner.endpoint() == endpoint)
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
        let endpoint = endpoint_of(forward);
        let index = slot_index(u32::from(POOL_INDEX), forward.protocol, forward.external_port);
        let shared = Arc::clone(&self.shared);
        let slot = shared.maps.ports.slot(index).ok_or(PathError::Failed)?;
        let listed = !forward.remotes.is_empty();
        let mut wanted: Vec<(NetAddr, BootTime)> = Vec::new();
        if listed {
            wanted
                .extend(forward.remotes.iter().map(|(addr, until)| (NetAddr::from(*addr), *until)));
            wanted.extend(forward.any_remote.map(|until| (NetAddr::UNSPECIFIED, until)));
        }
        if let SlotState::Held { owner, .. } = slot.state(now)
            && owner.endpoint() != endpoint
        {
            return Err(PathError::PortInUse.into());
        }
        if matches!(slot.state(now), SlotState::Free)
            && self.held_by_router(forward.protocol, forward.external_port)
        {
            return Err(PathError::HeldByRouter.into());
        }
        // Sessions that live by the forward notice when it lets in less, or for less long.
        let narrower = match slot.state(now) {
            SlotState::Held { owner, leased: true } => {
                forward.deadline() < slot.lease() || listed || owner.has(Owner::LISTED_REMOTES)
            }
            _ => false,
        };
        self.list_remotes(index, &wanted).map_err(|error| full(&error))?;
        let flags = if listed { Owner::LISTED_REMOTES } else { Owner::ANY_REMOTE };
        if let Err(InUse) = slot.open_forward(now, endpoint, flags, forward.deadline()) {
            self.list_remotes(index, &[])?;
            return Err(PathError::PortInUse.into());
        }
        if let Err(error) = self.lead(now, forward, endpoint) {
            let _ = slot.close_forward(now, endpoint);
            self.list_remotes(index, &[])?;
            return Err(full(&error));
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

    fn try_close(&mut self, now: BootTime, forward: &PortForward) -> anyhow::Result<()> {
        let index = slot_index(u32::from(POOL_INDEX), forward.protocol, forward.external_port);
        if let Some(slot) = self.shared.maps.ports.slot(index) {
            // Not ours any more when the lease ran out and somebody else has claimed it since.
            let _ = slot.close_forward(now, endpoint_of(forward));
        }
        self.list_remotes(index, &[])?;
        self.void_bound_sessions()
    }
}

fn endpoint_of(forward: &PortForward) -> Endpoint {
    Endpoint {
        addr: NetAddr::from(*forward.internal.ip()),
        port: NetPort::new(forward.internal.port()),
    }
}

fn full(error: &anyhow::Error) -> anyhow::Error {
    tracing::warn!(error = format!("{error:#}"), "a table of the packet path takes no more");
    PathError::Full.into()
}

impl PacketPath for Forwards {
    fn external_address(&self) -> Option<Ipv4Addr> {
        self.shared.external_address()
    }

    fn open(&mut self, now: BootTime, forward: &PortForward) -> Result<(), PathError> {
        self.try_open(now, forward).map_err(|error| match error.downcast::<PathError>() {
            Ok(known) => known,
            Err(other) => {
                tracing::error!(error = format!("{other:#}"), "cannot open a port forward");
                PathError::Failed
            }
        })
    }

    fn close(&mut self, now: BootTime, forward: &PortForward) {
        if let Err(error) = self.try_close(now, forward) {
            tracing::error!(error = format!("{error:#}"), "cannot close a port forward");
        }
    }
}
