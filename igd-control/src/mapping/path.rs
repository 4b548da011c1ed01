//! What the port-mapping table asks of the packet path.

use super::entry::RemoteFilter;
use super::peers::{Peer, PeerHeld, PeerWish};
use crate::igd::connection::WanLink;
use nat_common::ports::WILDCARD_PORT;
use nat_common::{BootTime, Protocol};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Everything that is forwarded from one external port: the table states the whole of it after each
/// change, so that stating it twice does no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortForward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// External port; 0 is the wildcard, every port that is not otherwise mapped.
    pub external_port: u16,
    /// Where packets go, 255.255.255.255 being everybody in every LAN (UDP); by the wildcard to the port on which they came, whatever this one is. One
    /// external port belongs to one internal endpoint.
    pub internal: SocketAddrV4,
    /// Until when any remote host is let in; `None` when only the listed ones are.
    pub any_remote: Option<BootTime>,
    /// Whom `any_remote` stands for; empty: everybody.
    pub filters: Vec<RemoteFilter>,
    /// Remote hosts that are let in, each until its own deadline.
    pub remotes: Vec<(Ipv4Addr, BootTime)>,
    /// Disabled mappings, by their remote host (`None`: any), each until its own deadline: the port is
    /// held for them, and nobody let in.
    pub disabled: Vec<(Option<Ipv4Addr>, BootTime)>,
}

impl PortForward {
    /// When the last of its leases ends.
    pub fn deadline(&self) -> BootTime {
        let listed = self.remotes.iter().map(|(_, deadline)| *deadline);
        let disabled = self.disabled.iter().map(|(_, deadline)| *deadline);
        listed.chain(self.any_remote).chain(disabled).max().unwrap_or_default()
    }

    /// Whether outgoing packets of the internal endpoint may leave from the port.
    pub fn leads(&self) -> bool {
        let lets_in = self.any_remote.is_some() || !self.remotes.is_empty();
        lets_in && self.external_port != WILDCARD_PORT && !self.internal.ip().is_broadcast()
    }
}

/// Why the packet path cannot take a port forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Sessions of another internal client use the port.
    #[error("the external port is in use by another internal client")]
    PortInUse,
    /// The router itself, or something else on it, uses the port.
    #[error("the external port is used by the router itself")]
    HeldByRouter,
    /// The internal endpoint has another external port, and can have only one.
    #[error("the internal endpoint has another external port already")]
    EndpointMapped,
    /// Only a NAT of our own could do it.
    #[error("without a NAT here there is nobody to do it")]
    NeedsNat,
    /// A table of the packet path is full.
    #[error("the packet path has no room for the mapping")]
    Full,
    /// The internal client has as many sessions or ports as it may have.
    #[error("the internal client has as much as it may have")]
    Limit,
    /// Nothing is translated on the way to that peer.
    #[error("packets to that peer are not translated")]
    NoPeer,
    /// The packet path refused for a reason that its log tells.
    #[error("the packet path failed")]
    Failed,
}

/// The packet path, as the table sees it. Calls do not block: they write shared memory, or make a
/// system call that does not wait. What they state is in force when they return.
pub trait PacketPath {
    /// The address that remote hosts see; `None` while there is none.
    fn external_address(&self) -> Option<Ipv4Addr>;

    /// Opens a forward, or changes the one that its port has already. Outgoing packets of the
    /// internal endpoint leave from this port, if it [leads](PortForward::leads), unless another
    /// forward of the endpoint came first.
    ///
    /// # Errors
    /// [`PathError`]; the port is as before then.
    fn open(&mut self, now: BootTime, forward: &PortForward) -> Result<(), PathError>;

    /// Ends the forward of a port. Its TCP connections go on, its UDP sessions end.
    fn close(&mut self, now: BootTime, forward: &PortForward);

    /// Ends forwards, all at the same moment: no packet finds one open after another one was found
    /// closed.
    fn close_all(&mut self, now: BootTime, forwards: &[PortForward]) {
        forwards.iter().for_each(|forward| self.close(now, forward));
    }

    /// The external port from which packets of an internal endpoint leave, when sessions of its own or
    /// a forward hold one on the address of the forwards.
    fn external_port(
        &self,
        _now: BootTime,
        _protocol: Protocol,
        _internal: SocketAddrV4,
    ) -> Option<u16> {
        None
    }

    /// Has a session with a remote peer last until the wished time, whether packets flow or not: makes it
    /// as a packet of the client's would, or prolongs the one that there is. It is remembered with the
    /// sessions.
    ///
    /// # Errors
    /// [`PathError`]; no session was made then.
    fn hold_peer(&mut self, _now: BootTime, _wish: &PeerWish) -> Result<PeerHeld, PathError> {
        Err(PathError::NeedsNat)
    }

    /// Has a session last no longer than packets make it last, one that none has used no longer at all;
    /// its external port is held for others until then.
    fn let_go_of_peer(&mut self, _now: BootTime, _peer: &Peer, _others: BootTime) {}

    /// What is remembered of [`Self::hold_peer`] and in force.
    fn peers(&self, _now: BootTime) -> Vec<Peer> {
        Vec::new()
    }

    /// What the WAN link is like.
    fn wan_link(&self) -> WanLink {
        let address = self.external_address().is_some();
        WanLink { addressed: address, routed: address, ..WanLink::READY }
    }

    /// How many packets have been translated, towards the WAN and from it.
    fn packets(&self) -> u64 {
        0
    }

    /// Lets packets transit the gateway, or none.
    fn permit(&mut self, _transit: bool) {}
}

/// Whichever there is.
pub type AnyPath = Box<dyn PacketPath + Send>;

impl PacketPath for AnyPath {
    fn external_address(&self) -> Option<Ipv4Addr> {
        (**self).external_address()
    }

    fn open(&mut self, now: BootTime, forward: &PortForward) -> Result<(), PathError> {
        (**self).open(now, forward)
    }

    fn close(&mut self, now: BootTime, forward: &PortForward) {
        (**self).close(now, forward);
    }

    fn close_all(&mut self, now: BootTime, forwards: &[PortForward]) {
        (**self).close_all(now, forwards);
    }

    fn external_port(
        &self,
        now: BootTime,
        protocol: Protocol,
        internal: SocketAddrV4,
    ) -> Option<u16> {
        (**self).external_port(now, protocol, internal)
    }

    fn hold_peer(&mut self, now: BootTime, wish: &PeerWish) -> Result<PeerHeld, PathError> {
        (**self).hold_peer(now, wish)
    }

    fn let_go_of_peer(&mut self, now: BootTime, peer: &Peer, others: BootTime) {
        (**self).let_go_of_peer(now, peer, others);
    }

    fn peers(&self, now: BootTime) -> Vec<Peer> {
        (**self).peers(now)
    }

    fn wan_link(&self) -> WanLink {
        (**self).wan_link()
    }

    fn packets(&self) -> u64 {
        (**self).packets()
    }

    fn permit(&mut self, transit: bool) {
        (**self).permit(transit);
    }
}
