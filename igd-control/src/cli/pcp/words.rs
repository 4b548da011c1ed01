//! Words of the command line: a server, a nonce, a filter.

use crate::wire::pcp::{Filter, Nonce, SERVER_PORT};
use ipnet::Ipv4Net;
use socket2::{Domain, Socket, Type};
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    str::FromStr,
};

/// How many leading bits an IPv4-mapped address has before those of the IPv4 address.
const MAPPED_PREFIX: u8 = 96;

/// A server's address, the interface by which it is reached if that is said, and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    address: IpAddr,
    interface: Option<String>,
    port: u16,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "an address, with an interface or a port or without".to_owned();
        let (address, port) = match (text.strip_prefix('['), text.rsplit_once(':')) {
            (Some(text), _) => match text.split_once(']').ok_or_else(wrong)? {
                (address, "") => (address, None),
                (address, port) => (address, Some(port.strip_prefix(':').ok_or_else(wrong)?)),
            },
            (None, Some((address, port))) if !address.contains(':') => (address, Some(port)),
            (None, _) => (text, None),
        };
        let (address, interface) = match address.split_once('%') {
            Some((_, "")) => return Err(wrong()),
            Some((address, interface)) => (address, Some(interface.to_owned())),
            None => (address, None),
        };
        let address = address.parse().map_err(|_| wrong())?;
        let port = port.map_or(Ok(SERVER_PORT), str::parse).map_err(|_| wrong())?;
        Ok(Self { address, interface, port })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, &self.interface) {
            (IpAddr::V6(address), Some(interface)) => {
                write!(f, "[{address}%{interface}]:{}", self.port)
            }
            (address, _) => SocketAddr::new(address, self.port).fmt(f),
        }
    }
}

impl From<Ipv4Addr> for Server {
    /// The server of a gateway.
    fn from(gateway: Ipv4Addr) -> Self {
        Self { address: gateway.into(), interface: None, port: SERVER_PORT }
    }
}

impl Server {
    /// A socket that leads there, and to nobody else.
    pub(super) fn socket(&self) -> io::Result<UdpSocket> {
        let domain = Domain::for_address(SocketAddr::new(self.address, self.port));
        let socket = Socket::new(domain, Type::DGRAM, Some(socket2::Protocol::UDP))?;
        if let Some(interface) = &self.interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        socket.connect(&SocketAddr::new(self.address, self.port).into())?;
        Ok(socket.into())
    }
}

/// A nonce in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NonceArg(pub(super) Nonce);

impl FromStr for NonceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "24 hexadecimal digits".to_owned();
        let digits = text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits).ok_or_else(wrong)?;
        let [_, _, _, _, nonce @ ..] = number.to_be_bytes();
        Ok(Self(Nonce(nonce)))
    }
}

/// A filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FilterArg(pub(super) Filter);

impl FromStr for FilterArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "0.0.0.0/none" {
            let address = Ipv4Addr::UNSPECIFIED.into();
            return Ok(Self(Filter { prefix: 0, port: 0, address }));
        }
        let wrong = || "a network, and a port if only that one: 192.0.2.0/24:53".to_owned();
        let (network, port) = match text.split_once(':') {
            Some((network, port)) => (network, port.parse().map_err(|_| wrong())?),
            None => (text, 0),
        };
        let network: Ipv4Net = match network.parse::<Ipv4Addr>() {
            Ok(host) => host.into(),
            Err(_) => network.parse().map_err(|_| wrong())?,
        };
        let prefix = MAPPED_PREFIX + network.prefix_len();
        Ok(Self(Filter { prefix, port, address: network.network().into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_command_line_are_read() {
        let nonce: NonceArg = "000102030405060708090a0b".parse().unwrap();
        assert_eq!(nonce.0.0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(format!("{:?}", nonce.0), "000102030405060708090a0b");
        for wrong in ["", "0", "+00102030405060708090a0b", "000102030405060708090a0b0c"] {
            assert!(wrong.parse::<NonceArg>().is_err(), "{wrong}");
        }
        let filter = |text: &str| text.parse::<FilterArg>().map(|it| it.0);
        let of = |prefix, port, address: &str| {
            Ok(Filter { prefix, port, address: address.parse().unwrap() })
        };
        assert_eq!(filter("192.0.2.9/24:53"), of(120, 53, "192.0.2.0"));
        assert_eq!(filter("192.0.2.9"), of(128, 0, "192.0.2.9"));
        assert_eq!(filter("0.0.0.0/none"), of(0, 0, "0.0.0.0"));
        assert!(filter("192.0.2.0/33").is_err() && filter("192.0.2.0/24:x").is_err());
        let server = |text: &str| text.parse::<Server>().map(|it| it.to_string());
        assert_eq!(server("192.0.2.1"), Ok("192.0.2.1:5351".to_owned()));
        assert_eq!(server("192.0.2.1:77"), Ok("192.0.2.1:77".to_owned()));
        for (text, told) in [
            ("2001:db8::1", "[2001:db8::1]:5351"),
            ("[2001:db8::1]:77", "[2001:db8::1]:77"),
            ("fe80::1%wan0", "[fe80::1%wan0]:5351"),
            ("[fe80::1%wan0]", "[fe80::1%wan0]:5351"),
        ] {
            assert_eq!(server(text), Ok(told.to_owned()));
        }
        for wrong in ["x", "fe80::1%", "[::1", "[::1]77", "192.0.2.1:x", ""] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }
}
