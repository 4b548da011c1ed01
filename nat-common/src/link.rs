//! The network interfaces that the NAT serves.

use crate::session::Side;

/// A VLAN tag without its priority, as it stands in a frame: network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Tag {
    /// EtherType: 802.1Q or 802.1ad; 0: no tag.
    pub protocol: u16,
    /// VLAN identifier, 12 bits.
    pub id: u16,
}

/// EtherType of 802.1Q, a customer's tag.
pub const DOT1Q: u16 = 0x8100;
/// EtherType of 802.1ad, a provider's tag.
pub const DOT1AD: u16 = 0x88a8;

impl Tag {
    /// No tag.
    pub const NONE: Self = Self { protocol: 0, id: 0 };

    /// A tag; both in host byte order.
    #[inline(always)]
    pub const fn new(protocol: u16, id: u16) -> Self {
        Self { protocol: protocol.to_be(), id: id.to_be() }
    }
}

/// The tags of a frame, the outer one first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Tags {
    /// The first one in the frame.
    pub outer: Tag,
    /// The one behind it (QinQ).
    pub inner: Tag,
}

impl Tags {
    /// Untagged.
    pub const NONE: Self = Self { outer: Tag::NONE, inner: Tag::NONE };

    /// Whether there are none.
    #[inline(always)]
    pub const fn is_none(&self) -> bool {
        self.outer.protocol == 0
    }

    /// How many tags there are.
    #[inline(always)]
    pub const fn count(&self) -> usize {
        match (self.outer.protocol, self.inner.protocol) {
            (0, _) => 0,
            (_, 0) => 1,
            _ => 2,
        }
    }
}

/// By which link frames come in: the key of the map of tagged links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct TaggedKey {
    /// Index of the interface that has the frames.
    pub device: u32,
    /// Their tags.
    pub tags: Tags,
}

/// One interface as the packet path needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Link {
    /// Interface index, which routes name; 0 marks an unused entry.
    pub ifindex: u32,
    /// Index of the interface whose frames these are: of a VLAN the one below it, else the same.
    pub device: u32,
    /// The interface's own MAC address, as it stands in a frame.
    pub mac: [u16; 3],
    /// Largest IP packet, bytes.
    pub mtu: u16,
    side: u16,
    reserved: u16,
    /// The tags that its frames carry on the device.
    pub tags: Tags,
}

/// How many interfaces there can be: the size of the links map. Indices fit a session's control word.
pub const MAX_LINKS: u32 = 64;

impl Link {
    /// An entry. `mac` in the order of transmission.
    pub const fn new(ifindex: u32, mac: [u8; 6], mtu: u16, side: Side) -> Self {
        Self {
            ifindex,
            device: ifindex,
            mac: [
                u16::from_ne_bytes([mac[0], mac[1]]),
                u16::from_ne_bytes([mac[2], mac[3]]),
                u16::from_ne_bytes([mac[4], mac[5]]),
            ],
            mtu,
            side: side as u16,
            reserved: 0,
            tags: Tags::NONE,
        }
    }

    /// The same as a VLAN on a device.
    #[must_use]
    pub const fn on(self, device: u32, tags: Tags) -> Self {
        Self { device, tags, ..self }
    }

    /// On which side of the NAT the interface lies.
    #[inline(always)]
    pub const fn side(&self) -> Side {
        if self.side == 0 { Side::Lan } else { Side::Wan }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_counted() {
        let tag = Tag::new(DOT1Q, 10);
        assert_eq!(Tags::NONE.count(), 0);
        assert_eq!(Tags { outer: tag, inner: Tag::NONE }.count(), 1);
        assert_eq!(Tags { outer: Tag::new(DOT1AD, 100), inner: tag }.count(), 2);
    }

    #[test]
    fn layouts_have_no_padding() {
        assert_eq!((size_of::<TaggedKey>(), size_of::<Link>()), (12, 28));
    }
}
