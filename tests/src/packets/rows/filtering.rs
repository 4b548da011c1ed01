//! What comes in by itself, and what pretends to be somebody else.

use super::endpoint;
use crate::packets::topology::{
    A, B, EXTERNAL, LAN, ON_LINK, OTHER_EXTERNAL, REMOTE, ROUTER, STRANGER, WAN,
};
use crate::packets::{Change, Row, drops, passes, portless, sends};
use nat_common::Counter::{
    DropDisconnected, DropMalformed, DropNoSession, DropSpoofed, DropUnmapped, PassLocal,
    PassOtherRoute, SessionsCreated,
};
use nat_common::Protocol::{Tcp, Udp};
use nat_ebpf::host::packet::{Packet, flags};
use std::net::Ipv4Addr;

pub(super) fn rows() -> Vec<Row> {
    [unsolicited(), spoofed(), states()].concat()
}

fn unsolicited() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    let stranger = (STRANGER, 1234);
    vec![
        Row::new("nothing_comes_in_to_a_port_that_nobody_has_mapped")
            .wan(Packet::udp(stranger, outside), drops(DropUnmapped))
            .wan(Packet::tcp(stranger, outside, flags::SYN), drops(DropUnmapped)),
        Row::new("a_mapped_udp_port_lets_in_every_remote_endpoint")
            .lan(Packet::udp(inside, server), sends(outside, server))
            .wan(Packet::udp(stranger, outside), sends(stranger, inside))
            .counting(SessionsCreated, 1)
            .wan(Packet::udp((REMOTE, 54), outside), sends((REMOTE, 54), inside))
            .lan(Packet::udp(inside, stranger), sends(outside, stranger))
            .counting(SessionsCreated, 0),
        Row::new("a_mapped_tcp_port_lets_in_every_remote_endpoint")
            .lan(Packet::tcp(inside, server, flags::SYN), sends(outside, server))
            .wan(Packet::tcp(stranger, outside, flags::SYN), sends(stranger, inside))
            .lan(Packet::tcp(inside, stranger, flags::SYN | flags::ACK), sends(outside, stranger)),
        // RFC 5382 REQ-2 and REQ-4: no answer that would end the other side's attempt.
        Row::new("a_syn_that_comes_too_early_hinders_no_simultaneous_open")
            .wan(Packet::tcp(server, outside, flags::SYN), drops(DropUnmapped))
            .lan(Packet::tcp(inside, server, flags::SYN), sends(outside, server))
            .wan(Packet::tcp(server, outside, flags::SYN), sends(server, inside))
            .lan(Packet::tcp(inside, server, flags::SYN | flags::ACK), sends(outside, server))
            .wan(Packet::tcp(server, outside, flags::SYN | flags::ACK), sends(server, inside))
            .lan(Packet::tcp(inside, server, flags::ACK), sends(outside, server))
            .wait(7_000)
            .wan(Packet::tcp(server, outside, flags::ACK), sends(server, inside)),
        Row::new("a_mapping_of_one_protocol_lets_in_no_other")
            .lan(Packet::udp(inside, server), sends(outside, server))
            .wan(Packet::tcp(server, outside, flags::SYN), drops(DropUnmapped)),
        Row::new("an_answer_to_a_ping_that_nobody_has_sent_is_the_router_s")
            .wan(Packet::pong(REMOTE, outside), passes(PassLocal)),
        Row::new("a_service_of_the_router_is_reached")
            .change(Change::OpenSocket(Udp, Ipv4Addr::UNSPECIFIED, 5000))
            .change(Change::OpenSocket(Tcp, EXTERNAL, 5000))
            .wan(Packet::udp(stranger, outside), passes(PassLocal))
            .wan(Packet::tcp(stranger, outside, flags::SYN), passes(PassLocal)),
        Row::new("ports_beyond_the_nat_s_range_are_the_router_s")
            .wan(Packet::tcp(stranger, (EXTERNAL, 22), flags::SYN), passes(PassLocal))
            .wan(Packet::udp(stranger, (EXTERNAL, 123)), passes(PassLocal)),
        Row::new("the_router_s_other_addresses_are_its_own")
            .wan(Packet::udp(stranger, (OTHER_EXTERNAL, 5000)), passes(PassLocal))
            .lan(Packet::udp(inside, (OTHER_EXTERNAL, 5000)), passes(PassLocal)),
        Row::new("a_reset_opens_nothing_from_outside")
            .lan(Packet::tcp(inside, server, flags::SYN), sends(outside, server))
            .wan(Packet::tcp(stranger, outside, flags::RST), drops(DropNoSession)),
        Row::new("a_reset_opens_nothing_from_inside")
            .lan(Packet::tcp(inside, server, flags::RST), drops(DropNoSession))
            .wan(Packet::tcp(server, outside, flags::SYN), drops(DropUnmapped)),
    ]
}

fn spoofed() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    vec![
        Row::new("a_lan_packet_with_an_external_source_is_dropped")
            .lan(Packet::udp(outside, server), drops(DropSpoofed))
            .lan(Packet::tcp((OTHER_EXTERNAL, 1), server, flags::SYN), drops(DropSpoofed))
            .lan(Packet::ping(outside, REMOTE), drops(DropSpoofed)),
        Row::new("a_wan_packet_to_an_internal_address_is_dropped")
            .lan(Packet::udp(inside, server), sends(outside, server))
            .wan(Packet::udp(server, inside), drops(DropUnmapped))
            .wan(Packet::tcp(server, (B, 80), flags::SYN), drops(DropUnmapped))
            .wan(Packet::other(REMOTE, A, 47), drops(DropUnmapped))
            .wan(Packet::pong(REMOTE, inside), drops(DropUnmapped)),
        Row::new("a_wan_packet_with_an_internal_source_finds_no_session_of_the_lan")
            .lan(Packet::udp(inside, server), sends(outside, server))
            .wan(Packet::udp(inside, server), passes(PassOtherRoute)),
        Row::new("a_wan_packet_with_an_internal_source_does_not_come_in")
            .lan(Packet::udp(inside, server), sends(outside, server))
            .wan(Packet::udp((B, 53), outside), drops(DropSpoofed))
            .wan(Packet::udp((ROUTER, 53), outside), drops(DropSpoofed))
            .wan(Packet::udp(inside, outside), drops(DropSpoofed)),
        Row::new("a_wan_packet_with_an_external_source_does_not_come_in")
            .lan(Packet::udp(inside, server), sends(outside, server))
            .wan(Packet::udp((EXTERNAL, 53), outside), drops(DropSpoofed))
            .wan(Packet::udp((OTHER_EXTERNAL, 53), outside), drops(DropSpoofed)),
        Row::new("sources_that_cannot_be_are_dropped")
            .change(Change::TakePort(Udp, 5000, endpoint(inside), 100_000))
            .lan(Packet::udp((Ipv4Addr::UNSPECIFIED, 5000), server), drops(DropMalformed))
            .lan(Packet::udp((Ipv4Addr::LOCALHOST, 5000), server), drops(DropMalformed))
            .lan(Packet::udp((Ipv4Addr::new(224, 0, 0, 1), 1), server), drops(DropMalformed))
            .wan(Packet::udp((Ipv4Addr::BROADCAST, 1), outside), drops(DropMalformed))
            .wan(Packet::udp((Ipv4Addr::LOCALHOST, 1), outside), drops(DropMalformed))
            .wan(Packet::udp((Ipv4Addr::UNSPECIFIED, 1), outside), drops(DropMalformed)),
        Row::new("frames_to_another_station_open_nothing")
            .packet(LAN, to_station(Packet::udp(inside, server), 0x77), Vec::new(), station())
            .packet(WAN, to_station(Packet::udp(server, outside), 0x77), Vec::new(), station())
            .wan(Packet::udp(server, outside), drops(DropUnmapped)),
    ]
}

fn states() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    vec![
        Row::new("nothing_is_translated_while_disconnected")
            .lan(Packet::udp(inside, server), sends(outside, server))
            .settings(|settings| settings.connected = 0)
            .lan(Packet::udp(inside, server), drops(DropDisconnected))
            .wan(Packet::udp(server, outside), drops(DropDisconnected))
            .lan(Packet::tcp((B, 6000), server, flags::SYN), drops(DropDisconnected))
            .wan(Packet::udp((STRANGER, 1), outside), drops(DropDisconnected))
            .lan(Packet::ping((B, 1), Ipv4Addr::new(192, 168, 77, 1)), passes(PassLocal))
            .settings(|settings| settings.connected = 1)
            .wan(Packet::udp(server, outside), sends(server, inside)),
        Row::new("a_new_generation_voids_all_sessions")
            .lan(Packet::tcp(inside, server, flags::SYN), sends(outside, server))
            .lan(Packet::ping((A, 7), REMOTE), sends((EXTERNAL, 7), portless(REMOTE)))
            .settings(|settings| settings.nat_generation += 1)
            .wan(Packet::tcp(server, outside, flags::RST), drops(DropNoSession))
            .lan(Packet::tcp(inside, server, flags::RST), drops(DropNoSession))
            .lan(Packet::tcp(inside, server, flags::ACK), sends(outside, server))
            .counting(SessionsCreated, 1),
        Row::new("a_host_on_the_wan_s_own_network_is_not_routed_through")
            .wan(Packet::udp(server, (ON_LINK, 1)), passes(PassOtherRoute)),
    ]
}

fn station() -> crate::packets::Expect {
    passes(nat_common::Counter::PassOtherStation)
}

fn to_station(packet: Packet, last: u8) -> Packet {
    Packet { dst_mac: [2, 0, 0, 0, 0, last], ..packet }
}
