//! The rows, by what they are about.

mod broadcast;
mod client_limits;
mod disabled;
mod egress;
mod expiry;
mod filtering;
mod filtering_modes;
mod forward_filters;
mod forwards;
mod fragments;
mod hairpin;
mod hairpin_icmp;
mod icmp_errors;
mod limits;
mod malformed;
mod mapping;
mod mss;
mod passing;
mod peer;
mod pool;
mod translation;
mod vlan;
mod wildcard;

use super::Row;
use nat_common::ports::Endpoint;
use nat_common::{NetAddr, NetPort, Protocol};
use nat_ebpf::host::Forward;
use nat_ebpf::host::packet::Peer;

/// All rows.
pub fn all() -> Vec<Row> {
    [
        translation::rows(),
        vlan::rows(),
        mapping::rows(),
        filtering::rows(),
        filtering_modes::rows(),
        forwards::rows(),
        forward_filters::rows(),
        disabled::rows(),
        wildcard::rows(),
        broadcast::rows(),
        hairpin::rows(),
        hairpin_icmp::rows(),
        icmp_errors::rows(),
        egress::rows(),
        expiry::rows(),
        mss::rows(),
        passing::rows(),
        peer::rows(),
        fragments::rows(),
        pool::rows(),
        limits::rows(),
        client_limits::rows(),
        malformed::rows(),
    ]
    .concat()
}

fn endpoint((addr, port): Peer) -> Endpoint {
    Endpoint { addr: NetAddr::from(addr), port: NetPort::new(port) }
}

/// A port forward without anybody whom it lets in.
fn forward(protocol: Protocol, port: u16, client: Peer) -> Forward {
    let client = endpoint(client);
    let (filters, remotes) = (Vec::new(), Vec::new());
    Forward { protocol, port, client, any_remote: None, filters, remotes, disabled: None }
}

/// A disabled port forward, which holds its port.
fn disabled(protocol: Protocol, port: u16, client: Peer, seconds: u64) -> Forward {
    Forward { disabled: Some(seconds), ..forward(protocol, port, client) }
}

/// A port forward that lets everybody in.
fn forward_any(protocol: Protocol, port: u16, client: Peer, seconds: u64) -> Forward {
    Forward { any_remote: Some(seconds), ..forward(protocol, port, client) }
}
