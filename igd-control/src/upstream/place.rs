//! Where a server is.

use crate::wire::pcp::SERVER_PORT;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::str::FromStr;

/// Longest name of an interface, bytes.
const INTERFACE: usize = 15;

/// The address of a server, as somebody has written it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// The address of a host.
    pub address: IpAddr,
    /// The interface by which one of IPv6 is reached: `%wan0` behind it.
    pub zone: Option<String>,
}

impl FromStr for ServerAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, zone) = match text.split_once('%') {
            Some((address, zone)) => (address, Some(zone)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| "it is no address")?;
        let address = address.to_canonical();
        let is_odd = |c: char| c == '/' || c.is_whitespace() || c.is_control();
        if zone
            .is_some_and(|zone| zone.is_empty() || zone.len() > INTERFACE || zone.contains(is_odd))
        {
            return Err("what is behind % is no interface");
        }
        if zone.is_some() && address.is_ipv4() {
            return Err("addresses of IPv4 have no interface");
        }
        if !is_host(address) {
            return Err("it is no address of a host");
        }
        Ok(Self { address, zone: zone.map(str::to_owned) })
    }
}

impl From<IpAddr> for ServerAddress {
    fn from(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), zone: None }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        match &self.zone {
            Some(zone) => write!(f, "%{zone}"),
            None => Ok(()),
        }
    }
}

/// Whether somebody else may have it.
fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            first != 0 && first != 127 && first < 224
        }
        IpAddr::V6(address) => {
            !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
        }
    }
}

/// A server, and from where it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPlace {
    /// By IPv4, from our own address.
    V4(Ipv4Addr),
    /// By IPv6.
    V6 {
        /// The server.
        server: SocketAddrV6,
        /// From this address.
        own: Ipv6Addr,
    },
}

impl ServerPlace {
    /// The server.
    pub const fn server(&self) -> SocketAddr {
        match *self {
            Self::V4(address) => SocketAddr::V4(SocketAddrV4::new(address, SERVER_PORT)),
            Self::V6 { server, .. } => SocketAddr::V6(server),
        }
    }

    /// From where it is asked, if this is our own address of IPv4.
    pub const fn client(&self, own: Ipv4Addr) -> IpAddr {
        match *self {
            Self::V4(_) => IpAddr::V4(own),
            Self::V6 { own, .. } => IpAddr::V6(own),
        }
    }
}

/// The addresses at which a server may be, of which one is used: the first, and after one that does not
/// answer the next (RFC 7488).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    addresses: Vec<ServerAddress>,
    at: usize,
}

impl Candidates {
    /// They are these from now on. The one in use stays in use if it is among them.
    pub fn are(&mut self, addresses: Vec<ServerAddress>) {
        let same = self.current().and_then(|current| addresses.iter().position(|it| it == current));
        *self = Self { addresses, at: same.unwrap_or(0) };
    }

    /// The one in use.
    pub fn current(&self) -> Option<&ServerAddress> {
        self.addresses.get(self.at)
    }

    /// Another one is in use from now on, if there is one that will do.
    pub fn leave(&mut self, will_do: impl Fn(&ServerAddress) -> bool) {
        let count = self.addresses.len();
        let others = (1..count).map(|step| (self.at + step) % count);
        let next = others.into_iter().find(|at| self.addresses.get(*at).is_some_and(&will_do));
        self.at = next.unwrap_or(self.at);
    }
}

/// The gateway of the default route over an interface, in what `/proc/net/route` holds.
pub fn default_gateway(routes: &str, interface: &str) -> Option<Ipv4Addr> {
    // RTF_UP and RTF_GATEWAY.
    const GATEWAY: u32 = 3;
    let route = |line: &str| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        let mut number = || u32::from_str_radix(fields.next()?, 16).ok();
        let (destination, gateway, flags) = (number()?, number()?, number()?);
        let metric = line.split_whitespace().nth(6)?.parse::<u32>().ok()?;
        let mask = u32::from_str_radix(line.split_whitespace().nth(7)?, 16).ok()?;
        let fits = name == interface && destination == 0 && mask == 0 && flags & GATEWAY == GATEWAY;
        // As they stand in memory.
        fits.then(|| (metric, Ipv4Addr::from(gateway.to_ne_bytes())))
    };
    routes.lines().filter_map(route).min().map(|(_, gateway)| gateway)
}

/// The addresses of hosts in a text, in their order, as a DHCP client may have left them of option 158 of
/// DHCP, or 86 of DHCPv6 (RFC 7291).
pub fn addresses(text: &str) -> Vec<ServerAddress> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '%' | '-' | '_');
    let mut found: Vec<ServerAddress> = Vec::new();
    for word in text.split(|c: char| !is_part(c)) {
        let whole = word.parse().ok();
        // As in `server:192.0.2.1`.
        let part = || word.split(':').find_map(|part| part.parse().ok());
        if let Some(address) = whole.or_else(part).filter(|address| !found.contains(address)) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wan0\t00000000\t0121160B\t0003\t0\t0\t100\t00000000\t0\t0\t0
wan0\t00000000\t0921160B\t0003\t0\t0\t0\t00000000\t0\t0\t0
wan1\t00000000\t0A21160B\t0003\t0\t0\t0\t00000000\t0\t0\t0
wan0\t0021160B\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_default_gateway_is_that_of_the_best_default_route() {
        let gateway = default_gateway(ROUTES, "wan0");
        assert_eq!(gateway, Some(Ipv4Addr::new(11, 22, 33, 9)));
        assert_eq!(default_gateway(ROUTES, "wan2"), None);
        assert_eq!(default_gateway("wan0\t0", "wan0"), None);
    }

    fn address(text: &str) -> ServerAddress {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_found_among_other_words() {
        let found = |text| addresses(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        let lease = "OPTION_158=\"192.0.2.1 192.0.2.2\"\nOPTION_86='2001:db8::1'\n";
        assert_eq!(found(lease), ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        assert_eq!(found("{\"pcp\": [\"fe80::1%wan0\", \"fe80::1%wan0\"]}"), ["fe80::1%wan0"]);
        assert_eq!(found("server:192.0.2.1, at 12:30:05"), ["192.0.2.1"]);
        assert_eq!(found("[2001:db8::1] ::ffff:192.0.2.1"), ["2001:db8::1", "192.0.2.1"]);
        for none in ["none", "::", "::1 127.0.0.1", "0.0.0.0 224.0.0.1 ff02::1", "fe80::1%"] {
            assert!(addresses(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn only_addresses_of_ipv6_have_an_interface() {
        assert_eq!(address("fe80::1%wan0").zone.as_deref(), Some("wan0"));
        assert_eq!(address("2001:db8::1").zone, None);
        for wrong in ["192.0.2.1%wan0", "fe80::1%", "fe80::1%a/b", "fe80::1%sixteen-letters-", "x"]
        {
            assert!(wrong.parse::<ServerAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_does_not_answer_is_left_for_the_next_that_will_do() {
        let list = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(address);
        let mut candidates = Candidates::default();
        candidates.leave(|_| true);
        assert_eq!(candidates.current(), None);
        candidates.are(list.to_vec());
        assert_eq!(candidates.current(), Some(&list[0]));
        candidates.leave(|it| it.address.is_ipv6());
        assert_eq!(candidates.current(), Some(&list[2]));
        candidates.are(list[1..].to_vec());
        assert_eq!(candidates.current(), Some(&list[2]), "still there");
        candidates.leave(|_| true);
        assert_eq!(candidates.current(), Some(&list[1]));
        candidates.leave(|_| false);
        assert_eq!(candidates.current(), Some(&list[1]));
        candidates.are(list[..1].to_vec());
        assert_eq!(candidates.current(), Some(&list[0]));
    }
}
