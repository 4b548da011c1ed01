//! Whom a request was meant for: the guard against web pages that turn a browser on the gateway.

use hyper::{HeaderMap, Uri, header, http::uri::Authority};
use std::net::Ipv4Addr;

/// Whether `uri` and the Host header name `local`, or nobody.
///
/// A page whose own host name was rebound to the gateway's address would pass the browser's
/// same-origin check; its requests still carry that name. Control points come by the LOCATION that
/// SSDP gave them, which holds the address.
pub(super) fn is_for(local: Ipv4Addr, uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let named = hosts.next().map(|host| host.to_str().unwrap_or(""));
    hosts.next().is_none()
        && named.into_iter().chain(uri.authority().map(Authority::as_str)).all(|host| {
            let (address, port) = host.split_once(':').unwrap_or((host, "0"));
            address.parse() == Ok(local) && port.parse::<u16>().is_ok()
        })
}
