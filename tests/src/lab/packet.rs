//! What a watcher makes of an Ethernet frame.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Instant;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
/// 802.1Q and 802.1ad.
const TAGS: [u16; 2] = [0x8100, 0x88a8];
const TAG: usize = 4;
const VLAN_ID: u16 = 0x0fff;
const ETHERNET_HEADER: usize = 14;

/// IP protocol numbers that tests ask for.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// Generic routing encapsulation.
    pub const GRE: u8 = 47;
}

/// One IPv4 packet, or an ARP packet with the sender as its source and protocol 0.
#[derive(Clone, Debug)]
pub struct Packet {
    /// When it was read.
    pub at: Instant,
    /// The VLANs whose tags its frame carries, the outermost first. An interface for a VLAN shows it once
    /// more, without that tag.
    pub vlans: Vec<u16>,
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// IP protocol; 0 for ARP.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// TCP or UDP source port, else 0.
    pub source_port: u16,
    /// TCP or UDP destination port, else 0.
    pub destination_port: u16,
    /// What follows the UDP header; for other protocols what follows the IP header.
    pub payload: Vec<u8>,
}

impl Packet {
    /// Reads an Ethernet frame; `None` when it is neither IPv4 nor ARP, or cut off. The kernel has taken
    /// the tag `taken` off it.
    pub fn parse(frame: &[u8], taken: Option<u16>) -> Option<Self> {
        let mut vlans: Vec<u16> = taken.map(|tag| tag & VLAN_ID).into_iter().collect();
        let mut at = ETHERNET_HEADER;
        while TAGS.contains(&be16(frame, at - 2)?) {
            vlans.push(be16(frame, at)? & VLAN_ID);
            at += TAG;
        }
        let body = frame.get(at..)?;
        let packet = match be16(frame, at - 2)? {
            ETHERTYPE_IPV4 => Self::parse_ipv4(body)?,
            ETHERTYPE_ARP => Self {
                at: Instant::now(),
                vlans: Vec::new(),
                source: address(body, 14)?,
                destination: address(body, 24)?,
                protocol: 0,
                ttl: 0,
                source_port: 0,
                destination_port: 0,
                payload: Vec::new(),
            },
            _ => return None,
        };
        Some(Self { vlans, ..packet })
    }

    fn parse_ipv4(packet: &[u8]) -> Option<Self> {
        let header = usize::from(packet.first()? & 0x0f) * 4;
        let total = usize::from(be16(packet, 2)?);
        let body = packet.get(header..total.min(packet.len()))?;
        let protocol = *packet.get(9)?;
        let first_fragment = be16(packet, 6)? & 0x1fff == 0;
        let ported = first_fragment && matches!(protocol, protocol::TCP | protocol::UDP);
        let port = |at| {
            if ported { be16(body, at).unwrap_or(0) } else { 0 }
        };
        let skipped = if ported && protocol == protocol::UDP { 8 } else { 0 };
        Some(Self {
            at: Instant::now(),
            vlans: Vec::new(),
            source: address(packet, 12)?,
            destination: address(packet, 16)?,
            protocol,
            ttl: *packet.get(8)?,
            source_port: port(0),
            destination_port: port(2),
            payload: body.get(skipped..).unwrap_or_default().to_vec(),
        })
    }

    /// The UDP payload as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// Whether its source is private (RFC 1918), or it is an ICMP error about a packet that was sent
    /// to or by a private address.
    pub fn tells_private_address(&self) -> bool {
        self.source.is_private() || self.quoted_addresses().iter().any(Ipv4Addr::is_private)
    }

    /// The addresses of the packet that an ICMP error is about.
    fn quoted_addresses(&self) -> Vec<Ipv4Addr> {
        let is_error = self.protocol == protocol::ICMP
            && self.payload.first().is_some_and(|kind| matches!(kind, 3 | 4 | 5 | 11 | 12));
        if !is_error {
            return Vec::new();
        }
        [8 + 12, 8 + 16].iter().filter_map(|at| address(&self.payload, *at)).collect()
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{} > {}:{} protocol {} ({} bytes of payload)",
            self.source,
            self.source_port,
            self.destination,
            self.destination_port,
            self.protocol,
            self.payload.len()
        )
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp_frame(source: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend(u16::try_from(28 + payload.len()).unwrap().to_be_bytes());
        frame.extend([0, 0, 0, 0, 63, protocol::UDP, 0, 0]);
        frame.extend(source);
        frame.extend([11, 22, 33, 9, 0x13, 0x88, 0x00, 0x35]);
        frame.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_udp_frame_is_taken_apart() {
        let mut frame = udp_frame([192, 168, 77, 2], b"hello");
        frame.extend([0; 13]); // Ethernet padding is no payload.
        let packet = Packet::parse(&frame, None).unwrap();
        assert_eq!(packet.source, Ipv4Addr::new(192, 168, 77, 2));
        assert_eq!((packet.source_port, packet.destination_port), (5000, 53));
        assert_eq!((packet.ttl, packet.text().as_str()), (63, "hello"));
        assert!(packet.tells_private_address());
    }

    #[test]
    fn an_icmp_error_that_quotes_a_private_address_is_noticed() {
        let mut frame = udp_frame([11, 22, 33, 1], &[]);
        frame[ETHERNET_HEADER + 9] = protocol::ICMP;
        frame.truncate(ETHERNET_HEADER + 20);
        frame.extend([3, 3, 0, 0, 0, 0, 0, 0]);
        frame.extend(&udp_frame([11, 22, 33, 9], &[])[ETHERNET_HEADER..][..16]);
        frame.extend([192, 168, 77, 2]);
        frame[ETHERNET_HEADER + 3] = 20 + 8 + 20;
        assert!(Packet::parse(&frame, None).unwrap().tells_private_address());
    }

    #[test]
    fn tags_are_read_from_the_outermost_to_the_packet() {
        let mut frame = udp_frame([192, 168, 77, 2], b"hello");
        frame.splice(12..12, [0x88, 0xa8, 0xe0, 100, 0x81, 0x00, 0x00, 20]);
        let packet = Packet::parse(&frame, None).unwrap();
        assert_eq!((packet.vlans.as_slice(), packet.text().as_str()), (&[100, 20][..], "hello"));
        frame.drain(12..16);
        let packet = Packet::parse(&frame, Some(0xe064)).unwrap();
        assert_eq!((packet.vlans.as_slice(), packet.source_port), (&[100, 20][..], 5000));
    }

    #[test]
    fn truncated_frames_are_not_packets() {
        let frame = udp_frame([192, 168, 77, 2], &[]);
        for length in 0..ETHERNET_HEADER + 20 {
            assert!(Packet::parse(&frame[..length], None).is_none(), "{length}");
        }
    }
}
