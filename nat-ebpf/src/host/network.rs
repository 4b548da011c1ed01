//! The router's surroundings as the kernel would know them: links, routes, neighbours, sockets.

use crate::verdict::{Route, Way};
use nat_common::link::Link;
use nat_common::{NetAddr, NetPort, Protocol};
use std::collections::HashMap;

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// By a link, straight to the destination.
    OnLink(u8),
    /// By a link, to this gateway.
    Gateway(u8, NetAddr),
    /// By an interface that is not the NAT's.
    Elsewhere,
    /// To the router itself, or a broadcast.
    Local,
    /// Nowhere.
    Unreachable,
}

/// A socket of the router itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalSocket {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its own address; unspecified: all of the router's.
    pub addr: NetAddr,
    /// Its own port.
    pub port: NetPort,
    /// To whom it is connected, if it is.
    pub remote: Option<(NetAddr, NetPort)>,
}

/// Links, routes, neighbours and sockets.
#[derive(Clone, Debug, Default)]
pub struct Network {
    links: Vec<Option<Link>>,
    routes: Vec<(NetAddr, u32, NextHop)>,
    neighbours: HashMap<(u8, NetAddr), [u16; 3]>,
    sockets: Vec<LocalSocket>,
}

impl Network {
    /// States a link at its index.
    pub fn set_link(&mut self, index: u8, link: Link) {
        let index = usize::from(index);
        if self.links.len() <= index {
            self.links.resize(index + 1, None);
        }
        if let Some(entry) = self.links.get_mut(index) {
            *entry = Some(link);
        }
    }

    /// Adds a route to the `prefix_len` first bits of `prefix`.
    pub fn add_route(&mut self, prefix: impl Into<NetAddr>, prefix_len: u32, next_hop: NextHop) {
        self.routes.push((prefix.into(), prefix_len, next_hop));
    }

    /// Tells a neighbour's MAC address, in the order of transmission.
    pub fn add_neighbour(&mut self, link: u8, addr: impl Into<NetAddr>, mac: [u8; 6]) {
        // A link holds its MAC address in the same form.
        let mac = Link::new(0, mac, 0, nat_common::session::Side::Lan).mac;
        self.neighbours.insert((link, addr.into()), mac);
    }

    /// Opens a socket of the router.
    pub fn open_socket(&mut self, socket: LocalSocket) {
        self.sockets.push(socket);
    }

    /// A link.
    pub fn link(&self, index: u8) -> Option<&Link> {
        self.links.get(usize::from(index))?.as_ref()
    }

    /// The way to `dst`, by the longest prefix.
    pub fn route(&self, dst: NetAddr) -> Route {
        let matching = self.routes.iter().filter(|(prefix, len, _)| {
            let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
            (number(*prefix) ^ number(dst)) & mask == 0
        });
        let hop = matching.max_by_key(|(_, len, _)| *len).map(|(_, _, hop)| *hop);
        Route::new(match hop {
            None | Some(NextHop::Unreachable) => Way::None,
            Some(NextHop::Local) => Way::Local,
            Some(NextHop::Elsewhere) => Way::Elsewhere,
            Some(NextHop::OnLink(link)) => self.neighbour(link, dst),
            Some(NextHop::Gateway(link, gateway)) => self.neighbour(link, gateway),
        })
    }

    fn neighbour(&self, link: u8, addr: NetAddr) -> Way {
        match self.neighbours.get(&(link, addr)) {
            Some(mac) => Way::Link { link, mac: *mac },
            None => Way::Unresolved { link },
        }
    }

    /// Whether a socket of the router would receive from `remote` on `local`.
    pub fn has_socket(
        &self,
        protocol: Protocol,
        local: (NetAddr, NetPort),
        remote: (NetAddr, NetPort),
    ) -> bool {
        self.sockets.iter().any(|socket| {
            socket.protocol == protocol
                && (socket.addr == local.0 || socket.addr.is_unspecified())
                && socket.port == local.1
                && socket.remote.is_none_or(|connected| connected == remote)
        })
    }
}

fn number(addr: NetAddr) -> u32 {
    u32::from_be_bytes(addr.octets())
}
