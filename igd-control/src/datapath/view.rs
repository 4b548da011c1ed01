//! What the data path shows to an operator.

use super::network::Interface;
use nat_common::session::Side;
use std::net::{Ipv4Addr, SocketAddrV4};

/// One session.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SessionView {
    /// TCP, UDP or ICMP.
    pub protocol: &'static str,
    /// The internal client's address and port, or ICMP query identifier.
    pub internal: SocketAddrV4,
    /// The same as the remote host sees it.
    pub external: SocketAddrV4,
    /// The remote host; for a hairpin, the external address that was called.
    pub remote: SocketAddrV4,
    /// Who opened it: `inside`, `outside` or `hairpin`.
    pub opened: &'static str,
    /// TCP: `opening`, `established`, `closing` or `reset`; others: `-`.
    pub state: &'static str,
    /// Seconds until it ends if nothing more is sent.
    pub expires_in: u64,
}

/// An internal client.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ClientView {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its sessions: those that it has opened, and those by which it was called from outside.
    pub sessions: u32,
    /// External ports and identifiers that they hold, leased ones aside.
    pub ports: u32,
    /// New flows refused since it is known, because it has as many sessions as it may.
    pub over_sessions: u64,
    /// The same for external ports.
    pub over_ports: u64,
    /// The same for new sessions in a second.
    pub over_rate: u64,
}

/// One interface.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LinkView {
    /// Its name.
    pub name: String,
    /// `lan` or `wan`.
    pub side: &'static str,
    /// Its IPv4 addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// How the XDP program is attached: `native`, `generic` or `none`.
    pub mode: &'static str,
}

impl From<&Interface> for LinkView {
    fn from(interface: &Interface) -> Self {
        Self {
            name: interface.name.clone(),
            side: match interface.side {
                Side::Lan => "lan",
                Side::Wan => "wan",
            },
            addresses: interface.addresses.iter().map(|(addr, _)| *addr).collect(),
            mode: interface.xdp,
        }
    }
}
