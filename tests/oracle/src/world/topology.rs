//! Few hosts with few ports.

use super::Rules;
use crate::reference::{Addresses, Timeouts};
use nat_common::link::Link;
use nat_common::session::Side;
use nat_common::settings::Settings;
use nat_common::time::NANOS_PER_SEC;
use nat_ebpf::host::packet::Peer;
use nat_ebpf::host::{HostTables, Network, NextHop};
use std::net::Ipv4Addr;

pub(super) const WAN: u8 = 0;
pub(super) const LAN: u8 = 1;
const LAN1: u8 = 2;

/// The external addresses; port forwards are on the first.
pub const EXTERNALS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(11, 22, 33, 1), Ipv4Addr::new(11, 22, 33, 4), Ipv4Addr::new(11, 22, 33, 3)];
const GATEWAY: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 9);
const CLIENTS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(192, 168, 77, 2),
    Ipv4Addr::new(192, 168, 77, 3),
    Ipv4Addr::new(192, 168, 78, 2),
];
const CLIENT_PORTS: [u16; 3] = [80, 5000, 5001];
/// Servers: one behind the gateway, one beside it.
const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(11, 22, 33, 10)];
const SERVER_PORTS: [u16; 2] = [53, 5000];

pub(super) const ADDRESSES: Addresses = Addresses {
    externals: EXTERNALS,
    routers: [Ipv4Addr::new(192, 168, 77, 1), Ipv4Addr::new(192, 168, 78, 1)],
};

/// Ports that the NAT may choose.
pub(super) const PORTS: (u16, u16) = (1024, 65_535);

/// Short, different from each other, and multiples of sixteen seconds: everything ends at whole ones.
pub(super) const TIMEOUTS: Timeouts =
    Timeouts { udp: 160, icmp: 64, tcp_established: 640, tcp_transitory: 128 };

pub(super) fn client(number: usize) -> Peer {
    let port = CLIENT_PORTS[number / CLIENTS.len() % CLIENT_PORTS.len()];
    (CLIENTS[number % CLIENTS.len()], port)
}

/// A client that something is forwarded to: the last one is everybody, where that may be.
pub(super) fn forwarded(number: usize, may_be_everybody: bool) -> Peer {
    let last = CLIENTS.len() * CLIENT_PORTS.len();
    if number == last && may_be_everybody { (Ipv4Addr::BROADCAST, 5000) } else { client(number) }
}

pub(super) fn server(number: usize) -> Peer {
    let port = SERVER_PORTS[number / SERVERS.len() % SERVER_PORTS.len()];
    (SERVERS[number % SERVERS.len()], port)
}

/// Sources that cannot be where they pretend to be.
pub(super) fn spoofed(number: usize) -> Peer {
    match number % 3 {
        0 => (EXTERNALS[number / 3 % 3], 5000),
        1 => client(number / 3),
        _ => (ADDRESSES.routers[0], 5000),
    }
}

pub(super) fn link_of(addr: Ipv4Addr) -> u8 {
    match addr.octets() {
        [192, 168, 77, _] => LAN,
        [192, 168, 78, _] => LAN1,
        _ => WAN,
    }
}

pub(crate) fn side_of(link: u8) -> Side {
    if link == WAN { Side::Wan } else { Side::Lan }
}

/// The link and the next hop to an address.
pub(super) fn next_hop(dst: Ipv4Addr) -> (u8, Ipv4Addr) {
    match (link_of(dst), dst.octets()) {
        (WAN, [11, 22, 33, _]) => (WAN, dst),
        (WAN, _) => (WAN, GATEWAY),
        (link, _) => (link, dst),
    }
}

pub(super) fn router_mac(link: u8) -> [u8; 6] {
    [2, 0, 0, link, 0xff, 1]
}

pub(super) fn neighbour_mac(link: u8, addr: Ipv4Addr) -> [u8; 6] {
    [2, 0, 0, link, 0, addr.octets()[3]]
}

/// The settings of a world.
pub(super) fn settings(rules: &Rules) -> Settings {
    Settings {
        pool_len: EXTERNALS.len() as u16,
        udp_timeout: TIMEOUTS.udp * NANOS_PER_SEC,
        icmp_timeout: TIMEOUTS.icmp * NANOS_PER_SEC,
        tcp_established_timeout: TIMEOUTS.tcp_established * NANOS_PER_SEC,
        tcp_transitory_timeout: TIMEOUTS.tcp_transitory * NANOS_PER_SEC,
        ..rules.settings()
    }
}

/// Tables without entries, beside what they know of the surroundings.
pub(crate) fn tables(seed: u64) -> HostTables {
    let mut network = Network::default();
    for (index, ifindex, side) in
        [(WAN, 11, Side::Wan), (LAN, 12, Side::Lan), (LAN1, 13, Side::Lan)]
    {
        network.set_link(index, Link::new(ifindex, router_mac(index), 1500, side));
    }
    network.add_route(Ipv4Addr::UNSPECIFIED, 0, NextHop::Gateway(WAN, GATEWAY.into()));
    for (link, router) in
        [(WAN, EXTERNALS[0]), (LAN, ADDRESSES.routers[0]), (LAN1, ADDRESSES.routers[1])]
    {
        let [a, b, c, _] = router.octets();
        network.add_route(router, 32, NextHop::Local);
        network.add_route(Ipv4Addr::new(a, b, c, 0), 24, NextHop::OnLink(link));
    }
    for addr in CLIENTS.into_iter().chain(SERVERS).chain([GATEWAY]) {
        let link = link_of(addr);
        network.add_neighbour(link, addr, neighbour_mac(link, addr));
    }
    for external in &EXTERNALS[1..] {
        network.add_route(*external, 32, NextHop::Local);
    }
    let mut tables = HostTables::new(network, seed);
    tables.set_externals(EXTERNALS.map(Into::into).to_vec(), Vec::new());
    tables
}
