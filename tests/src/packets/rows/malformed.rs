//! Headers that contradict themselves or the frame.

use crate::packets::topology::{A, EXTERNAL, LAN, REMOTE, WAN};
use crate::packets::{Expect, Row, drops, passes};
use nat_common::Counter::{DropMalformed, DropUnmapped, PassLocal};
use nat_ebpf::host::packet::{Packet, flags};

/// Offset of the IP header's version and length.
const VERSION: usize = 14;
/// Offset of the total length's high byte.
const TOTAL_LEN: usize = 16;
/// Offset of the length of a TCP header, when the IP header has no options.
const TCP_OFFSET: usize = 46;

pub(super) fn rows() -> Vec<Row> {
    let bad_ip = [
        ("a_version_other_than_4_is_dropped", vec![(VERSION, 0x65)]),
        ("an_ip_header_below_20_bytes_is_dropped", vec![(VERSION, 0x44)]),
        ("an_ip_header_without_length_is_dropped", vec![(VERSION, 0x40)]),
        ("an_ip_header_longer_than_its_packet_is_dropped", vec![(VERSION, 0x4f)]),
        ("a_packet_shorter_than_its_header_is_dropped", vec![(TOTAL_LEN + 1, 19)]),
        ("a_packet_of_length_0_is_dropped", vec![(TOTAL_LEN + 1, 0)]),
        ("a_packet_one_byte_longer_than_its_frame_is_dropped", vec![(TOTAL_LEN + 1, 32)]),
        ("a_packet_much_longer_than_its_frame_is_dropped", vec![(TOTAL_LEN, 0xff)]),
    ];
    let bad_transport = [
        ("half_a_udp_header", udp as fn(bool) -> Packet, vec![(TOTAL_LEN + 1, 27)]),
        ("no_udp_header", udp, vec![(TOTAL_LEN + 1, 20)]),
        ("half_a_tcp_header", tcp, vec![(TOTAL_LEN + 1, 39)]),
        ("a_tcp_header_below_20_bytes", tcp, vec![(TCP_OFFSET, 0x40)]),
        ("a_tcp_header_longer_than_its_packet", tcp, vec![(TCP_OFFSET, 0xf0)]),
        ("half_an_icmp_header", icmp, vec![(TOTAL_LEN + 1, 27)]),
    ];
    let mut rows = Vec::new();
    for (name, patches) in bad_ip {
        rows.push(
            Row::new(name).packet(LAN, udp(true), patches.clone(), drops(DropMalformed)).packet(
                WAN,
                udp(false),
                patches,
                drops(DropMalformed),
            ),
        );
    }
    for (name, packet, patches) in bad_transport {
        rows.push(both_ways(name, packet, &patches));
    }
    rows
}

/// Outgoing it is dropped; the router itself may complain; to an internal address it is dropped.
fn both_ways(name: &'static str, packet: fn(bool) -> Packet, patches: &[(usize, u8)]) -> Row {
    let play =
        |row: Row, link, packet, expect: Expect| row.packet(link, packet, patches.to_vec(), expect);
    let row = play(Row::new(name), LAN, packet(true), drops(DropMalformed));
    let row = play(row, WAN, packet(false), passes(PassLocal));
    let to_client = Packet { dst: A, ..packet(false) };
    play(row, WAN, to_client, drops(DropUnmapped))
}

fn udp(outgoing: bool) -> Packet {
    if outgoing {
        Packet::udp((A, 5000), (REMOTE, 53))
    } else {
        Packet::udp((REMOTE, 53), (EXTERNAL, 5000))
    }
}

fn tcp(outgoing: bool) -> Packet {
    if outgoing {
        Packet::tcp((A, 5000), (REMOTE, 53), flags::SYN)
    } else {
        Packet::tcp((REMOTE, 53), (EXTERNAL, 5000), flags::SYN)
    }
}

fn icmp(outgoing: bool) -> Packet {
    if outgoing { Packet::ping((A, 5000), REMOTE) } else { Packet::pong(REMOTE, (EXTERNAL, 5000)) }
}
