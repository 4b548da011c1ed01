//! What the bytes of an input mean. Every sequence of bytes means something; a step begins with one
//! byte that says which it is and, in its upper bits, by which link.

use crate::reader::Reader;
use nat_common::filters::Filter;
use nat_common::ports::Endpoint;
use nat_common::{NetPort, Protocol};
use nat_ebpf::host::packet::{Body, Packet, checksum, icmp};
use nat_ebpf::host::{Checksum, Forward};
use nat_tests::packets::Change;
use nat_tests::packets::topology::{
    A, B, C, ELSEWHERE, EXTERNAL, GATEWAY, LAN, LAN1, ON_LINK, OTHER_EXTERNAL, REMOTE, ROUTER,
    SILENT, SILENT_REMOTE, STRANGER, UNREACHABLE, WAN, router_mac, sender_mac,
};
use std::net::Ipv4Addr;

const LINKS: [u8; 3] = [WAN, LAN, LAN1];
const CLIENTS: [Ipv4Addr; 3] = [A, B, C];
const HOSTS: [Ipv4Addr; 18] = [
    A,
    B,
    C,
    REMOTE,
    STRANGER,
    EXTERNAL,
    ON_LINK,
    GATEWAY,
    OTHER_EXTERNAL,
    ROUTER,
    SILENT,
    SILENT_REMOTE,
    ELSEWHERE,
    UNREACHABLE,
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::new(192, 168, 77, 255),
    Ipv4Addr::new(239, 255, 255, 250),
];
const PORTS: [u16; 6] = [4000, 5000, 80, 53, 0, 65535];
/// Destination unreachable, source quench, redirect, time exceeded, parameter problem, timestamp.
const ICMP_TYPES: [u8; 6] = [icmp::UNREACHABLE, 4, 5, 11, 12, 13];
/// Bytes of a packet that an ICMP error quotes: what RFC 792 demands, more, and too few.
const QUOTED: [usize; 4] = [28, 48, 24, 576];

/// One thing that happens.
pub(super) enum Step {
    Frame { link: u8, frame: Vec<u8> },
    Change(Change),
}

/// A frame that the NAT has sent.
pub(super) struct Sent {
    pub(super) link: u8,
    pub(super) frame: Vec<u8>,
}

/// Reads steps.
pub(super) struct Steps<'a> {
    input: Reader<'a>,
    forwards: Vec<Forward>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { input: Reader::new(input), forwards: Vec::new() }
    }

    /// The next step; `last` is what answers and errors are about.
    pub(super) fn next(&mut self, last: Option<&Sent>) -> Option<Step> {
        let first = self.input.byte()?;
        let link = *LINKS.get(usize::from(first >> 3) % LINKS.len())?;
        Some(match first & 7 {
            0 => Step::Change(Change::Wait(1 << (self.input.byte()? % 14))),
            1 => {
                let len = usize::from(self.input.byte()?);
                Step::Frame { link, frame: self.input.up_to(len).to_vec() }
            }
            2 => {
                let len = usize::from(self.input.byte()?);
                Step::Frame { link, frame: around(link, self.input.up_to(len)) }
            }
            3 => {
                let packet = self.packet()?;
                self.sent_by(link, packet)?
            }
            4 => {
                let packet = self.answer(last?)?;
                self.sent_by(last?.link, packet)?
            }
            5 => {
                let packet = self.error(last?)?;
                self.sent_by(last?.link, packet)?
            }
            6 => {
                let forward = self.forward()?;
                self.forwards.push(forward.clone());
                Step::Change(Change::OpenForward(forward))
            }
            _ => Step::Change(Change::CloseForward(self.forwards.pop()?)),
        })
    }

    /// The frame of a packet that comes in by a link, up to three of its bytes changed.
    fn sent_by(&mut self, link: u8, mut packet: Packet) -> Option<Step> {
        packet.dst_mac = router_mac(link);
        packet.src_mac = sender_mac(link, packet.src);
        let mut frame = packet.to_bytes();
        for _ in 0..self.input.byte()? & 3 {
            let (at, value) = (self.input.byte()?, self.input.byte()?);
            if let Some(byte) = frame.get_mut(usize::from(at)) {
                *byte = value;
            }
        }
        Some(Step::Frame { link, frame })
    }

    fn port(&mut self) -> Option<u16> {
        let byte = self.input.byte()?;
        match PORTS.get(usize::from(byte)) {
            Some(port) => Some(*port),
            None => Some(u16::from_be_bytes([byte, 0xe8])),
        }
    }

    fn packet(&mut self) -> Option<Packet> {
        let kind = self.input.byte()?;
        let src = (self.input.one_of(&HOSTS)?, self.port()?);
        let dst = (self.input.one_of(&HOSTS)?, self.port()?);
        let mut packet = match kind & 3 {
            0 => Packet::udp(src, dst),
            1 => Packet::tcp(src, dst, self.input.byte()?),
            2 => Packet::ping(src, dst.0),
            _ => Packet::other(src.0, dst.0, self.input.byte()?),
        };
        if kind & 4 != 0 {
            packet.ttl = self.input.byte()?;
        }
        if kind & 8 != 0 {
            packet.options = vec![1; usize::from(self.input.byte()? % 11) * 4];
        }
        if kind & 16 != 0
            && let Body::Udp { checksum, payload, .. } = &mut packet.body
        {
            *checksum = Checksum::None;
            *payload = vec![0x55; usize::from(self.input.byte()?) * 8];
        }
        Some(packet)
    }

    /// The answer to a frame, from the far end.
    fn answer(&mut self, last: &Sent) -> Option<Packet> {
        let mut packet = Packet::parse(&last.frame)?;
        std::mem::swap(&mut packet.src, &mut packet.dst);
        packet.ttl = 64;
        let given = self.input.byte()?;
        match &mut packet.body {
            Body::Udp { src, dst, checksum, .. } => {
                std::mem::swap(src, dst);
                *checksum = Checksum::Right;
            }
            Body::Tcp { src, dst, flags, checksum, .. } => {
                std::mem::swap(src, dst);
                *flags = given;
                *checksum = Checksum::Right;
            }
            Body::Icmp { kind, checksum, .. } => {
                *kind = given & icmp::ECHO_REQUEST;
                *checksum = Checksum::Right;
            }
            Body::Other { .. } => {}
        }
        Some(packet)
    }

    /// An ICMP error about a frame, from somewhere.
    fn error(&mut self, last: &Sent) -> Option<Packet> {
        let quoted = last.frame.get(14..)?;
        let kind = self.input.one_of(&ICMP_TYPES)?;
        let src = self.input.one_of(&HOSTS)?;
        let len = self.input.one_of(&QUOTED)?.min(quoted.len());
        let payload = quoted.get(..len)?.to_vec();
        let body =
            Body::Icmp { kind, code: 4, id: 0, sequence: 1400, checksum: Checksum::Right, payload };
        let to = Packet::parse(&last.frame)?.src;
        Some(Packet::new(src, to, body))
    }

    fn forward(&mut self) -> Option<Forward> {
        let kind = self.input.byte()?;
        let remotes = [REMOTE, STRANGER, ON_LINK];
        let listed = remotes.iter().take(usize::from(kind >> 4 & 3));
        let seconds = 1 << (self.input.byte()? % 14);
        let protocol = if kind & 1 == 0 { Protocol::Udp } else { Protocol::Tcp };
        let port = self.port()?;
        let mut addr = self.input.one_of(&CLIENTS)?;
        if kind & 4 != 0 && port != 0 && protocol == Protocol::Udp {
            addr = Ipv4Addr::BROADCAST;
        }
        // The wildcard has no filters.
        let filters = (kind & 0xc0 == 0xc0 && port != 0)
            .then(|| Filter::new(REMOTE.into(), Ipv4Addr::BROADCAST.into(), NetPort(0)));
        Some(Forward {
            protocol,
            port,
            client: Endpoint { addr: addr.into(), port: NetPort::new(self.port()?.max(1)) },
            // A forward lets somebody in, or is disabled.
            any_remote: (kind & 2 == 0 || kind & 0x38 == 0).then_some(seconds),
            filters: filters.into_iter().collect(),
            remotes: listed.map(|addr| ((*addr).into(), seconds)).collect(),
            disabled: (kind & 8 != 0).then_some(seconds * 2),
        })
    }
}

/// A frame for the router around an IPv4 packet, whose header checksum is put right.
fn around(link: u8, packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let header_len = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    if let Some(field) = packet.get_mut(10..12) {
        field.fill(0);
    }
    let sum = packet.get(..header_len).map(checksum);
    if let (Some(sum), Some(field)) = (sum, packet.get_mut(10..12)) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    let sender = packet.get(12..16).and_then(|octets| <[u8; 4]>::try_from(octets).ok());
    let mut frame = router_mac(link).to_vec();
    frame.extend(sender_mac(link, sender.unwrap_or_default().into()));
    frame.extend([0x08, 0x00]);
    frame.extend(packet);
    frame
}
