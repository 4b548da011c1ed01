//! ICMP errors about packets of sessions (RFC 5508 REQ-3 to REQ-6).

use super::forward_any;
use crate::packets::topology::{A, B, EXTERNAL, GATEWAY, REMOTE, STRANGER};
use crate::packets::{Row, becomes, drops, passes, portless, sends};
use nat_common::Counter::{
    DropDisconnected, DropIcmp, DropTtl, DropUnmapped, IcmpErrors, PassLocal,
};
use nat_common::Protocol::{Tcp, Udp};
use nat_ebpf::host::packet::{Body, Checksum, Packet, flags, icmp};

/// Bytes that every quotation has: the IP header and eight more.
const LEAST: usize = 28;
/// All of a packet.
const WHOLE: usize = 1500;

pub(super) fn rows() -> Vec<Row> {
    [from_outside(), of_every_kind(), from_inside(), limits(), harmless()].concat()
}

/// A row in which this packet goes out, and an error about it comes back with so much of it.
fn answered(name: &'static str, packet: &Packet, seen: &Packet, len: usize) -> Row {
    let error = |dst, quoted| Packet::icmp_error(GATEWAY, dst, icmp::TIME_EXCEEDED, quoted, len);
    Row::new(name)
        .lan(packet.clone(), becomes(one_hop_on(seen)))
        .wan(error(EXTERNAL, seen), becomes(one_hop_on(&error(A, packet))))
        .counting(IcmpErrors, 1)
}

fn one_hop_on(packet: &Packet) -> Packet {
    Packet { ttl: packet.ttl - 1, ..packet.clone() }
}

fn from_outside() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    let udp = |src| Packet::udp(src, server);
    let tcp = |src| Packet::tcp(src, server, flags::SYN);
    let ping = |src| Packet::ping(src, REMOTE);
    let bare = |src| without_checksum(udp(src));
    let long = |src| Packet { options: vec![1; 40], ..udp(src) };
    vec![
        answered("an_error_about_udp_comes_back", &udp(inside), &udp(outside), WHOLE),
        answered("a_short_error_about_udp_comes_back", &udp(inside), &udp(outside), LEAST),
        answered("an_error_about_udp_without_checksum", &bare(inside), &bare(outside), LEAST),
        answered("an_error_about_tcp_comes_back", &tcp(inside), &tcp(outside), WHOLE),
        answered("a_short_error_about_tcp_comes_back", &tcp(inside), &tcp(outside), LEAST),
        answered("an_error_that_ends_before_tcp_s_checksum", &tcp(inside), &tcp(outside), 36),
        answered("an_error_that_ends_with_tcp_s_checksum", &tcp(inside), &tcp(outside), 38),
        answered("an_error_about_a_ping_comes_back", &ping(inside), &ping(outside), LEAST),
        answered("an_error_about_ip_options_comes_back", &long(inside), &long(outside), WHOLE),
    ]
}

/// RFC 5508 REQ-4 b: type, code and the word after the checksum stay, the next hop's MTU (RFC 1191) and
/// the pointer of a parameter problem among it.
fn of_every_kind() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    let (client, web) = ((A, 80), (EXTERNAL, 8080));
    let mut comes_back = Row::new("an_error_of_every_kind_comes_back")
        .lan(Packet::udp(inside, server), sends(outside, server));
    let mut goes_out = Row::new("an_error_of_every_kind_goes_out")
        .open(forward_any(Udp, 8080, client, 3600))
        .wan(Packet::udp(server, web), sends(server, client));
    for (number, code) in [(icmp::UNREACHABLE, 3), (icmp::UNREACHABLE, 4), (4, 0), (11, 1), (12, 2)]
    {
        let error = |src, dst, quoted: &Packet| {
            let mut error = Packet::icmp_error(src, dst, number, quoted, WHOLE);
            if let Body::Icmp { code: place, id, .. } = &mut error.body {
                (*place, *id) = (code, 0x0700);
            }
            error
        };
        comes_back = comes_back.wan(
            error(GATEWAY, EXTERNAL, &Packet::udp(outside, server)),
            becomes(one_hop_on(&error(GATEWAY, A, &Packet::udp(inside, server)))),
        );
        goes_out = goes_out.lan(
            error(A, REMOTE, &Packet::udp(server, client)),
            becomes(one_hop_on(&error(EXTERNAL, REMOTE, &Packet::udp(server, web)))),
        );
    }
    vec![comes_back, goes_out]
}

fn from_inside() -> Vec<Row> {
    let (server, web, client) = ((REMOTE, 53), (EXTERNAL, 8080), (A, 80));
    let refusal =
        |src, dst, quoted: &Packet| Packet::icmp_error(src, dst, icmp::UNREACHABLE, quoted, LEAST);
    let refused = |name, src| {
        let (called, seen) = (Packet::udp(server, web), Packet::udp(server, client));
        Row::new(name)
            .open(forward_any(Udp, 8080, client, 3600))
            .wan(called.clone(), sends(server, client))
            .lan(
                refusal(src, REMOTE, &seen),
                becomes(one_hop_on(&refusal(EXTERNAL, REMOTE, &called))),
            )
            .counting(IcmpErrors, 1)
    };
    let (caller, caller_seen) = ((B, 6000), (EXTERNAL, 6000));
    vec![
        refused("a_client_s_refusal_goes_out_from_the_external_address", A),
        refused("a_refusal_by_another_host_of_the_lan_does_so_too", B),
        Row::new("a_refusal_reaches_a_client_that_calls_by_the_external_address")
            .open(forward_any(Tcp, 8080, client, 3600))
            .lan(Packet::tcp(caller, web, flags::SYN), sends(caller_seen, client))
            .lan(
                refusal(A, EXTERNAL, &Packet::tcp(caller_seen, client, flags::SYN)),
                becomes(one_hop_on(&refusal(EXTERNAL, B, &Packet::tcp(caller, web, flags::SYN)))),
            ),
    ]
}

fn limits() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    let about = |quoted: &Packet, len| -> Packet {
        Packet::icmp_error(GATEWAY, EXTERNAL, icmp::UNREACHABLE, quoted, len)
    };
    let sent = Packet::udp(outside, server);
    let open = |name| Row::new(name).lan(Packet::udp(inside, server), sends(outside, server));
    let kind = |kind| Packet::icmp_error(GATEWAY, EXTERNAL, kind, &sent, LEAST);
    vec![
        Row::new("an_error_about_no_session_reaches_the_router")
            .wan(about(&sent, LEAST), passes(PassLocal)),
        Row::new("an_error_about_no_session_does_not_go_out").lan(
            Packet::icmp_error(A, REMOTE, icmp::UNREACHABLE, &Packet::udp(server, inside), LEAST),
            drops(DropIcmp),
        ),
        open("an_error_to_somebody_else_than_the_quoted_sender_does_not_go_out").lan(
            Packet::icmp_error(A, STRANGER, icmp::UNREACHABLE, &Packet::udp(server, inside), LEAST),
            drops(DropIcmp),
        ),
        open("errors_that_quote_too_little_reach_the_router")
            .wan(about(&sent, LEAST - 1), passes(PassLocal))
            .wan(about(&sent, 20), passes(PassLocal))
            .wan(about(&sent, 0), passes(PassLocal)),
        open("errors_that_quote_something_else_reach_the_router")
            .wan(about(&Packet::udp((EXTERNAL, 5001), server), LEAST), passes(PassLocal))
            .wan(about(&Packet::udp(outside, (STRANGER, 53)), LEAST), passes(PassLocal))
            .wan(about(&Packet::udp(server, outside), LEAST), passes(PassLocal))
            .wan(about(&Packet::other(EXTERNAL, REMOTE, 47), WHOLE), passes(PassLocal))
            .wan(about(&Packet { fragment: 7, ..sent.clone() }, LEAST), passes(PassLocal)),
        open("messages_that_are_no_errors_reach_the_router")
            .wan(kind(5), passes(PassLocal))
            .wan(kind(13), passes(PassLocal)),
        open("an_error_ends_no_session_and_prolongs_none")
            .wait(200)
            .wan(
                about(&sent, LEAST),
                becomes(one_hop_on(&Packet::icmp_error(
                    GATEWAY,
                    A,
                    icmp::UNREACHABLE,
                    &Packet::udp(inside, server),
                    LEAST,
                ))),
            )
            .wan(Packet::udp(server, outside), sends(server, inside))
            .wait(120)
            .wan(Packet::udp(server, outside), drops(DropUnmapped)),
        open("an_error_whose_hops_are_used_up_is_dropped")
            .wan(Packet { ttl: 1, ..about(&sent, LEAST) }, drops(DropTtl)),
        open("no_error_is_translated_while_disconnected")
            .settings(|settings| settings.connected = 0)
            .wan(about(&sent, LEAST), drops(DropDisconnected)),
        Row::new("an_answered_ping_is_no_error")
            .lan(Packet::ping(inside, REMOTE), sends(outside, portless(REMOTE)))
            .wan(Packet::pong(REMOTE, outside), sends(portless(REMOTE), inside))
            .counting(IcmpErrors, 0),
    ]
}

/// Errors neither end nor prolong anything (RFC 5382 REQ-10, RFC 5508 REQ-6).
fn harmless() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    let error =
        |dst, quoted: &Packet| Packet::icmp_error(GATEWAY, dst, icmp::UNREACHABLE, quoted, LEAST);
    let about = |sent: &Packet, seen: &Packet| {
        (error(EXTERNAL, seen), becomes(one_hop_on(&error(A, sent))))
    };
    let ack = |src, dst| Packet::tcp(src, dst, flags::ACK);
    let (connection, told) = about(&ack(inside, server), &ack(outside, server));
    let (ping, told_ping) = about(&Packet::ping(inside, REMOTE), &Packet::ping(outside, REMOTE));
    let wrong = |mut packet: Packet| {
        if let Body::Icmp { checksum, .. } = &mut packet.body {
            *checksum = Checksum::Off(0x0101);
        }
        packet
    };
    let (sent, seen) = (Packet::udp(inside, server), Packet::udp(outside, server));
    vec![
        Row::new("an_error_ends_no_connection")
            .lan(Packet::tcp(inside, server, flags::SYN), sends(outside, server))
            .wan(Packet::tcp(server, outside, flags::SYN | flags::ACK), sends(server, inside))
            .lan(ack(inside, server), sends(outside, server))
            .wan(connection, told)
            .wait(7400)
            .wan(ack(server, outside), sends(server, inside)),
        Row::new("an_error_about_a_ping_prolongs_nothing")
            .lan(Packet::ping(inside, REMOTE), sends(outside, portless(REMOTE)))
            .wait(40)
            .wan(ping, told_ping)
            .wan(Packet::pong(REMOTE, outside), sends(portless(REMOTE), inside))
            .wait(30)
            .wan(Packet::pong(REMOTE, outside), passes(PassLocal)),
        Row::new("an_error_with_a_wrong_checksum_is_not_mended")
            .lan(sent.clone(), sends(outside, server))
            .wan(wrong(error(EXTERNAL, &seen)), becomes(one_hop_on(&wrong(error(A, &sent))))),
    ]
}

fn without_checksum(mut packet: Packet) -> Packet {
    if let Body::Udp { checksum, .. } = &mut packet.body {
        *checksum = Checksum::None;
    }
    packet
}
