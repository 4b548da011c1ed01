//! What the kernel itself sends from the WAN.

use crate::packets::topology::{A, B, ELSEWHERE, EXTERNAL, OTHER_EXTERNAL, REMOTE};
use crate::packets::{Row, drops, leaves, passes, portless, sends};
use nat_common::Counter::{DropLeak, EgressPackets, PassTooBig};
use nat_ebpf::host::packet::{Body, Packet, Peer, flags, icmp};
use std::net::Ipv4Addr;

pub(super) fn rows() -> Vec<Row> {
    [stopped(), fragments(), reports()].concat()
}

fn stopped() -> Vec<Row> {
    let (inside, server) = ((A, 5000), (REMOTE, 53));
    let own = |src| Packet::udp((src, 68), server);
    vec![
        Row::new("the_kernel_sends_nobody_else_s_source")
            .kernel(Packet::udp(inside, server), drops(DropLeak))
            .kernel(Packet::tcp((B, 80), server, flags::SYN), drops(DropLeak))
            .kernel(Packet::other(A, REMOTE, 47), drops(DropLeak))
            .kernel(Packet::ping((ELSEWHERE, 1), REMOTE), drops(DropLeak)),
        Row::new("the_router_s_own_packets_leave_as_they_are")
            .kernel(own(EXTERNAL), leaves(own(EXTERNAL)))
            .counting(EgressPackets, 0)
            .kernel(own(OTHER_EXTERNAL), leaves(own(OTHER_EXTERNAL)))
            .kernel(own(Ipv4Addr::UNSPECIFIED), leaves(own(Ipv4Addr::UNSPECIFIED))),
        Row::new("what_has_a_session_leaves_translated")
            .lan(Packet::tcp(inside, server, flags::SYN), sends((EXTERNAL, 5000), server))
            .kernel(
                Packet::tcp(inside, server, flags::ACK),
                leaves(Packet::tcp((EXTERNAL, 5000), server, flags::ACK)),
            )
            .counting(EgressPackets, 1)
            .settings(|settings| settings.connected = 0)
            .kernel(Packet::tcp(inside, server, flags::ACK), drops(DropLeak)),
        Row::new("a_void_session_translates_nothing_on_the_way_out")
            .lan(Packet::udp(inside, server), sends((EXTERNAL, 5000), server))
            .settings(|settings| settings.nat_generation += 1)
            .kernel(Packet::udp(inside, server), drops(DropLeak)),
    ]
}

/// RFC 4787 REQ-13.
fn fragments() -> Vec<Row> {
    let mut rows = Vec::new();
    let large = |body: Body, src: Peer| {
        let mut body = body;
        if let Body::Udp { payload, .. } | Body::Tcp { payload, .. } | Body::Icmp { payload, .. } =
            &mut body
        {
            *payload = (0..1600_u16).map(|number| number as u8).collect();
        }
        let mut packet = Packet { fragment: 0, ..Packet::new(A, REMOTE, body) };
        packet.set_source(src);
        packet
    };
    for (name, packet) in [
        ("the_kernel_s_fragments_of_udp_leave_translated", Packet::udp((A, 5000), (REMOTE, 53))),
        (
            "the_kernel_s_fragments_of_tcp_leave_translated",
            Packet::tcp((A, 5000), (REMOTE, 53), flags::SYN),
        ),
        ("the_kernel_s_fragments_of_a_ping_leave_translated", Packet::ping((A, 5000), REMOTE)),
    ] {
        let sent = large(packet.body.clone(), (A, 5000));
        let translated = large(packet.body, (EXTERNAL, 5000));
        let cuts = [1480];
        let mut row = Row::new(name).lan(sent.clone(), passes(PassTooBig));
        for (piece, translated) in
            sent.fragments(&cuts).into_iter().zip(translated.fragments(&cuts))
        {
            row = row.kernel(piece, leaves(translated)).counting(EgressPackets, 1);
        }
        rows.push(row);
    }
    let sent = large(Packet::udp((A, 5000), (REMOTE, 53)).body, (A, 5000));
    let mut stray = Row::new("a_later_fragment_of_the_kernel_s_does_not_leave_by_itself");
    if let Some(last) = sent.fragments(&[1480]).last() {
        stray = stray.kernel(last.clone(), drops(DropLeak));
    }
    rows.push(stray);
    rows
}

/// RFC 5508 REQ-3.
fn reports() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    let about = |packet: &Packet, len| {
        Packet::icmp_error(EXTERNAL, REMOTE, icmp::TIME_EXCEEDED, packet, len)
    };
    let mut rows = Vec::new();
    for (name, out, sent, got) in [
        (
            "the_kernel_s_report_on_udp_quotes_what_was_sent",
            Packet::udp(inside, server),
            Packet::udp(server, outside),
            Packet::udp(server, inside),
        ),
        (
            "the_kernel_s_report_on_tcp_quotes_what_was_sent",
            Packet::tcp(inside, server, flags::SYN),
            Packet::tcp(server, outside, flags::ACK),
            Packet::tcp(server, inside, flags::ACK),
        ),
        (
            "the_kernel_s_report_on_a_pong_quotes_what_was_sent",
            Packet::ping(inside, REMOTE),
            Packet::pong(REMOTE, outside),
            Packet::pong(REMOTE, inside),
        ),
    ] {
        let seen = if name.contains("pong") { portless(REMOTE) } else { server };
        let mut row = Row::new(name).lan(out, sends(outside, seen));
        for len in [28, 60] {
            row = row.kernel(about(&got, len), leaves(about(&sent, len)));
        }
        rows.push(row);
    }
    let foreign = about(&Packet::udp(server, (ELSEWHERE, 1)), 28);
    rows.push(
        Row::new("the_kernel_s_report_on_what_has_no_session_leaves_as_it_is")
            .kernel(foreign.clone(), leaves(foreign)),
    );
    rows
}
