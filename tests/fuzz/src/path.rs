//! A packet path in memory, which takes the table at its word.

use igd_control::mapping::{PacketPath, PathError, Peer, PeerHeld, PeerKey, PeerWish, PortForward};
use nat_common::BootTime;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The external address.
pub(crate) const EXTERNAL: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 1);
/// The router's own port.
const OWN_PORT: u16 = 1900;

/// A packet path in memory. It holds what the table has stated to it, no more and no less; and what PEER
/// has asked for, each session from its client's own port.
#[derive(Debug, Default)]
pub(crate) struct MemoryPath(
    pub(crate) BTreeMap<(u8, u16), PortForward>,
    pub(crate) BTreeMap<PeerKey, Peer>,
);

impl PacketPath for MemoryPath {
    fn external_address(&self) -> Option<Ipv4Addr> {
        Some(EXTERNAL)
    }

    fn open(&mut self, now: BootTime, forward: &PortForward) -> Result<(), PathError> {
        assert!(forward.deadline() > now, "opened after its end: {forward:?}");
        if forward.external_port == OWN_PORT {
            return Err(PathError::HeldByRouter);
        }
        if let Some(held) = self.0.get(&key(forward)) {
            assert_eq!(held.internal, forward.internal, "one port, two endpoints");
        }
        self.0.insert(key(forward), forward.clone());
        Ok(())
    }

    fn hold_peer(&mut self, now: BootTime, wish: &PeerWish) -> Result<PeerHeld, PathError> {
        let PeerWish { key, nonce, until, port, address } = *wish;
        assert!(until > now, "held after its end: {wish:?}");
        let external = SocketAddrV4::new(EXTERNAL, key.internal.port());
        if (port != 0 && port != external.port()) || address.is_some_and(|it| it != EXTERNAL) {
            return Err(PathError::PortInUse);
        }
        self.1.retain(|_, peer| peer.deadline > now);
        if let Some(known) =
            self.1.insert(key, Peer { key, nonce, external, deadline: until, wished_upstream: 0 })
        {
            assert_eq!(known.nonce, nonce, "somebody else's: {wish:?}");
            assert!(known.deadline <= until, "shortened: {wish:?}");
        }
        Ok(PeerHeld { external, lasts: until })
    }

    fn let_go_of_peer(&mut self, _now: BootTime, peer: &Peer, _others: BootTime) {
        assert_eq!(self.1.remove(&peer.key), Some(*peer));
    }

    fn close(&mut self, _now: BootTime, forward: &PortForward) {
        assert!(self.0.remove(&key(forward)).is_some(), "closed what is not open: {forward:?}");
    }
}

fn key(forward: &PortForward) -> (u8, u16) {
    (forward.protocol as u8, forward.external_port)
}
