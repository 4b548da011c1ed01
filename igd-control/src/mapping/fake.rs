//! A packet path in memory, for tests.

use crate::igd::connection::WanLink;

use super::path::{PacketPath, PathError, PortForward};
use super::peers::{Peer, PeerHeld, PeerKey, PeerWish};
use nat_common::{BootTime, Protocol};
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};

/// What was asked of the packet path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Open(u16),
    Close(u16),
}

/// Keeps forwards in a map and refuses what it is told to refuse.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakePath {
    pub(crate) external: Option<Ipv4Addr>,
    pub(crate) forwards: BTreeMap<(u8, u16), PortForward>,
    /// Ports that are refused.
    pub(crate) refuse: HashMap<u16, PathError>,
    /// Everything but these ports is refused.
    pub(crate) only: Option<Vec<u16>>,
    pub(crate) calls: Vec<Call>,
    /// External ports that sessions of internal endpoints hold.
    pub(crate) leaving: HashMap<(u8, SocketAddrV4), u16>,
    /// What is held for peers.
    pub(crate) peers: BTreeMap<PeerKey, Peer>,
    /// Refuses all peers.
    pub(crate) refuse_peers: Option<PathError>,
    /// Packets may transit.
    pub(crate) transits: bool,
    /// The WAN interface has no carrier.
    pub(crate) unplugged: bool,
    /// There is no WAN interface.
    pub(crate) gone: bool,
}

impl FakePath {
    /// Connected, with nothing open.
    pub(crate) fn new() -> Self {
        Self { external: Some(Ipv4Addr::new(203, 0, 113, 1)), ..Self::default() }
    }

    pub(crate) fn forward(&self, protocol: Protocol, port: u16) -> Option<&PortForward> {
        self.forwards.get(&(protocol as u8, port))
    }
}

impl PacketPath for FakePath {
    fn wan_link(&self) -> WanLink {
        let there = self.external.is_some() && !self.unplugged && !self.gone;
        WanLink {
            present: !self.gone,
            carrier: !self.unplugged && !self.gone,
            addressed: there,
            routed: there,
        }
    }

    fn permit(&mut self, transit: bool) {
        self.transits = transit;
    }

    fn external_address(&self) -> Option<Ipv4Addr> {
        self.external
    }

    fn external_port(
        &self,
        _now: BootTime,
        protocol: Protocol,
        internal: SocketAddrV4,
    ) -> Option<u16> {
        self.leaving.get(&(protocol as u8, internal)).copied()
    }

    fn hold_peer(&mut self, now: BootTime, wish: &PeerWish) -> Result<PeerHeld, PathError> {
        if let Some(error) = self.refuse_peers {
            return Err(error);
        }
        let PeerWish { key, nonce, until, .. } = *wish;
        let (row, internal) = (key.protocol as u8, key.internal);
        let leaves = self.external_port(now, key.protocol, internal);
        let wanted = if wish.port == 0 { internal.port() } else { wish.port };
        let port = leaves.unwrap_or(wanted);
        let address = self.external.ok_or(PathError::Failed)?;
        let taken = self.leaving.iter().any(|((other, endpoint), taken)| {
            *other == row && *taken == port && *endpoint != internal
        });
        let other = wish.address.is_some_and(|wished| wished != address);
        if taken || other || (wish.port != 0 && wish.port != port) {
            return Err(PathError::PortInUse);
        }
        self.leaving.insert((row, internal), port);
        let external = SocketAddrV4::new(address, port);
        self.peers.insert(key, Peer { key, nonce, external, deadline: until, wished_upstream: 0 });
        Ok(PeerHeld { external, lasts: until })
    }

    fn let_go_of_peer(&mut self, _now: BootTime, peer: &Peer, others: BootTime) {
        self.peers.remove(&peer.key);
        if others == BootTime(0) {
            self.leaving.remove(&(peer.key.protocol as u8, peer.key.internal));
        }
    }

    fn peers(&self, now: BootTime) -> Vec<Peer> {
        self.peers.values().filter(|peer| peer.deadline > now).copied().collect()
    }

    fn open(&mut self, _now: BootTime, forward: &PortForward) -> Result<(), PathError> {
        let port = forward.external_port;
        if let Some(error) = self.refuse.get(&port) {
            return Err(*error);
        }
        if self.only.as_ref().is_some_and(|only| !only.contains(&port)) {
            return Err(PathError::PortInUse);
        }
        let slot = (forward.protocol as u8, port);
        if let Some(held) = self.forwards.get(&slot)
            && held.internal != forward.internal
        {
            return Err(PathError::PortInUse);
        }
        self.calls.push(Call::Open(port));
        self.forwards.insert(slot, forward.clone());
        Ok(())
    }

    fn close(&mut self, _now: BootTime, forward: &PortForward) {
        self.calls.push(Call::Close(forward.external_port));
        let held = self.forwards.remove(&(forward.protocol as u8, forward.external_port));
        assert_eq!(held.as_ref(), Some(forward), "only what is open can be closed");
    }
}
