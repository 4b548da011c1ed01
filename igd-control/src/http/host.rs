//! Whom a request was meant for: the guard against web pages that turn a browser on the gateway.

use hyper::{HeaderMap, Uri, header, http::uri::Authority};
use std::net::IpAddr;

/// Whether `uri` and the Host header name `local`, or nobody.
///
/// A page whose own host name was rebound to the gateway's address would pass the browser's
/// same-origin check; its requests still carry that name. Control points come by the LOCATION that
/// SSDP gave them, which holds the address.
pub(super) fn is_for(local: IpAddr, uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let named = hosts.next().map(|host| host.to_str().unwrap_or(""));
    hosts.next().is_none()
        && named
            .into_iter()
            .chain(uri.authority().map(Authority::as_str))
            .all(|host| address(host.trim()) == Some(local))
}

/// The address of `address`, `address:port`, `[address]` or `[address]:port`.
fn address(host: &str) -> Option<IpAddr> {
    let (address, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            // The client's own name for the link (RFC 6874) says nothing here.
            let address = address.split_once('%').map_or(address, |(address, _)| address);
            (IpAddr::V6(address.parse().ok()?), port)
        }
        None => {
            let (address, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            (IpAddr::V4(address.parse().ok()?), port)
        }
    };
    let port = port.strip_prefix(':').unwrap_or(if port.is_empty() { "0" } else { "" });
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    (digits && port.parse::<u16>().is_ok()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_are_hosts() {
        for (host, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:5000", Some("192.0.2.1")),
            ("[fe80::1]", Some("fe80::1")),
            ("[fe80::1]:5000", Some("fe80::1")),
            ("[fe80::1%eth0]:5000", Some("fe80::1")),
            ("[fe80::1%25eth0]:5000", Some("fe80::1")),
        ] {
            assert_eq!(address(host), expected.map(|text| text.parse().unwrap()), "{host}");
        }
        for host in [
            "",
            ":5000",
            "evil.example",
            "192.0.2.1.evil.example",
            "192.0.2.1:",
            "192.0.2.1:x",
            "192.0.2.1:+1",
            "192.0.2.1:65536",
            "192.0.2.1:1:1",
            "fe80::1",
            "[fe80::1",
            "[]:1",
            "[192.0.2.1]",
            "user@192.0.2.1",
        ] {
            assert_eq!(address(host), None, "{host}");
        }
    }
}
