//! The largest segment that a SYN offers.

use super::forward_any;
use crate::packets::topology::{A, B, EXTERNAL, REMOTE};
use crate::packets::{Row, becomes, sends};
use nat_common::Protocol::Tcp;
use nat_common::settings::Settings;
use nat_ebpf::host::packet::{Body, Packet, Peer, flags};

const SYN_ACK: u8 = flags::SYN | flags::ACK;

fn offering(src: Peer, dst: Peer, tcp_flags: u8, with: &[u8]) -> Packet {
    let mut packet = Packet::tcp(src, dst, tcp_flags);
    if let Body::Tcp { options, .. } = &mut packet.body {
        *options = with.to_vec();
    }
    packet
}

pub(super) fn rows() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 80));
    // 8960 in an even and in an odd place; 1460, which the links' MTU leaves.
    let even = [2, 4, 0x23, 0x00, 4, 2, 1, 1];
    let even_clamped = [2, 4, 0x05, 0xb4, 4, 2, 1, 1];
    let odd = [1, 2, 4, 0x23, 0x00, 4, 2, 1];
    let odd_clamped = [1, 2, 4, 0x05, 0xb4, 4, 2, 1];
    let after = |packet: Packet| becomes(Packet { ttl: packet.ttl - 1, ..packet });
    let syn = |with: &[u8]| offering(inside, server, flags::SYN, with);
    let syn_out = |with: &[u8]| after(offering(outside, server, flags::SYN, with));
    let mut broken = Row::new("options_that_make_no_sense_are_left_alone")
        .settings(|settings| settings.mss = Settings::MSS_TO_MTU);
    for options in [
        vec![2, 3, 0x23, 0],
        vec![2, 0, 0, 0],
        vec![8, 0, 2, 4],
        vec![8, 200, 2, 4],
        vec![0, 2, 4, 0x23],
        vec![1, 1, 1, 2],
        vec![1; 40],
    ] {
        broken = broken.lan(syn(&options), syn_out(&options));
    }
    vec![
        Row::new("a_syn_offers_what_it_likes_unless_told_otherwise")
            .lan(syn(&even), syn_out(&even)),
        Row::new("a_syn_offers_no_more_than_the_links_mtu")
            .settings(|settings| settings.mss = Settings::MSS_TO_MTU)
            .lan(syn(&even), syn_out(&even_clamped))
            .lan(syn(&odd), syn_out(&odd_clamped))
            .lan(syn(&even_clamped), syn_out(&even_clamped))
            .wan(
                offering(server, outside, SYN_ACK, &even),
                after(offering(server, inside, SYN_ACK, &even_clamped)),
            )
            .lan(
                offering(inside, server, flags::ACK, &even),
                after(offering(outside, server, flags::ACK, &even)),
            ),
        Row::new("a_fixed_limit_holds_for_forwards_and_hairpins_too")
            .settings(|settings| settings.mss = 0x05b4)
            .open(forward_any(Tcp, 8080, (B, 80), 3600))
            .wan(
                offering(server, (EXTERNAL, 8080), flags::SYN, &even),
                after(offering(server, (B, 80), flags::SYN, &even_clamped)),
            )
            .lan(
                offering(inside, (EXTERNAL, 8080), flags::SYN, &odd),
                after(offering(outside, (B, 80), flags::SYN, &odd_clamped)),
            ),
        Row::new("a_syn_without_the_option_stays_without_it")
            .settings(|settings| settings.mss = 0x05b4)
            .lan(Packet::tcp(inside, server, flags::SYN), sends(outside, server)),
        broken,
    ]
}
