//! What translation changes in a packet, and what it leaves alone.

use crate::packets::topology::{
    A, B, C, EXTERNAL, GATEWAY, ON_LINK, REMOTE, SILENT, SILENT_REMOTE,
};
use crate::packets::{Row, passes, passes_translated, portless, resolves, sends};
use nat_common::Counter::{PassTooBig, PassTtl, RouteLookups, SessionsCreated};
use nat_ebpf::host::packet::{Body, Checksum, Packet, Peer, flags};

pub(super) fn rows() -> Vec<Row> {
    let inside = (A, 5000);
    let outside = (EXTERNAL, 5000);
    let server = (REMOTE, 53);
    let out = Packet::udp(inside, server);
    let back = Packet::udp(server, outside);
    vec![
        Row::new("udp_goes_out_and_its_answer_comes_back")
            .lan(out.clone(), sends(outside, server))
            .counting(SessionsCreated, 1)
            .wan(back.clone(), sends(server, inside))
            .counting(SessionsCreated, 0)
            .lan(out.clone(), sends(outside, server))
            .counting(SessionsCreated, 0),
        Row::new("tcp_goes_out_and_its_answer_comes_back")
            .lan(Packet::tcp(inside, server, flags::SYN), sends(outside, server))
            .counting(SessionsCreated, 1)
            .wan(Packet::tcp(server, outside, flags::SYN | flags::ACK), sends(server, inside))
            .lan(Packet::tcp(inside, server, flags::ACK), sends(outside, server))
            .counting(SessionsCreated, 0),
        Row::new("a_ping_goes_out_and_its_answer_comes_back")
            .lan(Packet::ping((A, 0x4242), REMOTE), sends((EXTERNAL, 0x4242), portless(REMOTE)))
            .counting(SessionsCreated, 1)
            .wan(Packet::pong(REMOTE, (EXTERNAL, 0x4242)), sends(portless(REMOTE), (A, 0x4242)))
            .lan(Packet::ping((A, 0x4242), REMOTE), sends((EXTERNAL, 0x4242), portless(REMOTE)))
            .counting(SessionsCreated, 0),
        Row::new("a_ping_with_identifier_0_goes_out_and_its_answer_comes_back")
            .lan(Packet::ping((A, 0), REMOTE), sends((EXTERNAL, 0), portless(REMOTE)))
            .wan(Packet::pong(REMOTE, (EXTERNAL, 0)), sends(portless(REMOTE), (A, 0))),
        Row::new("a_host_on_the_wan_s_own_network_is_reached_without_the_gateway")
            .lan(Packet::udp(inside, (ON_LINK, 53)), sends(outside, (ON_LINK, 53)))
            .lan(Packet::udp(inside, (GATEWAY, 53)), sends(outside, (GATEWAY, 53))),
        Row::new("clients_of_both_lans_are_translated")
            .lan1(Packet::udp((C, 6000), server), sends((EXTERNAL, 6000), server))
            .lan(Packet::udp((B, 7000), server), sends((EXTERNAL, 7000), server))
            .wan(Packet::udp(server, (EXTERNAL, 6000)), sends(server, (C, 6000)))
            .wan(Packet::udp(server, (EXTERNAL, 7000)), sends(server, (B, 7000))),
        Row::new("udp_without_checksum_stays_without")
            .lan(with_checksum(&out, Checksum::None), sends(outside, server))
            .wan(with_checksum(&back, Checksum::None), sends(server, inside)),
        Row::new("a_checksum_that_comes_out_as_0_is_sent_as_ffff")
            .lan(zero_sum_after(&out, |packet| packet.set_source(outside)), sends(outside, server))
            .wan(
                zero_sum_after(&back, |packet| packet.set_destination(inside)),
                sends(server, inside),
            ),
        Row::new("a_checksum_of_ffff_is_translated_like_any_other")
            .lan(zero_sum_after(&out, |_| ()), sends(outside, server))
            .wan(zero_sum_after(&back, |_| ()), sends(server, inside)),
        Row::new("a_wrong_checksum_stays_as_wrong_as_it_was")
            .lan(with_checksum(&out, Checksum::Off(0x1234)), sends(outside, server))
            .lan(
                with_checksum(&Packet::tcp(inside, server, flags::SYN), Checksum::Off(1)),
                sends(outside, server),
            )
            .lan(
                with_checksum(&Packet::ping(inside, REMOTE), Checksum::Off(0x8000)),
                sends(outside, portless(REMOTE)),
            ),
        Row::new("ip_options_stay")
            .lan(with_options(&out, 4), sends(outside, server))
            .wan(with_options(&back, 40), sends(server, inside))
            .lan(with_options(&Packet::tcp(inside, server, flags::SYN), 40), sends(outside, server))
            .lan(with_options(&Packet::ping(inside, REMOTE), 8), sends(outside, portless(REMOTE))),
        Row::new("tcp_options_and_data_stay")
            .lan(with_tcp_options(inside, server), sends(outside, server))
            .wan(with_tcp_options(server, outside), sends(server, inside)),
        Row::new("padding_after_the_packet_stays")
            .lan(with_padding(&out, 15), sends(outside, server))
            .wan(with_padding(&back, 1), sends(server, inside)),
        Row::new("the_identification_stays")
            .lan(Packet { id: 0, ..out.clone() }, sends(outside, server))
            .lan(Packet { id: 0xfffe, fragment: 0, ..out.clone() }, sends(outside, server))
            .wan(Packet { id: 0x8001, ..back.clone() }, sends(server, inside)),
        Row::new("hops_are_counted_down")
            .lan(with_ttl(&out, 2), sends(outside, server))
            .wan(with_ttl(&back, 255), sends(server, inside)),
        Row::new("the_kernel_answers_an_outgoing_packet_whose_hops_are_used_up")
            .lan(with_ttl(&out, 1), passes(PassTtl))
            .lan(out.clone(), sends(outside, server))
            .lan(with_ttl(&out, 1), passes(PassTtl))
            .lan(with_ttl(&out, 0), passes(PassTtl)),
        Row::new("the_kernel_answers_an_incoming_packet_whose_hops_are_used_up")
            .lan(out.clone(), sends(outside, server))
            .wan(with_ttl(&back, 1), passes_translated(PassTtl, server, inside))
            .wan(with_ttl(&back, 0), passes_translated(PassTtl, server, inside)),
        Row::new("a_packet_of_the_mtu_s_size_fits_and_one_above_does_not")
            .lan(with_ip_len(&out, 1500), sends(outside, server))
            .lan(with_ip_len(&out, 1501), passes(PassTooBig))
            .wan(with_ip_len(&back, 1500), sends(server, inside))
            .wan(with_ip_len(&back, 1501), passes_translated(PassTooBig, server, inside)),
        Row::new("the_routing_table_is_asked_once_for_each_direction")
            .lan(out.clone(), sends(outside, server))
            .counting(RouteLookups, 1)
            .lan(out.clone(), sends(outside, server))
            .counting(RouteLookups, 0)
            .wan(back.clone(), sends(server, inside))
            .counting(RouteLookups, 1)
            .wan(back.clone(), sends(server, inside))
            .counting(RouteLookups, 0),
        Row::new("the_routing_table_is_asked_again_when_routes_have_changed")
            .lan(out.clone(), sends(outside, server))
            .settings(|settings| settings.route_generation += 1)
            .lan(out.clone(), sends(outside, server))
            .counting(RouteLookups, 1)
            .lan(out.clone(), sends(outside, server))
            .counting(RouteLookups, 0),
        Row::new("the_kernel_finds_a_next_hop_that_is_not_known")
            .lan(Packet::udp(inside, (SILENT_REMOTE, 53)), resolves(outside, (SILENT_REMOTE, 53)))
            .lan(
                Packet::tcp(inside, (SILENT_REMOTE, 53), flags::SYN),
                resolves(outside, (SILENT_REMOTE, 53)),
            )
            .lan(Packet::udp((SILENT, 5002), server), sends((EXTERNAL, 5002), server))
            .wan(Packet::udp(server, (EXTERNAL, 5002)), resolves(server, (SILENT, 5002)))
            .wan(Packet::udp(server, (EXTERNAL, 5002)), resolves(server, (SILENT, 5002)))
            .counting(RouteLookups, 1),
        Row::new("protocols_have_ports_of_their_own")
            .lan(out, sends(outside, server))
            .lan(Packet::tcp((B, 5000), server, flags::SYN), sends(outside, server))
            .lan(Packet::ping((C, 5000), REMOTE), sends(outside, portless(REMOTE)))
            .wan(back, sends(server, inside))
            .wan(Packet::tcp(server, outside, flags::SYN | flags::ACK), sends(server, (B, 5000)))
            .wan(Packet::pong(REMOTE, outside), sends(portless(REMOTE), (C, 5000))),
    ]
}

fn with_ttl(packet: &Packet, ttl: u8) -> Packet {
    Packet { ttl, ..packet.clone() }
}

/// With `len` bytes of options: "no operation", the last one "end".
fn with_options(packet: &Packet, len: usize) -> Packet {
    let mut options = vec![1; len - 1];
    options.push(0);
    Packet { options, ..packet.clone() }
}

fn with_padding(packet: &Packet, len: usize) -> Packet {
    Packet { padding: vec![0xa5; len], ..packet.clone() }
}

fn with_tcp_options(src: Peer, dst: Peer) -> Packet {
    let mut packet = Packet::tcp(src, dst, flags::ACK);
    if let Body::Tcp { options, payload, .. } = &mut packet.body {
        *options = vec![1; 12];
        *payload = b"some data, of odd length.".to_vec();
    }
    packet
}

fn with_checksum(packet: &Packet, wanted: Checksum) -> Packet {
    let mut packet = packet.clone();
    match &mut packet.body {
        Body::Udp { checksum, .. } | Body::Tcp { checksum, .. } | Body::Icmp { checksum, .. } => {
            *checksum = wanted;
        }
        Body::Other { .. } => {}
    }
    packet
}

fn with_ip_len(packet: &Packet, len: usize) -> Packet {
    let mut packet = packet.clone();
    let missing = len - packet.ip_len();
    if let Body::Udp { payload, .. } = &mut packet.body {
        payload.resize(payload.len() + missing, 0x5a);
    }
    packet
}

/// A UDP packet whose checksum is computed as 0 once `change` was made to it.
fn zero_sum_after(packet: &Packet, change: impl FnOnce(&mut Packet)) -> Packet {
    let with_payload = |packet: &Packet, word: [u8; 2]| {
        let mut packet = packet.clone();
        if let Body::Udp { payload, .. } = &mut packet.body {
            *payload = word.to_vec();
        }
        packet
    };
    let mut changed = with_payload(packet, [0; 2]);
    change(&mut changed);
    // The checksum that comes out with 0 in this place, in this place, makes it 0.
    let checksum = changed.to_bytes().get(40..42).and_then(|field| field.try_into().ok());
    with_payload(packet, checksum.unwrap_or_default())
}
