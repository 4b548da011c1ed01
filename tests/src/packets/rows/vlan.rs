//! Links whose frames carry VLAN tags, on one arm and on two.

use super::forward_any;
use crate::packets::topology::{
    A, B, EXTERNAL, LAN, Q, QINQ, REMOTE, ROUTER_VLAN, V, VLAN, VLAN_REMOTE, VLAN_WAN, WAN,
};
use crate::packets::{Row, drops, passes, passes_translated, portless, sends};
use nat_common::Counter::{DropUnmapped, PassLocal, PassNotIpv4, PassTtl};
use nat_common::Protocol::Udp;
use nat_ebpf::host::packet::{Packet, Peer, flags};

/// A packet in by a link.
fn by(row: Row, link: u8, packet: Packet, expect: crate::packets::Expect) -> Row {
    row.packet(link, packet, Vec::new(), expect)
}

fn round_trip(name: &'static str, lan: u8, inside: Peer, wan: u8, server: Peer) -> Row {
    let outside = (EXTERNAL, inside.1);
    let mut row = Row::new(name);
    row = by(row, lan, Packet::udp(inside, server), sends(outside, server));
    row = by(row, wan, Packet::udp(server, outside), sends(server, inside));
    row = by(row, lan, Packet::tcp(inside, server, flags::SYN), sends(outside, server));
    row = by(row, wan, Packet::tcp(server, outside, flags::ACK), sends(server, inside));
    row = by(row, lan, Packet::ping(inside, server.0), sends(outside, portless(server.0)));
    by(row, wan, Packet::pong(server.0, outside), sends(portless(server.0), inside))
}

pub(super) fn rows() -> Vec<Row> {
    let (server, beyond) = ((REMOTE, 53), (VLAN_REMOTE, 53));
    let web = (EXTERNAL, 8080);
    let mut hairpin = Row::new("a_client_of_one_vlan_calls_one_of_another").open(forward_any(
        Udp,
        8080,
        (Q, 80),
        3600,
    ));
    hairpin = by(hairpin, VLAN, Packet::udp((V, 6000), web), sends((EXTERNAL, 6000), (Q, 80)));
    hairpin = by(hairpin, QINQ, Packet::udp((Q, 80), (EXTERNAL, 6000)), sends(web, (V, 6000)));
    let mut kernel = Row::new("what_is_the_kernel_s_keeps_its_tags");
    kernel = by(kernel, VLAN, Packet::udp((V, 53), (ROUTER_VLAN, 53)), passes(PassLocal));
    kernel = by(kernel, QINQ, Packet::udp((Q, 53), (EXTERNAL, 80)), passes(PassLocal));
    kernel = by(kernel, VLAN_WAN, Packet::udp(beyond, (EXTERNAL, 5000)), drops(DropUnmapped));
    let mut ttl = Row::new("an_answer_for_the_kernel_is_translated_and_keeps_its_tags");
    ttl = by(ttl, VLAN, Packet::udp((V, 5000), beyond), sends((EXTERNAL, 5000), beyond));
    let last = Packet { ttl: 1, ..Packet::udp(beyond, (EXTERNAL, 5000)) };
    ttl = by(ttl, VLAN_WAN, last, passes_translated(PassTtl, beyond, (V, 5000)));
    // 802.1Q, VLAN 11, which is nobody's; and a tag that is cut off.
    let frame = |tag: &[u8]| {
        let mut frame = Packet::udp((A, 5000), server).to_bytes();
        frame.splice(12..12, tag.iter().copied());
        frame
    };
    vec![
        round_trip("a_tag_comes_off_on_the_way_out_and_on_again", VLAN, (V, 5000), WAN, server),
        round_trip("two_tags_come_off_on_the_way_out_and_on_again", QINQ, (Q, 5000), WAN, server),
        round_trip("one_arm_has_both_sides", VLAN, (V, 5000), VLAN_WAN, beyond),
        round_trip("an_untagged_client_leaves_by_a_vlan", LAN, (B, 5000), VLAN_WAN, beyond),
        round_trip("a_client_behind_two_tags_leaves_by_one", QINQ, (Q, 5000), VLAN_WAN, beyond),
        hairpin,
        kernel,
        ttl,
        Row::new("vlans_that_are_no_links_are_left_alone")
            .bytes(LAN, frame(&[0x81, 0x00, 0x00, 11]), passes(PassNotIpv4))
            .bytes(VLAN, frame(&[0x81, 0x00, 0x00, 11]), passes(PassNotIpv4))
            .bytes(WAN, frame(&[0x81, 0x00, 0x00, 10]), passes(PassNotIpv4))
            .bytes(LAN, frame(&[0x88, 0xa8, 0x00, 1, 0x81, 0x00, 0, 10]), passes(PassNotIpv4)),
    ]
}
