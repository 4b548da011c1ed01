//! VLAN tags in the frame (802.1Q, and 802.1ad before it).
//!
//! The pipeline sees untagged frames only. On a device that carries VLANs the tags come off before it,
//! since they name the link by which the frame came; and each frame gets the tags of the link by which
//! it leaves, with the priority that it came with. What is left to the kernel gets its own tags back.

use crate::frame::Frame;
use nat_common::link::{DOT1AD, DOT1Q, Tag, Tags};

/// Bytes of a tag.
pub const TAG: usize = 4;

/// Priority and drop eligibility in a tag's second word, network byte order.
const PRIORITY: u16 = 0xf000_u16.to_be();
/// The identifier there.
const ID: u16 = 0x0fff_u16.to_be();

/// How a frame came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Arrival {
    /// Its tags.
    pub tags: Tags,
    /// Priority and drop eligibility of the outer tag, network byte order.
    pub priority: u16,
    /// The same of the inner one.
    pub inner_priority: u16,
    /// EtherType behind the tags, network byte order.
    pub ethertype: u16,
    /// Always 0.
    pub reserved: u16,
}

/// Reads the tags of a frame.
#[inline(always)]
pub fn arrival<F: Frame>(frame: &mut F) -> Arrival {
    let mut arrival = Arrival::default();
    let Some(words) = frame.view::<1>(12) else { return arrival };
    arrival.ethertype = words[0];
    if !is_tag(arrival.ethertype) {
        return arrival;
    }
    let Some(words) = frame.view::<3>(12) else { return arrival };
    arrival.tags.outer = Tag { protocol: words[0], id: words[1] & ID };
    arrival.priority = words[1] & PRIORITY;
    arrival.ethertype = words[2];
    if !is_tag(arrival.ethertype) {
        return arrival;
    }
    let Some(words) = frame.view::<3>(12 + TAG) else { return arrival };
    arrival.tags.inner = Tag { protocol: words[0], id: words[1] & ID };
    arrival.inner_priority = words[1] & PRIORITY;
    arrival.ethertype = words[2];
    arrival
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    ethertype == DOT1Q.to_be() || ethertype == DOT1AD.to_be()
}

impl Arrival {
    /// The tags as they came.
    #[inline(always)]
    pub const fn words(&self) -> [u16; 4] {
        let Tags { outer, inner } = self.tags;
        [outer.protocol, outer.id | self.priority, inner.protocol, inner.id | self.inner_priority]
    }

    /// The tags with which the frame leaves by a link that has these.
    #[inline(always)]
    pub const fn leaving(&self, tags: Tags) -> [u16; 4] {
        let Tags { outer, inner } = tags;
        let inner_priority =
            if self.tags.inner.protocol == 0 { self.priority } else { self.inner_priority };
        [outer.protocol, outer.id | self.priority, inner.protocol, inner.id | inner_priority]
    }
}
