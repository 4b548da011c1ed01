//! Addresses of LAN interfaces: where the gateway is met, and by whom.

mod client;
mod subnet;

pub use client::Client;
pub use subnet::Subnet;

use std::{
    fmt,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    sync::Arc,
};

/// An address that a LAN interface has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LanAddress {
    /// The interface's name.
    pub interface: Arc<str>,
    /// Its index.
    pub index: u32,
    /// The address, and the network whose hosts may come by it.
    pub subnet: Subnet,
}

impl LanAddress {
    /// The address.
    pub fn ip(&self) -> IpAddr {
        self.subnet.address
    }

    /// A port of this address, as a socket is bound to it.
    pub fn at(&self, port: u16) -> SocketAddr {
        self.endpoint(self.ip(), port)
    }

    /// A port of a host of this network. A link-local address means something on its link only.
    pub fn endpoint(&self, host: IpAddr, port: u16) -> SocketAddr {
        match host {
            IpAddr::V4(_) => SocketAddr::new(host, port),
            IpAddr::V6(host) => {
                let scope = if host.is_unicast_link_local() { self.index } else { 0 };
                SocketAddrV6::new(host, port, 0, scope).into()
            }
        }
    }

    /// The host and port in a URL. The zone of a link-local address is the reader's own matter
    /// (RFC 4007 11.2), so it is left out.
    pub fn authority(&self, port: u16) -> String {
        SocketAddr::new(self.ip(), port).to_string()
    }
}

impl fmt::Display for LanAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.ip(), self.interface)
    }
}

/// An address for tests.
#[cfg(test)]
pub(crate) fn lan_address(address: &str, prefix: u8) -> LanAddress {
    let subnet = Subnet { address: address.parse().unwrap(), prefix };
    LanAddress { interface: "lan0".into(), index: 3, subnet }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_addresses_are_bound_to_their_link_and_told_without_it() {
        let link = lan_address("fe80::1", 64);
        assert_eq!(link.at(5000).to_string(), "[fe80::1%3]:5000");
        assert_eq!(link.authority(5000), "[fe80::1]:5000");
        assert_eq!(lan_address("fd00::1", 64).at(5000).to_string(), "[fd00::1]:5000");
        assert_eq!(lan_address("192.0.2.1", 24).authority(5000), "192.0.2.1:5000");
    }
}
