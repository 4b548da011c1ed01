//! The network interfaces that the NAT serves.

use crate::session::Side;

/// One interface as the packet path needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Link {
    /// Interface index; 0 marks an unused entry.
    pub ifindex: u32,
    /// The interface's own MAC address, as it stands in a frame.
    pub mac: [u16; 3],
    /// Largest IP packet, bytes.
    pub mtu: u16,
    side: u16,
    reserved: u16,
}

/// How many interfaces there can be: the size of the links map. Indices fit a session's control word.
pub const MAX_LINKS: u32 = 64;

impl Link {
    /// An entry. `mac` in the order of transmission.
    pub const fn new(ifindex: u32, mac: [u8; 6], mtu: u16, side: Side) -> Self {
        Self {
            ifindex,
            mac: [
                u16::from_ne_bytes([mac[0], mac[1]]),
                u16::from_ne_bytes([mac[2], mac[3]]),
                u16::from_ne_bytes([mac[4], mac[5]]),
            ],
            mtu,
            side: side as u16,
            reserved: 0,
        }
    }

    /// On which side of the NAT the interface lies.
    #[inline(always)]
    pub const fn side(&self) -> Side {
        if self.side == 0 { Side::Lan } else { Side::Wan }
    }
}
