//! Which external ports are open for an internal endpoint, the one opened first in front.

use nat_common::Protocol;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddrV4;

use super::path::PortForward;

/// The open forwards by internal endpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Endpoints {
    /// (protocol, internal endpoint, order of opening, external port).
    open: BTreeSet<(u8, SocketAddrV4, u64, u16)>,
    opened: HashMap<(Protocol, u16), u64>,
    next: u64,
}

impl Endpoints {
    /// Notes that a forward is open; one that was open already keeps its rank.
    pub(super) fn opened(&mut self, forward: &PortForward) {
        let rank =
            self.opened.entry((forward.protocol, forward.external_port)).or_insert_with(|| {
                self.next += 1;
                self.next
            });
        let row = forward.protocol as u8;
        self.open.insert((row, forward.internal, *rank, forward.external_port));
    }

    /// Notes that a forward is closed.
    pub(super) fn closed(&mut self, forward: &PortForward) {
        let port = forward.external_port;
        if let Some(rank) = self.opened.remove(&(forward.protocol, port)) {
            self.open.remove(&(forward.protocol as u8, forward.internal, rank, port));
        }
    }

    /// The external port that was opened first for an endpoint.
    pub(super) fn first(&self, protocol: Protocol, internal: SocketAddrV4) -> Option<u16> {
        let row = protocol as u8;
        let span = (row, internal, 0, 0)..=(row, internal, u64::MAX, u16::MAX);
        self.open.range(span).next().map(|(_, _, _, port)| *port)
    }
}
