//! From a frame to its flow.

use crate::frame::{ETHERNET, ETHERNET_WORDS, ETHERTYPE_IPV4, Frame};
use nat_common::fragments::FragmentKey;
use nat_common::session::{SessionKey, Side};
use nat_common::{NetAddr, NetPort, Protocol};

/// TCP flags as they stand in the header.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Opens a connection.
    pub const SYN: u8 = 1 << 1;
    /// Aborts a connection.
    pub const RST: u8 = 1 << 2;
    /// Acknowledges.
    pub const ACK: u8 = 1 << 4;
}

/// ICMP types.
pub mod icmp {
    /// Answer to a query (RFC 792).
    pub const ECHO_REPLY: u8 = 0;
    /// Error: destination unreachable, fragmentation needed included.
    pub const UNREACHABLE: u8 = 3;
    /// Error, no longer sent (RFC 6633).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Query.
    pub const ECHO_REQUEST: u8 = 8;
    /// Error: the TTL ended, or a fragment was missing.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Error: a header made no sense.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// Largest IPv4 header, bytes.
const MAX_IP_HEADER: usize = 60;

/// Words of an Ethernet header and an IPv4 header without options.
const HEADERS_WORDS: usize = ETHERNET_WORDS + 10;

/// What the IPv4 header says.
#[derive(Clone, Copy, Debug)]
pub struct Ip {
    /// Source address.
    pub src: NetAddr,
    /// Destination address.
    pub dst: NetAddr,
    /// Protocol number.
    pub protocol: u8,
    /// Hops left, this one included.
    pub ttl: u8,
    /// Length of the packet, header included, bytes.
    pub total_len: u16,
    /// Offset of the payload in the frame, bytes.
    pub payload: usize,
    /// Identification, network byte order.
    pub id: u16,
    /// Flags and fragment offset, network byte order.
    fragment: u16,
}

impl Ip {
    const MORE_FRAGMENTS: u16 = 0x2000_u16.to_be();
    const OFFSET: u16 = 0x1fff_u16.to_be();

    /// Whether it is a fragment, the first or a later one.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        self.fragment & (Self::MORE_FRAGMENTS | Self::OFFSET) != 0
    }

    /// Whether it is a fragment other than the first: it has no transport header.
    #[inline(always)]
    pub const fn is_later_fragment(&self) -> bool {
        self.fragment & Self::OFFSET != 0
    }

    /// Whether it is the first of several fragments.
    #[inline(always)]
    pub const fn is_first_fragment(&self) -> bool {
        self.is_fragment() && !self.is_later_fragment()
    }

    /// The key that it shares with the other fragments of its packet.
    #[inline(always)]
    pub const fn fragment_key(&self, side: Side) -> FragmentKey {
        FragmentKey::new(side, self.src, self.dst, self.id, self.protocol)
    }

    /// Whether it is a fragment that overlaps the transport header, to change it behind the back of
    /// whoever looks at the first fragment only (RFC 3128).
    #[inline(always)]
    const fn overlaps_header(&self) -> bool {
        self.fragment & Self::OFFSET == 1_u16.to_be()
    }
}

/// Why a frame has no IPv4 header to work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoIp {
    /// It carries something else.
    NotIpv4,
    /// Truncated or contradictory.
    Malformed,
}

/// Why an IPv4 packet has no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoFlow {
    /// A fragment other than the first, which has no ports.
    LaterFragment,
    /// The first fragment of something that is not translated in fragments.
    Fragment,
    /// A protocol that is not translated.
    Protocol,
    /// An ICMP message other than the query (from the LAN) or the answer.
    Icmp,
    /// Truncated or contradictory.
    Malformed,
}

/// A packet's flow as seen on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// The protocol.
    pub protocol: Protocol,
    /// Source; for an ICMP query the port is its identifier, for an answer 0.
    pub src: (NetAddr, NetPort),
    /// Destination; for an ICMP answer the port is its identifier, for a query 0.
    pub dst: (NetAddr, NetPort),
    /// TCP flags; 0 of other protocols and of later fragments.
    pub flags: u8,
}

impl Flow {
    /// Whether it is the answer to an ICMP query.
    #[inline(always)]
    pub const fn is_answer(&self) -> bool {
        matches!(self.protocol, Protocol::Icmp) && self.dst.1.0 != 0
    }

    /// Whether it is an ICMP query.
    #[inline(always)]
    pub const fn is_query(&self) -> bool {
        matches!(self.protocol, Protocol::Icmp) && self.dst.1.0 == 0
    }

    /// The key of its session.
    #[inline(always)]
    pub const fn key(&self, side: Side) -> SessionKey {
        SessionKey::new(side, self.protocol, self.src, self.dst)
    }
}

/// Reads the IPv4 header.
///
/// # Errors
/// [`NoIp`].
#[inline(always)]
pub fn ipv4<F: Frame>(frame: &mut F) -> Result<Ip, NoIp> {
    let Some(words) = frame.view::<HEADERS_WORDS>(0) else {
        return Err(match frame.view::<ETHERNET_WORDS>(0) {
            Some(ethernet) if ethernet[6] == ETHERTYPE_IPV4.to_be() => NoIp::Malformed,
            _ => NoIp::NotIpv4,
        });
    };
    if words[6] != ETHERTYPE_IPV4.to_be() {
        return Err(NoIp::NotIpv4);
    }
    let [version_and_length, _] = words[7].to_ne_bytes();
    let [ttl, protocol] = words[11].to_ne_bytes();
    let header = usize::from(version_and_length & 0x0f) * 4;
    let total_len = u16::from_be(words[8]);
    let ip = Ip {
        src: NetAddr([words[13], words[14]]),
        dst: NetAddr([words[15], words[16]]),
        protocol,
        ttl,
        total_len,
        payload: ETHERNET + header,
        id: words[9],
        fragment: words[10],
    };
    if version_and_length >> 4 != 4
        || !(20..=MAX_IP_HEADER).contains(&header)
        || usize::from(total_len) < header
        || !frame.holds(ETHERNET + usize::from(total_len))
    {
        return Err(NoIp::Malformed);
    }
    Ok(ip)
}

/// Reads the transport header of a packet seen on `side`.
///
/// # Errors
/// [`NoFlow`].
#[inline(always)]
pub fn flow<F: Frame>(frame: &mut F, ip: &Ip, side: Side) -> Result<Flow, NoFlow> {
    let Some(protocol) = Protocol::from_ip(ip.protocol) else {
        return Err(NoFlow::Protocol);
    };
    if ip.is_later_fragment() {
        return Err(match protocol {
            Protocol::Tcp if ip.overlaps_header() => NoFlow::Malformed,
            _ => NoFlow::LaterFragment,
        });
    }
    let room = ETHERNET + usize::from(ip.total_len) - ip.payload;
    let (src_port, dst_port, flags) = match protocol {
        Protocol::Tcp => {
            let words = header::<F, 10>(frame, ip, room)?;
            let [offset, flags] = words[6].to_ne_bytes();
            if offset >> 4 < 5 || usize::from(offset >> 4) * 4 > room {
                return Err(NoFlow::Malformed);
            }
            (words[0], words[1], flags)
        }
        Protocol::Udp => {
            let words = header::<F, 4>(frame, ip, room)?;
            (words[0], words[1], 0)
        }
        Protocol::Icmp => {
            let words = header::<F, 4>(frame, ip, room)?;
            let [kind, code] = words[0].to_ne_bytes();
            match (side, kind, code) {
                (Side::Lan, icmp::ECHO_REQUEST, 0) => (words[2], 0, 0),
                // Of a hairpinned query, which never has identifier 0: that would look like a query.
                (Side::Lan, icmp::ECHO_REPLY, 0) if words[2] != 0 => (0, words[2], 0),
                (Side::Wan, icmp::ECHO_REPLY, 0) => (0, words[2], 0),
                _ if ip.is_fragment() => return Err(NoFlow::Fragment),
                _ => return Err(NoFlow::Icmp),
            }
        }
    };
    Ok(Flow { protocol, src: (ip.src, NetPort(src_port)), dst: (ip.dst, NetPort(dst_port)), flags })
}

/// The flow of a later fragment, of which the first one has told the ports.
#[inline(always)]
pub fn flow_of_later(ip: &Ip, src_port: NetPort, dst_port: NetPort) -> Option<Flow> {
    let protocol = Protocol::from_ip(ip.protocol)?;
    Some(Flow { protocol, src: (ip.src, src_port), dst: (ip.dst, dst_port), flags: 0 })
}

#[inline(always)]
fn header<'f, F: Frame, const WORDS: usize>(
    frame: &'f mut F,
    ip: &Ip,
    room: usize,
) -> Result<&'f mut [u16; WORDS], NoFlow> {
    if room < WORDS * 2 {
        return Err(NoFlow::Malformed);
    }
    frame.view::<WORDS>(ip.payload).ok_or(NoFlow::Malformed)
}
