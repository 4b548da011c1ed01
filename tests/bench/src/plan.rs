//! A case as the generator needs it: the words of its frames that stay the same, and their sums.

use crate::case::{Case, Direction};
use crate::trunk::{Port, tags};
use nat_bench_programs::{CLIENTS, HAIRPIN, INBOUND, OUTBOUND, Plan};
use nat_tests::lab::EXTERNAL;
use std::net::Ipv4Addr;

/// The first of the internal clients.
pub(crate) const FIRST_CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 60);
/// The first of the remote hosts: behind the WAN host.
pub(crate) const FIRST_REMOTE: Ipv4Addr = Ipv4Addr::new(11, 22, 100, 1);
/// Port of all of them.
pub(crate) const REMOTE_PORT: u32 = 53;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TCP: u8 = 6;
const UDP: u8 = 17;
const TTL: u8 = 64;
const DONT_FRAGMENT: u8 = 0x40;

/// Frames of `case` that leave by the interface `device` from MAC address `from` to `to`.
pub(crate) fn plan(case: &Case, device: u32, from: [u8; 6], to: [u8; 6]) -> Plan {
    let protocol = if case.tcp { TCP } else { UDP };
    let total = (case.frame as usize - ETHERNET) as u16;
    let segment = total - IPV4 as u16;
    // The fragments are of one length, and the header tells that of the whole.
    let (flags, segment, first_fragment) = if case.fragments {
        (0, 2 * segment, u32::from(segment / 8))
    } else {
        (DONT_FRAGMENT, segment, 0)
    };
    let mut head = [0; 24];
    put(&mut head, 0, &to);
    put(&mut head, 6, &from);
    put(&mut head, 12, &[0x08, 0x00, 0x45, 0x00]);
    put(&mut head, 16, &total.to_be_bytes());
    // Identification 0.
    put(&mut head, 20, &[flags, 0x00, TTL, protocol]);
    // From offset 38 on. UDP: length and checksum. TCP: numbers, header length, ACK, window.
    let mut transport = [0; 16];
    if case.tcp {
        put(&mut transport, 0, &1_u32.to_be_bytes());
        put(&mut transport, 4, &1_u32.to_be_bytes());
        put(&mut transport, 8, &[0x50, 0x10, 0xff, 0xff]);
    } else {
        put(&mut transport, 0, &segment.to_be_bytes());
    }
    Plan {
        device,
        endpoints: case.endpoints,
        remotes: case.remotes,
        direction: match case.direction {
            Direction::Outbound => OUTBOUND,
            Direction::Inbound => INBOUND,
            Direction::Hairpin => HAIRPIN,
        },
        client: FIRST_CLIENT.into(),
        remote: u32::from(FIRST_REMOTE) + case.first_remote,
        external: EXTERNAL.into(),
        remote_port: REMOTE_PORT,
        ip_sum: sum(&head[ETHERNET..]),
        transport_sum: sum(&transport) + u32::from(protocol) + u32::from(segment),
        checksum_at: if case.tcp { 50 } else { 40 },
        first_endpoint: case.first_endpoint,
        endpoints_a_port: if case.ports_collide { CLIENTS } else { 1 },
        first_fragment,
        head: words(&head),
        transport: words(&transport),
        tags: match case.direction {
            Direction::Inbound => tags(Port::Wan, case.tags),
            _ => tags(Port::Lan, case.tags),
        },
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (byte, value) in bytes.iter_mut().skip(at).zip(value) {
        *byte = *value;
    }
}

/// The sum of words in network byte order.
fn sum(bytes: &[u8]) -> u32 {
    bytes.as_chunks().0.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum()
}

/// Words as they lie in memory.
fn words<const N: usize>(bytes: &[u8]) -> [u16; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u16::from_ne_bytes(*bytes);
    }
    words
}
