//! Fragments: only the first of a packet has ports, so the others are told whose they are.

use crate::atomic::Word64;
use crate::session::Side;
use crate::{BootTime, NetAddr, NetPort};

/// What the fragments of one packet share (RFC 791 3.2), and the side on which they are seen. Twelve
/// bytes: the kernel hashes whole words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct FragmentKey {
    /// Source address.
    pub src: NetAddr,
    /// Destination address.
    pub dst: NetAddr,
    /// Identification, network byte order.
    pub id: u16,
    /// Protocol number.
    pub protocol: u8,
    side: u8,
}

impl FragmentKey {
    /// A key; `id` in network byte order.
    #[inline(always)]
    pub const fn new(side: Side, src: NetAddr, dst: NetAddr, id: u16, protocol: u8) -> Self {
        Self { src, dst, id, protocol, side: side as u8 }
    }
}

/// What is known of the packet to which fragments belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// Its first fragment had these ports, or the identifier of an ICMP query in place of one of them.
    Flow {
        /// Source port.
        src_port: NetPort,
        /// Destination port.
        dst_port: NetPort,
    },
    /// Its first fragment was the kernel's, and so are the others.
    Local,
    /// Others have come before the first one, and wait for it in the daemon.
    Awaited,
}

/// Fragments are told whose they are for so long after the first one, nanoseconds: the least time
/// that RFC 791 3.2 has for reassembly.
pub const FRAGMENT_NANOS: u64 = 15 * crate::time::NANOS_PER_SEC;

/// [`Whole`] in the map, for a while. Sixteen bytes.
#[derive(Debug)]
#[repr(C)]
pub struct FragmentEntry {
    deadline: Word64,
    whole: Word64,
}

const FLOW: u64 = 0;
const LOCAL: u64 = 1;
const AWAITED: u64 = 2;
const PORTS_SHIFT: u32 = 16;
const KIND: u64 = 0xffff;

impl FragmentEntry {
    /// An entry that counts from `now` on.
    #[inline(always)]
    pub const fn new(now: BootTime, whole: Whole) -> Self {
        let word = match whole {
            Whole::Flow { src_port, dst_port } => {
                (src_port.0 as u64) << 32 | (dst_port.0 as u64) << PORTS_SHIFT | FLOW
            }
            Whole::Local => LOCAL,
            Whole::Awaited => AWAITED,
        };
        let deadline = now.plus_nanos(FRAGMENT_NANOS);
        Self { deadline: Word64::new(deadline.0), whole: Word64::new(word) }
    }

    /// What it tells at `now`, if it still counts.
    #[inline(always)]
    pub fn whole(&self, now: BootTime) -> Option<Whole> {
        if self.deadline.get() <= now.0 {
            return None;
        }
        let word = self.whole.get();
        Some(match word & KIND {
            FLOW => Whole::Flow {
                src_port: NetPort((word >> 32) as u16),
                dst_port: NetPort((word >> PORTS_SHIFT) as u16),
            },
            LOCAL => Whole::Local,
            _ => Whole::Awaited,
        })
    }
}

/// What the packet path tells the daemon about fragments; a frame follows when `len` is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct FragmentNote {
    /// Whose fragments.
    pub key: FragmentKey,
    /// Length of the frame that is to be kept, bytes; 0: the first fragment has come.
    pub len: u32,
    /// Index of the interface by which the frame came in.
    pub device: u32,
    /// Of a first fragment: 1 when the kernel has it, and those that wait are to be forgotten.
    pub forget: u32,
}

/// Longest frame that is kept, bytes.
pub const LONGEST_KEPT: usize = 2_048;

/// Fragments that may come before the first one, each second, from all sources that share a place in
/// the budget.
pub const KEPT_PER_SECOND: u32 = 64;

/// Places in that budget, a power of two. Sources are spread over them.
pub const BUDGET_PLACES: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_tell_what_they_were_told_until_their_end() {
        let now = BootTime(5);
        let (src_port, dst_port) = (NetPort::new(0xfffe), NetPort::new(53));
        for whole in [Whole::Flow { src_port, dst_port }, Whole::Local, Whole::Awaited] {
            let entry = FragmentEntry::new(now, whole);
            assert_eq!(entry.whole(now), Some(whole));
            assert_eq!(entry.whole(now.plus_nanos(FRAGMENT_NANOS - 1)), Some(whole));
            assert_eq!(entry.whole(now.plus_nanos(FRAGMENT_NANOS)), None);
        }
    }

    #[test]
    fn layouts_have_no_padding() {
        assert_eq!((size_of::<FragmentKey>(), align_of::<FragmentKey>()), (12, 2));
        assert_eq!(size_of::<FragmentEntry>(), 16);
        assert_eq!(size_of::<FragmentNote>(), 24);
    }
}
