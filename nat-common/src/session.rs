//! Sessions: one entry for each direction of each flow, found by the packet's own five-tuple.

use crate::atomic::Word64;
use crate::ports::slot_index;
use crate::{BootTime, NetAddr, NetPort, Protocol};

/// On which side of the NAT a packet was seen. Part of the key, so that a packet from the WAN with a
/// forged internal source never finds a session of the LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Side {
    /// Came in by a LAN interface.
    Lan = 0,
    /// Came in by the WAN interface.
    Wan = 1,
}

/// Five-tuple as on the wire, and the side. Sixteen bytes: the kernel hashes whole words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct SessionKey {
    /// Source address of the packet.
    pub src: NetAddr,
    /// Destination address of the packet.
    pub dst: NetAddr,
    /// Source port; the identifier of an ICMP query from the inside; 0 in its reply.
    pub src_port: NetPort,
    /// Destination port; 0 in an ICMP query from the inside; the identifier in its reply.
    pub dst_port: NetPort,
    protocol: u8,
    side: u8,
    reserved: u16,
}

impl SessionKey {
    /// A key.
    #[inline(always)]
    pub const fn new(
        side: Side,
        protocol: Protocol,
        src: (NetAddr, NetPort),
        dst: (NetAddr, NetPort),
    ) -> Self {
        Self {
            src: src.0,
            dst: dst.0,
            src_port: src.1,
            dst_port: dst.1,
            protocol: protocol as u8,
            side: side as u8,
            reserved: 0,
        }
    }

    /// The side on which the packet was seen.
    #[inline(always)]
    pub const fn side(&self) -> Side {
        if self.side == 0 { Side::Lan } else { Side::Wan }
    }

    /// The protocol.
    #[inline(always)]
    pub const fn protocol(&self) -> Protocol {
        match self.protocol {
            0 => Protocol::Tcp,
            1 => Protocol::Udp,
            _ => Protocol::Icmp,
        }
    }
}

/// Bits of [`Session::control`].
pub mod control {
    /// TCP: the inside has sent something.
    pub const SEEN_INSIDE: u64 = 1;
    /// TCP: the outside has sent something.
    pub const SEEN_OUTSIDE: u64 = 1 << 1;
    /// TCP: the side that opened the connection has completed the handshake.
    pub const ACKED: u64 = 1 << 2;
    /// TCP: the inside has sent its FIN.
    pub const FIN_INSIDE: u64 = 1 << 3;
    /// TCP: the outside has sent its FIN.
    pub const FIN_OUTSIDE: u64 = 1 << 4;
    /// TCP: a reset was seen.
    pub const RESET: u64 = 1 << 5;
    /// Everything that the TCP state is made of.
    pub const TCP_STATE: u64 = 0x3f;
    /// This half translates packets that go towards the inside.
    pub const TOWARDS_INSIDE: u64 = 1 << 8;
    /// The session was opened from the outside, by a port forward.
    pub const OPENED_OUTSIDE: u64 = 1 << 9;
    /// The session lives only while its port forward does (UDP opened from the outside).
    pub const BOUND_TO_FORWARD: u64 = 1 << 10;
    /// Both ends are internal clients.
    pub const HAIRPIN: u64 = 1 << 11;
    /// Shift of the index of the link by which packets leave.
    pub const LINK_SHIFT: u32 = 16;
    /// Mask of that index, once shifted.
    pub const LINK_MASK: u64 = 0xff;
    /// Shift of the NAT or forward generation in which the session was made; in another it is void.
    pub const GENERATION_SHIFT: u32 = 32;
}

/// What to do with the packets of one direction of one flow. Forty bytes.
///
/// The words that change while the session lives are atomics; the rest is written once.
#[derive(Debug)]
#[repr(C)]
pub struct Session {
    /// Boot time at which the session ends.
    pub deadline: Word64,
    /// Next hop: destination MAC address in the high 48 bits, the route generation for which it was
    /// looked up in the low 16 (0: not known).
    pub hop: Word64,
    /// See [`control`].
    pub control: Word64,
    /// Source address after translation.
    pub new_src: NetAddr,
    /// Destination address after translation.
    pub new_dst: NetAddr,
    /// Source port after translation.
    pub new_src_port: NetPort,
    /// Destination port after translation.
    pub new_dst_port: NetPort,
    /// Change of the IP header's checksum: addresses and one hop of TTL, folded (RFC 1624).
    pub ip_delta: u16,
    /// Change of the TCP, UDP or ICMP checksum, folded.
    pub l4_delta: u16,
}

impl Session {
    /// The key of the other direction: the translated packet's own reply.
    #[inline(always)]
    pub const fn reverse_key(&self, side: Side, protocol: Protocol) -> SessionKey {
        SessionKey::new(
            side,
            protocol,
            (self.new_dst, self.new_dst_port),
            (self.new_src, self.new_src_port),
        )
    }
}

/// A [`Session`] as user space reads it from the map.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct SessionRecord {
    /// See [`Session::deadline`].
    pub deadline: u64,
    /// See [`Session::hop`].
    pub hop: u64,
    /// See [`Session::control`].
    pub control: u64,
    /// See [`Session::new_src`].
    pub new_src: NetAddr,
    /// See [`Session::new_dst`].
    pub new_dst: NetAddr,
    /// See [`Session::new_src_port`].
    pub new_src_port: NetPort,
    /// See [`Session::new_dst_port`].
    pub new_dst_port: NetPort,
    /// See [`Session::ip_delta`].
    pub ip_delta: u16,
    /// See [`Session::l4_delta`].
    pub l4_delta: u16,
}

impl SessionRecord {
    /// When the session ends.
    pub const fn deadline(&self) -> BootTime {
        BootTime(self.deadline)
    }
}

/// The internal client for which a session counts, told by the half that its packets use; `None` for the
/// other half. Of two internal clients it is the one that has opened the session.
#[inline(always)]
pub const fn charged(key: &SessionKey, control: u64) -> Option<NetAddr> {
    const CALLED: u64 = control::HAIRPIN | control::TOWARDS_INSIDE;
    match key.side() {
        Side::Lan if control & CALLED != CALLED => Some(key.src),
        _ => None,
    }
}

/// Key of the index from internal endpoint to external port (endpoint-independent mapping).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct EndpointKey {
    /// Address of the internal client.
    pub addr: NetAddr,
    /// Its port or ICMP query identifier.
    pub port: NetPort,
    protocol: u8,
    reserved: u8,
}

impl EndpointKey {
    /// A key.
    #[inline(always)]
    pub const fn new(protocol: Protocol, addr: NetAddr, port: NetPort) -> Self {
        Self { addr, port, protocol: protocol as u8, reserved: 0 }
    }

    /// The protocol.
    pub const fn protocol(&self) -> Protocol {
        match self.protocol {
            0 => Protocol::Tcp,
            1 => Protocol::Udp,
            _ => Protocol::Icmp,
        }
    }
}

/// The external side of a mapping, packed into the index's one word, so that it can be swapped whole.
/// The address is the pool's at that index: a new address does not change the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalEndpoint {
    /// External port or ICMP query identifier.
    pub port: NetPort,
    /// Index of the address in the pool.
    pub pool_index: u16,
}

impl ExternalEndpoint {
    /// As the index's value.
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        (self.port.0 as u64) << 16 | self.pool_index as u64
    }

    /// From the index's value.
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        Self { port: NetPort((word >> 16) as u16), pool_index: word as u16 }
    }

    /// Its slot in the port table.
    #[inline(always)]
    pub const fn slot(self, protocol: Protocol) -> u32 {
        slot_index(self.pool_index as u32, protocol, self.port.get())
    }
}

/// Key of the map of remote hosts that a port forward lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct RemoteKey {
    /// The forward's slot in the port table.
    pub slot: u32,
    /// The remote host that is let in; 0.0.0.0: everybody.
    pub remote: NetAddr,
}

impl RemoteKey {
    /// Set in the slot's number for a disabled forward. The packet path never asks for such a key: it
    /// tells the next daemon what the port is held for.
    pub const DISABLED: u32 = 1 << 31;
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{align_of, size_of};

    #[test]
    fn layouts_are_what_the_memory_budget_assumes() {
        assert_eq!((size_of::<SessionKey>(), align_of::<SessionKey>()), (16, 2));
        assert_eq!((size_of::<Session>(), align_of::<Session>()), (40, 8));
        assert_eq!(size_of::<SessionRecord>(), size_of::<Session>());
        assert_eq!(size_of::<EndpointKey>(), 8);
        assert_eq!(size_of::<RemoteKey>(), 8);
        // A hash element costs 48 bytes beside key and value; two of them make a session.
        assert!(2 * (48 + size_of::<SessionKey>() + size_of::<Session>()) <= 208);
    }

    #[test]
    fn external_endpoint_packs_into_one_word() {
        let external = ExternalEndpoint { port: NetPort::new(51_413), pool_index: 3 };
        assert_eq!(ExternalEndpoint::unpack(external.pack()), external);
    }
}
