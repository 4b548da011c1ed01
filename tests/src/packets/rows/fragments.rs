//! Packets in pieces (RFC 4787 REQ-14).

use super::forward_any;
use crate::packets::topology::{A, B, C, EXTERNAL, REMOTE, ROUTER, STRANGER};
use crate::packets::{Row, becomes, drops, passes, sends};
use nat_common::Counter::{
    DropFiltered, DropFragment, DropMalformed, DropUnmapped, HeldFragments, PassLocal,
    PassOtherRoute, SessionsCreated,
};
use nat_common::Protocol::{Tcp, Udp};
use nat_ebpf::host::packet::{Body, Checksum, Packet, Peer, flags, icmp};

const PIECES: [usize; 2] = [24, 48];

pub(super) fn rows() -> Vec<Row> {
    [in_order(), out_of_order(), router(), refused()].concat()
}

/// A packet of 100 bytes in three fragments, and the fragments that become of them.
fn pieces(packet: &Packet, src: Peer, dst: Peer) -> Vec<(Packet, Packet)> {
    let packet = Packet { fragment: 0, body: with_payload(&packet.body), ..packet.clone() };
    let mut translated = Packet { ttl: packet.ttl - 1, ..packet.clone() };
    translated.set_source(src);
    translated.set_destination(dst);
    packet.fragments(&PIECES).into_iter().zip(translated.fragments(&PIECES)).collect()
}

fn with_payload(body: &Body) -> Body {
    let mut body = body.clone();
    if let Body::Udp { payload, .. } | Body::Tcp { payload, .. } | Body::Icmp { payload, .. } =
        &mut body
    {
        *payload = (0..100).collect();
    }
    body
}

/// Two peers that talk through the NAT, and how the fragments of a packet look on each side.
fn in_order() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    let mut both_ways = Row::new("fragments_in_order_are_translated_both_ways");
    for (out, back) in [
        (Packet::udp(inside, server), Packet::udp(server, outside)),
        (Packet::tcp(inside, server, flags::SYN), Packet::tcp(server, outside, flags::ACK)),
    ] {
        for (piece, translated) in pieces(&out, outside, server) {
            both_ways = both_ways.lan(piece, becomes(translated));
        }
        for (piece, translated) in pieces(&back, server, inside) {
            both_ways = both_ways.wan(piece, becomes(translated));
        }
    }
    let mut ping = Row::new("a_ping_in_fragments_is_translated_both_ways");
    for (piece, translated) in pieces(&Packet::ping((A, 7), REMOTE), (EXTERNAL, 7), (REMOTE, 0)) {
        ping = ping.lan(piece, becomes(translated));
    }
    for (piece, translated) in pieces(&Packet::pong(REMOTE, (EXTERNAL, 7)), (REMOTE, 0), (A, 7)) {
        ping = ping.wan(piece, becomes(translated));
    }
    let web = (EXTERNAL, 8080);
    let mut forwarded = Row::new("fragments_come_in_by_a_forward")
        .open(forward_any(Udp, 8080, (B, 80), 3600))
        .open(forward_any(Tcp, 8080, (B, 80), 3600));
    for packet in [Packet::udp(server, web), Packet::tcp(server, web, flags::SYN)] {
        for (piece, translated) in pieces(&packet, server, (B, 80)) {
            forwarded = forwarded.wan(piece, becomes(translated));
        }
    }
    let mut hairpinned =
        Row::new("fragments_are_hairpinned").open(forward_any(Udp, 8080, (B, 80), 3600));
    for (piece, translated) in pieces(&Packet::udp((C, 6000), web), (EXTERNAL, 6000), (B, 80)) {
        hairpinned = hairpinned.lan1(piece, becomes(translated));
    }
    let mut unchecked = Row::new("a_missing_udp_checksum_stays_missing_in_fragments");
    let mut none = Packet::udp(inside, server);
    if let Body::Udp { checksum, .. } = &mut none.body {
        *checksum = Checksum::None;
    }
    for (piece, translated) in pieces(&none, outside, server) {
        unchecked = unchecked.lan(piece, becomes(translated));
    }
    vec![both_ways, ping, forwarded, hairpinned, unchecked]
}

fn out_of_order() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    let out = pieces(&Packet::udp(inside, server), outside, server);
    let back = pieces(&Packet::udp(server, outside), server, inside);
    let [(first, first_sent), (second, second_sent), (third, third_sent)] = &out[..] else {
        return Vec::new();
    };
    let [(first_in, first_got), (second_in, second_got), ..] = &back[..] else {
        return Vec::new();
    };
    let send = |packet: &Packet| becomes(packet.clone());
    vec![
        Row::new("fragments_before_the_first_one_wait_for_it")
            .lan(third.clone(), drops(HeldFragments))
            .lan(second.clone(), drops(HeldFragments))
            .counting(SessionsCreated, 0)
            .lan(first.clone(), send(first_sent))
            .lan(third.clone(), send(third_sent))
            .lan(second.clone(), send(second_sent)),
        Row::new("fragments_from_outside_wait_too_and_the_kernel_may_have_a_look")
            .lan(Packet::udp(inside, server), sends(outside, server))
            .wan(second_in.clone(), passes(PassLocal))
            .wan(first_in.clone(), send(first_got))
            .wan(second_in.clone(), send(second_got)),
        Row::new("the_first_fragment_counts_for_fifteen_seconds")
            .lan(first.clone(), send(first_sent))
            .wait(14)
            .lan(second.clone(), send(second_sent))
            .wait(2)
            .lan(second.clone(), drops(HeldFragments)),
        Row::new("what_waits_is_told_apart_by_its_identification")
            .lan(first.clone(), send(first_sent))
            .lan(Packet { id: 77, ..second.clone() }, drops(HeldFragments))
            .lan(second.clone(), send(second_sent)),
    ]
}

fn router() -> Vec<Row> {
    let mut to_router = Row::new("fragments_reach_the_router");
    let mut between = Row::new("fragments_between_the_lans_are_left_alone");
    for (packet, _) in pieces(&Packet::udp((REMOTE, 53), (EXTERNAL, 500)), (REMOTE, 53), (A, 1)) {
        to_router = to_router.wan(packet, passes(PassLocal));
    }
    for (packet, _) in pieces(&Packet::udp((A, 53), (ROUTER, 5000)), (A, 53), (A, 1)) {
        to_router = to_router.lan(packet, passes(PassLocal));
    }
    let mut ping = Packet::ping((REMOTE, 9000), EXTERNAL);
    if let Body::Icmp { kind, .. } = &mut ping.body {
        *kind = icmp::ECHO_REQUEST;
    }
    for (packet, _) in pieces(&ping, (REMOTE, 9000), (A, 0)) {
        to_router = to_router.wan(packet, passes(PassLocal));
    }
    for (packet, _) in pieces(&Packet::udp((A, 53), (C, 5000)), (A, 53), (A, 1)) {
        between = between.lan(packet, passes(PassOtherRoute));
    }
    vec![to_router, between]
}

fn refused() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    let cut = |fragment, packet: Packet| Packet { fragment, ..packet };
    let mut unmapped = Row::new("fragments_come_in_to_no_port_that_nobody_has_mapped");
    for (number, (piece, _)) in
        (0..).zip(pieces(&Packet::udp((STRANGER, 1), outside), (STRANGER, 1), inside))
    {
        unmapped =
            unmapped.wan(piece, if number == 0 { drops(DropUnmapped) } else { passes(PassLocal) });
    }
    let listed = nat_ebpf::host::Forward {
        remotes: vec![(REMOTE.into(), 3600)],
        ..super::forward(Udp, 5000, (B, 80))
    };
    let mut filtered = Row::new("fragments_are_filtered_by_their_first_one").open(listed);
    if let [(first, _), ..] =
        &pieces(&Packet::udp((STRANGER, 1), outside), (STRANGER, 1), inside)[..]
    {
        filtered = filtered.wan(first.clone(), drops(DropFiltered));
    }
    vec![
        unmapped,
        filtered,
        // RFC 1858, RFC 3128.
        Row::new("tiny_and_overlapping_tcp_fragments_are_dropped")
            .lan(Packet::tcp(inside, server, flags::SYN), sends(outside, server))
            .lan(
                Packet {
                    fragment: 0x2000,
                    body: Body::Other { protocol: 6, bytes: vec![0x13; 16] },
                    ..Packet::other(A, REMOTE, 6)
                },
                drops(DropMalformed),
            )
            .lan(cut(0x0001, Packet::other(A, REMOTE, 6)), drops(DropMalformed)),
        Row::new("icmp_errors_in_fragments_are_dropped").lan(
            cut(
                0x2000,
                Packet::icmp_error(A, REMOTE, icmp::UNREACHABLE, &Packet::udp(server, inside), 28),
            ),
            drops(DropFragment),
        ),
    ]
}
