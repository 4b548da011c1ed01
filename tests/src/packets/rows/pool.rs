//! Several external addresses (RFC 4787 REQ-2).

use super::forward_any;
use crate::packets::topology::{A, B, C, EXTERNAL, OTHER_EXTERNAL, REMOTE, STRANGER};
use crate::packets::{CHOSEN, Change, Row, drops, passes, portless, sends};
use nat_common::Counter::{DropNoPort, DropSpoofed, DropUnmapped, PassLocal};
use nat_common::NetAddr;
use nat_common::Protocol::Tcp;
use nat_ebpf::host::packet::{Packet, flags};
use nat_ebpf::mapping::pool_index;
use std::net::Ipv4Addr;

/// The addresses; port forwards are on the first.
const POOL: [Ipv4Addr; 3] = [EXTERNAL, Ipv4Addr::new(11, 22, 33, 3), Ipv4Addr::new(11, 22, 33, 4)];

/// The external address of a client.
fn of(client: Ipv4Addr) -> Ipv4Addr {
    let index = pool_index(NetAddr::from(client), 3);
    POOL.get(index as usize).copied().unwrap_or(EXTERNAL)
}

/// An external address that is not the client's.
fn not_of(client: Ipv4Addr) -> Ipv4Addr {
    POOL.into_iter().find(|addr| *addr != of(client)).unwrap_or(EXTERNAL)
}

pub(super) fn rows() -> Vec<Row> {
    let server = (REMOTE, 53);
    let new = |name| Row::new(name).change(Change::Pool(&POOL));
    vec![
        new("a_client_has_one_external_address_for_all_flows_and_protocols")
            .lan(Packet::udp((A, 5000), server), sends((of(A), 5000), server))
            .lan(Packet::udp((A, 5001), (STRANGER, 1)), sends((of(A), 5001), (STRANGER, 1)))
            .lan(Packet::tcp((A, 5000), server, flags::SYN), sends((of(A), 5000), server))
            .lan(Packet::ping((A, 77), REMOTE), sends((of(A), 77), portless(REMOTE)))
            .lan(Packet::udp((B, 5000), server), sends((of(B), 5000), server))
            .lan1(Packet::udp((C, 5000), server), sends((of(C), 5000), server))
            .wan(Packet::udp(server, (of(A), 5000)), sends(server, (A, 5000)))
            .wan(Packet::pong(REMOTE, (of(A), 77)), sends(portless(REMOTE), (A, 77))),
        new("the_same_port_of_another_external_address_lets_nobody_in")
            .lan(Packet::udp((A, 5000), server), sends((of(A), 5000), server))
            .wan(Packet::udp(server, (not_of(A), 5000)), drops(DropUnmapped))
            .wan(Packet::udp(server, (OTHER_EXTERNAL, 5000)), passes(PassLocal)),
        new("clients_call_each_other_by_their_external_addresses")
            .lan(Packet::udp((B, 7000), server), sends((of(B), 7000), server))
            .lan1(Packet::udp((C, 6000), (of(B), 7000)), sends((of(C), 6000), (B, 7000)))
            .lan(Packet::udp((B, 7000), (of(C), 6000)), sends((of(B), 7000), (C, 6000)))
            .lan(Packet::udp((A, 5000), (of(B), 7000)), sends((of(A), 5000), (B, 7000)))
            .lan(Packet::udp((A, 5000), (not_of(B), 7000)), drops(DropUnmapped)),
        new("no_address_of_the_pool_is_a_source_from_elsewhere")
            .lan(Packet::udp((POOL[2], 5000), server), drops(DropSpoofed))
            .lan(Packet::udp((A, 5000), server), sends((of(A), 5000), server))
            .wan(Packet::udp((POOL[2], 53), (of(A), 5000)), drops(DropSpoofed)),
        new("a_forward_is_on_the_first_address_and_its_client_leaves_from_there")
            .open(forward_any(Tcp, 8080, (A, 80), 3600))
            .wan(Packet::tcp(server, (EXTERNAL, 8080), flags::SYN), sends(server, (A, 80)))
            .wan(Packet::tcp(server, (POOL[1], 8080), flags::SYN), drops(DropUnmapped))
            .lan(
                Packet::tcp((A, 80), (STRANGER, 1), flags::SYN),
                sends((EXTERNAL, 8080), (STRANGER, 1)),
            )
            .lan(Packet::tcp((A, 81), server, flags::SYN), sends((of(A), CHOSEN), server)),
        new("a_client_whose_address_has_no_free_port_gets_none_from_another")
            .settings(|settings| (settings.ports.first, settings.ports.last) = (2000, 2001))
            .lan(Packet::udp((A, 2000), server), sends((of(A), 2000), server))
            .lan(Packet::udp((A, 2001), server), sends((of(A), 2001), server))
            .lan(Packet::udp((A, 2002), server), drops(DropNoPort)),
    ]
}
