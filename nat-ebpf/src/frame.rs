//! A packet's bytes.

/// An Ethernet frame that can be read and changed in place.
///
/// Headers are reached as arrays of 16-bit words in network byte order: Ethernet and IPv4 align
/// everything that a NAT touches to two bytes, and whole words are cheaper than bytes.
pub trait Frame {
    /// Whether the frame has so many bytes at least. Not all of them need be in reach of
    /// [`Self::view`]: of a frame in several buffers only the first one is.
    fn holds(&mut self, bytes: usize) -> bool;

    /// The `WORDS` words from the even byte offset `at`; `None` when they are out of reach.
    fn view<const WORDS: usize>(&mut self, at: usize) -> Option<&mut [u16; WORDS]>;
}

/// Ethernet header: destination, source, type.
pub const ETHERNET: usize = 14;
/// The same in words.
pub const ETHERNET_WORDS: usize = ETHERNET / 2;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
