//! What is not translated: left to the kernel, or dropped before it leaves untranslated.

use crate::packets::topology::{
    A, B, C, ELSEWHERE, EXTERNAL, GATEWAY, LAN, LAN1, REMOTE, ROUTER, ROUTER_ELSEWHERE, ROUTER1,
    UNREACHABLE, WAN, host_mac,
};
use crate::packets::{Row, drops, passes, sends};
use nat_common::Counter::{
    DropIcmp, DropProtocol, PassLocal, PassNoRoute, PassNotIpv4, PassOtherRoute,
};
use nat_ebpf::host::packet::{Body, Checksum, Packet, flags, icmp};
use std::net::Ipv4Addr;

pub(super) fn rows() -> Vec<Row> {
    [other_frames(), router(), other_protocols(), fragments()].concat()
}

fn other_frames() -> Vec<Row> {
    let arp = frame(&[0x08, 0x06], &[0, 1, 8, 0, 6, 4, 0, 1]);
    let ipv6 = frame(&[0x86, 0xdd], &[0x60, 0, 0, 0, 0, 0, 59, 64]);
    let packet = Packet::udp((A, 5000), (REMOTE, 53)).to_bytes();
    let tagged = frame(&[0x81, 0x00, 0, 7], packet.get(12..).unwrap_or_default());
    let spanning_tree = frame(&[0, 39], &[0x42, 0x42, 3, 0, 0]);
    [
        ("arp_passes", arp),
        ("ipv6_passes", ipv6),
        ("a_vlan_passes", tagged),
        ("frames_with_a_length_pass", spanning_tree),
    ]
    .into_iter()
    .map(|(name, frame)| {
        [LAN, LAN1, WAN]
            .into_iter()
            .fold(Row::new(name), |row, link| row.bytes(link, frame.clone(), passes(PassNotIpv4)))
    })
    .collect()
}

/// A broadcast frame.
fn frame(kind: &[u8], rest: &[u8]) -> Vec<u8> {
    [[0xff; 6].as_slice(), &host_mac(LAN, A), kind, rest, &[0; 40]].concat()
}

fn router() -> Vec<Row> {
    let multicast = Ipv4Addr::new(239, 255, 255, 250);
    let to_all = |packet| Packet { dst_mac: [0xff; 6], ..packet };
    vec![
        Row::new("packets_to_the_router_pass")
            .lan(Packet::udp((A, 5000), (ROUTER, 53)), passes(PassLocal))
            .lan(Packet::tcp((A, 5000), (ROUTER, 80), flags::SYN), passes(PassLocal))
            .lan(Packet::ping((A, 1), ROUTER), passes(PassLocal))
            .lan(Packet::udp((A, 5000), (ROUTER1, 53)), passes(PassLocal))
            .lan1(Packet::udp((C, 5000), (ROUTER_ELSEWHERE, 53)), passes(PassLocal)),
        Row::new("the_router_answers_pings_to_its_external_address")
            .lan(Packet::ping((A, 1), EXTERNAL), passes(PassLocal))
            .wan(Packet::ping((REMOTE, 1), EXTERNAL), passes(PassLocal)),
        Row::new("multicast_and_broadcast_pass")
            .lan(Packet::udp((A, 5000), (multicast, 1900)), passes(PassLocal))
            .lan(Packet::udp((A, 68), (Ipv4Addr::BROADCAST, 67)), passes(PassLocal))
            .lan(Packet::other(A, multicast, 2), passes(PassLocal))
            .wan(Packet::udp((GATEWAY, 5000), (multicast, 1900)), passes(PassLocal))
            .wan(Packet::udp((GATEWAY, 67), (Ipv4Addr::BROADCAST, 68)), passes(PassLocal)),
        Row::new("a_broadcast_to_one_s_own_network_passes")
            .lan(Packet::udp((A, 138), (Ipv4Addr::new(192, 168, 77, 255), 138)), passes(PassLocal))
            .lan(
                to_all(Packet::udp((A, 138), (Ipv4Addr::new(192, 168, 77, 255), 138))),
                passes(nat_common::Counter::PassOtherStation),
            ),
        Row::new("a_client_s_request_for_an_address_passes").lan(
            Packet {
                dst_mac: [0xff; 6],
                ..Packet::udp((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67))
            },
            passes(nat_common::Counter::PassOtherStation),
        ),
        Row::new("packets_between_lans_pass")
            .lan(Packet::udp((A, 5000), (C, 53)), passes(PassOtherRoute))
            .lan1(Packet::tcp((C, 5000), (B, 80), flags::SYN), passes(PassOtherRoute))
            .lan(Packet::udp((A, 5000), (B, 53)), passes(PassOtherRoute)),
        Row::new("packets_beyond_the_nat_s_links_pass")
            .lan(Packet::udp((A, 5000), (ELSEWHERE, 53)), passes(PassOtherRoute))
            .lan(Packet::other(A, ELSEWHERE, 47), passes(PassOtherRoute)),
        Row::new("packets_without_a_route_pass")
            .lan(Packet::udp((A, 5000), (UNREACHABLE, 53)), passes(PassNoRoute))
            .lan(Packet::other(A, UNREACHABLE, 47), passes(PassNoRoute)),
    ]
}

fn other_protocols() -> Vec<Row> {
    const GRE: u8 = 47;
    const ESP: u8 = 50;
    const SCTP: u8 = 132;
    const IPV6: u8 = 41;
    let mut out = Row::new("protocols_that_are_not_translated_do_not_go_out");
    let mut to_router = Row::new("protocols_that_are_not_translated_reach_the_router");
    for protocol in [GRE, ESP, SCTP, IPV6, 0, 255] {
        out = out.lan(Packet::other(A, REMOTE, protocol), drops(DropProtocol));
        to_router = to_router
            .wan(Packet::other(REMOTE, EXTERNAL, protocol), passes(PassLocal))
            .lan(Packet::other(A, ROUTER, protocol), passes(PassLocal));
    }
    vec![
        out,
        to_router,
        Row::new("icmp_other_than_pings_does_not_go_out")
            .lan(icmp_message(A, REMOTE, icmp::UNREACHABLE, 3), drops(DropIcmp))
            .lan(icmp_message(A, REMOTE, icmp::ECHO_REPLY, 0), drops(DropIcmp))
            .lan(icmp_message(A, REMOTE, icmp::ECHO_REQUEST, 1), drops(DropIcmp))
            .lan(icmp_message(A, REMOTE, 13, 0), drops(DropIcmp)),
        Row::new("icmp_other_than_pings_reaches_the_router")
            .lan(icmp_message(A, ROUTER, icmp::UNREACHABLE, 3), passes(PassLocal))
            .wan(icmp_message(GATEWAY, EXTERNAL, icmp::UNREACHABLE, 3), passes(PassLocal))
            .wan(icmp_message(GATEWAY, EXTERNAL, 13, 0), passes(PassLocal)),
    ]
}

fn fragments() -> Vec<Row> {
    let mut whole = Row::new("packets_that_may_or_may_not_be_fragmented_are_translated");
    for fragment in [0, 0x4000, 0x8000] {
        let packet = Packet { fragment, ..Packet::udp((A, 5000), (REMOTE, 53)) };
        whole = whole.lan(packet, sends((EXTERNAL, 5000), (REMOTE, 53)));
    }
    vec![whole]
}

fn icmp_message(src: Ipv4Addr, dst: Ipv4Addr, kind: u8, code: u8) -> Packet {
    let body = Body::Icmp {
        kind,
        code,
        id: 5000,
        sequence: 1,
        checksum: Checksum::Right,
        payload: vec![0x45; 28],
    };
    Packet::new(src, dst, body)
}
