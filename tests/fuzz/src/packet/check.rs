//! What holds for every frame, whatever its bytes.

use nat_ebpf::host::packet::{checksum, icmp, protocol};
use nat_tests::packets::topology::{EXTERNAL, WAN};
use std::net::Ipv4Addr;

/// Bytes before an IP packet.
const ETHERNET: usize = 14;

/// A frame that is left to the kernel is the one that came. One from the WAN for an internal client may be
/// translated all but its TTL: the kernel answers it, or fragments it.
pub(super) fn check_passed(link: u8, before: &[u8], after: &[u8]) {
    if before == after {
        return;
    }
    assert_eq!((link, before.len()), (WAN, after.len()), "changed, and passed on: {before:02x?}");
    let (Some(old), Some(new)) = (Ip::read(before), Ip::read(after)) else {
        assert!(before.is_empty(), "changed, and no IPv4: {before:02x?}");
        return;
    };
    assert_eq!((old.src(), old.at(8)), (new.src(), new.at(8)), "{after:02x?}");
    check_translated(&old, &new, after);
}

/// A frame that is sent carries the external address into the WAN, came from elsewhere than it goes
/// to, has one hop less, and checksums that are right if they were right before.
pub(super) fn check_sent(link: u8, before: &[u8], out: u8, after: &[u8]) {
    assert_eq!(before.len(), after.len());
    let (Some(old), Some(new)) = (Ip::read(before), Ip::read(after)) else {
        assert!(before.is_empty(), "sent, and no IPv4: {before:02x?}");
        return;
    };
    if out == WAN {
        assert_eq!(new.src(), EXTERNAL, "an internal source in the WAN: {after:02x?}");
        assert_ne!(link, WAN, "from the WAN into the WAN: {after:02x?}");
    }
    assert_eq!(Some(new.at(8)), old.at(8).checked_sub(1), "TTL");
    assert_ne!(new.at(8), 0, "TTL");
    check_translated(&old, &new, after);
}

/// What is not translated stays, and checksums are as right as they were.
fn check_translated(old: &Ip<'_>, new: &Ip<'_>, after: &[u8]) {
    assert_same(checksum(old.header), checksum(new.header), "IP header", after);
    for unchanged in [0..8, 9..10, 20..old.header.len()] {
        assert_eq!(old.header.get(unchanged.clone()), new.header.get(unchanged), "{after:02x?}");
    }
    // A later fragment has no transport header.
    if old.fragment_offset() != 0 {
        assert_eq!(old.segment, new.segment, "{after:02x?}");
        return;
    }
    match old.at(9) {
        protocol::ICMP => {
            assert_same(checksum(old.segment), checksum(new.segment), "ICMP", after);
            check_quoted(old, new, after);
        }
        protocol::UDP if old.segment.get(6..8) == Some(&[0, 0]) => {
            assert_eq!(new.segment.get(6..8), Some(&[0_u8, 0] as &[u8]), "UDP without checksum");
        }
        protocol::UDP => {
            assert_ne!(new.segment.get(6..8), Some(&[0_u8, 0] as &[u8]), "UDP's checksum is gone");
            assert_same(old.transport(), new.transport(), "UDP", after);
        }
        _ => assert_same(old.transport(), new.transport(), "TCP", after),
    }
}

/// The IP header that an ICMP error quotes keeps its checksum right too.
fn check_quoted(old: &Ip<'_>, new: &Ip<'_>, after: &[u8]) {
    let is_echo = [icmp::ECHO_REQUEST, icmp::ECHO_REPLY].contains(&byte(old.segment, 0));
    if is_echo || old.segment.len() < 8 {
        return;
    }
    let quoted = |ip: &Ip<'_>| {
        let len = usize::from(byte(ip.segment, 8) & 0x0f) * 4;
        ip.segment.get(8..8 + len).map(checksum)
    };
    if let (Some(old), Some(new)) = (quoted(old), quoted(new)) {
        assert_same(old, new, "quoted IP header", after);
    }
}

/// Compares what the receiver's sum over two checksummed texts leaves: 0 when it is right. In one's
/// complement 0 has two forms.
fn assert_same(old: u16, new: u16, what: &str, frame: &[u8]) {
    let one_zero = |sum: u16| if sum == u16::MAX { 0 } else { sum };
    assert_eq!(one_zero(old), one_zero(new), "checksum of {what}: {frame:02x?}");
}

/// An IPv4 packet in its frame.
struct Ip<'a> {
    header: &'a [u8],
    segment: &'a [u8],
}

impl<'a> Ip<'a> {
    fn read(frame: &'a [u8]) -> Option<Self> {
        let packet = frame.get(ETHERNET..)?;
        let len = usize::from(u16::from_be_bytes([byte(packet, 2), byte(packet, 3)]));
        let header_len = usize::from(byte(packet, 0) & 0x0f) * 4;
        let (header, segment) = packet.get(..len)?.split_at_checked(header_len)?;
        (header_len >= 20).then_some(Self { header, segment })
    }

    fn at(&self, at: usize) -> u8 {
        byte(self.header, at)
    }

    fn fragment_offset(&self) -> u16 {
        u16::from_be_bytes([self.at(6), self.at(7)]) & 0x1fff
    }

    fn src(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.at(12), self.at(13), self.at(14), self.at(15))
    }

    /// The sum over the pseudo-header and the segment.
    fn transport(&self) -> u16 {
        let mut summed = self.header.get(12..20).unwrap_or_default().to_vec();
        summed.extend([0, self.at(9)]);
        summed.extend(u16::try_from(self.segment.len()).unwrap_or(u16::MAX).to_be_bytes());
        summed.extend(self.segment);
        checksum(&summed)
    }
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}
