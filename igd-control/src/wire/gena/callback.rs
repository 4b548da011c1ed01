//! CALLBACK: where a subscriber wants its events.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// URLs of one subscription that are looked at. One is what control points send.
pub const MAX_CALLBACKS: usize = 4;
/// The longest URL that is read, bytes.
const MAX_URL: usize = 512;
/// The longest header that is read, bytes.
const MAX_HEADER: usize = 4_096;

/// A delivery URL: HTTP to an address. Host names are not resolved: whoever chooses what a name means
/// would choose where the gateway sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Callback {
    /// The host.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl Callback {
    /// The value of HOST.
    pub fn host(&self) -> String {
        SocketAddr::new(self.address, self.port).to_string()
    }

    fn parse(url: &str) -> Option<Self> {
        if url.len() > MAX_URL || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let (scheme, rest) = url.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let (address, port) = parse_authority(authority)?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { address, port, path })
    }
}

/// An address, and a port that is not 0. Whoever writes a user's name here means something else.
fn parse_authority(authority: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        // A zone (RFC 6874) is the subscriber's name for its own link.
        let address = address.split_once('%').map_or(address, |(address, _)| address);
        (IpAddr::V6(address.parse::<Ipv6Addr>().ok()?), port)
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        let (address, port) = authority.split_at_checked(end)?;
        (IpAddr::V4(address.parse().ok()?), port)
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => 80,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
        _ => return None,
    };
    (port != 0).then_some((address, port))
}

/// The URLs of a CALLBACK header in their order, each in angle brackets. What cannot be sent to is left
/// out.
pub fn callbacks(header: &str) -> Vec<Callback> {
    if header.len() > MAX_HEADER {
        return Vec::new();
    }
    let parts = header.split('<').skip(1);
    let urls = parts.filter_map(|part| part.split_once('>')).map(|(url, _)| url.trim());
    urls.take(MAX_CALLBACKS).filter_map(Callback::parse).collect()
}
