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
    /// Notes that a forward is open; one that was open already keeps its rank. Tells whether it was
    /// the endpoint's way out and is not any more.
    pub(super) fn opened(&mut self, forward: &PortForward) -> bool {
        if !forward.leads() {
            return self.closed(forward);
        }
        let rank =
            self.opened.entry((forward.protocol, forward.external_port)).or_insert_with(|| {
                self.next += 1;
                self.next
            });
        let row = forward.protocol as u8;
        self.open.insert((row, forward.internal, *rank, forward.external_port));
        false
    }

    /// Notes that a forward is closed; tells whether it was open.
    pub(super) fn closed(&mut self, forward: &PortForward) -> bool {
        let port = forward.external_port;
        let Some(rank) = self.opened.remove(&(forward.protocol, port)) else { return false };
        self.open.remove(&(forward.protocol as u8, forward.internal, rank, port))
    }

    /// The external port that was opened first for an endpoint.
    pub(super) fn first(&self, protocol: Protocol, internal: SocketAddrV4) -> Option<u16> {
        let row = protocol as u8;
        let span = (row, internal, 0, 0)..=(row, internal, u64::MAX, u16::MAX);
        self.open.range(span).next().map(|(_, _, _, port)| *port)
    }
}
