//! Which external port an internal endpoint gets.

use super::endpoint;
use crate::packets::topology::{A, B, C, EXTERNAL, ON_LINK, REMOTE, STRANGER};
use crate::packets::{CHOSEN, Change, Row, drops, portless, sends};
use nat_common::Counter::{DropUnmapped, MappingsCreated, SessionsCreated};
use nat_common::Protocol::{Icmp, Tcp, Udp};
use nat_ebpf::host::packet::{Packet, flags};
use std::net::Ipv4Addr;

/// Longer than any row takes.
const LONG: u64 = 100_000;

/// Two remote hosts.
const SERVERS: [(Ipv4Addr, u16); 2] = [(REMOTE, 53), (STRANGER, 80)];

pub(super) fn rows() -> Vec<Row> {
    let chosen = (EXTERNAL, CHOSEN);
    let [server, other] = SERVERS;
    vec![
        Row::new("one_endpoint_has_one_external_port_whoever_it_talks_to")
            .lan(Packet::udp((A, 5000), server), sends((EXTERNAL, 5000), server))
            .counting(MappingsCreated, 1)
            .lan(Packet::udp((A, 5000), other), sends((EXTERNAL, 5000), other))
            .counting(MappingsCreated, 0)
            .counting(SessionsCreated, 1)
            .lan(Packet::udp((A, 5000), (ON_LINK, 1)), sends((EXTERNAL, 5000), (ON_LINK, 1)))
            .counting(MappingsCreated, 0)
            .wan(Packet::udp(other, (EXTERNAL, 5000)), sends(other, (A, 5000)))
            .wan(Packet::udp(server, (EXTERNAL, 5000)), sends(server, (A, 5000))),
        Row::new("one_endpoint_has_one_external_port_also_when_it_is_not_its_own")
            .change(Change::TakePort(Udp, 5000, endpoint((B, 1)), LONG))
            .lan(Packet::udp((A, 5000), server), sends(chosen, server))
            .lan(Packet::udp((A, 5000), other), sends(chosen, other))
            .wan(Packet::udp(other, chosen), sends(other, (A, 5000)))
            .wan(Packet::udp(server, chosen), sends(server, (A, 5000))),
        Row::new("a_taken_even_port_is_replaced_by_an_even_one")
            .change(Change::TakePort(Tcp, 5000, endpoint((B, 1)), LONG))
            .lan(Packet::tcp((A, 5000), server, flags::SYN), sends(chosen, server))
            .wan(Packet::tcp(server, chosen, flags::SYN | flags::ACK), sends(server, (A, 5000))),
        Row::new("a_taken_odd_port_is_replaced_by_an_odd_one")
            .change(Change::TakePort(Udp, 5001, endpoint((B, 1)), LONG))
            .lan(Packet::udp((A, 5001), server), sends(chosen, server))
            .wan(Packet::udp(server, chosen), sends(server, (A, 5001))),
        Row::new("a_taken_ping_identifier_is_replaced")
            .change(Change::TakePort(Icmp, 5000, endpoint((B, 1)), LONG))
            .lan(Packet::ping((A, 5000), REMOTE), sends(chosen, portless(REMOTE)))
            .wan(Packet::pong(REMOTE, chosen), sends(portless(REMOTE), (A, 5000))),
        Row::new("two_clients_with_one_internal_port_have_two_external_ones")
            .lan(Packet::udp((A, 5000), server), sends((EXTERNAL, 5000), server))
            .lan(Packet::udp((B, 5000), server), sends(chosen, server))
            .wan(Packet::udp(server, (EXTERNAL, 5000)), sends(server, (A, 5000)))
            .wan(Packet::udp(server, chosen), sends(server, (B, 5000))),
        Row::new("clients_of_two_lans_with_one_internal_port_have_two_external_ones")
            .lan(Packet::tcp((A, 5000), server, flags::SYN), sends((EXTERNAL, 5000), server))
            .lan1(Packet::tcp((C, 5000), server, flags::SYN), sends(chosen, server))
            .wan(Packet::tcp(server, chosen, flags::SYN | flags::ACK), sends(server, (C, 5000))),
        Row::new("a_port_that_is_taken_for_another_protocol_is_free")
            .change(Change::TakePort(Tcp, 5000, endpoint((B, 1)), LONG))
            .lan(Packet::udp((A, 5000), server), sends((EXTERNAL, 5000), server)),
        Row::new("a_port_below_the_nat_s_range_is_not_kept")
            .lan(Packet::udp((A, 123), server), sends(chosen, server))
            .wan(Packet::udp(server, chosen), sends(server, (A, 123))),
        Row::new("a_port_in_the_range_s_hole_is_not_kept")
            .settings(|settings| {
                settings.ports.hole_first = 32_768;
                settings.ports.hole_last = 60_999;
            })
            .lan(Packet::udp((A, 40_000), server), sends(chosen, server))
            .lan(Packet::udp((A, 61_000), server), sends((EXTERNAL, 61_000), server)),
        Row::new("ports_are_chosen_when_they_are_not_to_be_kept")
            .settings(|settings| settings.preserve_ports = 0)
            .lan(Packet::udp((A, 5000), server), sends(chosen, server))
            .lan(Packet::udp((A, 5000), other), sends(chosen, other)),
        Row::new("a_service_of_the_router_keeps_its_udp_port")
            .change(Change::OpenSocket(Udp, Ipv4Addr::UNSPECIFIED, 5000))
            .lan(Packet::udp((A, 5000), server), sends(chosen, server)),
        Row::new("a_service_of_the_router_keeps_its_tcp_port")
            .change(Change::OpenSocket(Tcp, EXTERNAL, 5000))
            .lan(Packet::tcp((A, 5000), server, flags::SYN), sends(chosen, server)),
        Row::new("an_endpoint_gets_its_former_port_back")
            .change(Change::TakePort(Udp, 5000, endpoint((B, 1)), 1_000))
            .lan(Packet::udp((A, 5000), server), sends(chosen, server))
            .wait(2_000)
            .wan(Packet::udp(server, chosen), drops(DropUnmapped))
            .lan(Packet::udp((A, 5000), server), sends(chosen, server))
            .counting(MappingsCreated, 1),
        Row::new("an_endpoint_gets_another_port_when_its_former_one_is_taken")
            .lan(Packet::udp((A, 5000), server), sends((EXTERNAL, 5000), server))
            .wait(2_000)
            .change(Change::TakePort(Udp, 5000, endpoint((B, 1)), LONG))
            .lan(Packet::udp((A, 5000), server), sends(chosen, server))
            .wan(Packet::udp(server, (EXTERNAL, 5000)), sends(server, (B, 1)))
            .wan(Packet::udp(server, chosen), sends(server, (A, 5000))),
    ]
}
