//! The guard on the WAN: what the kernel sends by itself never carries somebody else's source.
//!
//! Translated packets are redirected and do not come by here. What does is the router's own traffic,
//! and whatever the kernel would forward untranslated: after a failed lookup, in the moments between
//! two programs, with a protocol that is not translated.

use crate::frame::{ETHERNET, ETHERTYPE_IPV4};
use crate::tables::Tables;
use nat_common::{Counter, NetAddr};

/// Bytes of a frame up to the end of the IPv4 source address.
pub const NEEDED: usize = ETHERNET + 16;

/// Whether a frame with this EtherType (network byte order) and, if it is IPv4, this source may leave
/// by the WAN. Counts what may not.
///
/// An unspecified source is the router asking for an address (DHCP).
#[inline(always)]
pub fn may_leave<T: Tables>(tables: &T, ethertype: u16, src: NetAddr) -> bool {
    if ethertype != ETHERTYPE_IPV4.to_be()
        || src.is_unspecified()
        || tables.external_index(src).is_some()
    {
        return true;
    }
    tables.count(Counter::DropLeak, 1);
    false
}
