//! Whom a port forward with filters lets in (RFC 6887 13.3).
//!
//! A forward lets in everybody, or listed hosts, or those whom its filters take. The slot of its port
//! says which ([`crate::ports::Owner`]), so that only the first packets of flows to a filtered port look
//! here. The filters of a slot are replaced as a whole, so nobody sees half of them.

use crate::{BootTime, NetAddr, NetPort};

/// Filters that one forward may have.
pub const MAX_FILTERS: usize = 8;

/// A remote network, and a port of its hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Filter {
    /// The network.
    pub network: NetAddr,
    /// The bits of an address that count.
    pub mask: NetAddr,
    /// The only port; 0: all of them.
    pub port: NetPort,
    /// 1; 0 where there is none.
    pub used: u16,
}

impl Filter {
    /// A filter.
    pub const fn new(network: NetAddr, mask: NetAddr, port: NetPort) -> Self {
        Self { network, mask, port, used: 1 }
    }

    /// Whether it takes a remote host and port.
    #[inline(always)]
    pub const fn takes(&self, addr: NetAddr, port: NetPort) -> bool {
        let differing = (addr.to_be32() ^ self.network.to_be32()) & self.mask.to_be32();
        self.used == 1 && differing == 0 && (self.port.0 == 0 || self.port.0 == port.0)
    }
}

/// The filters of a slot of the port table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Filters {
    /// Boot time until which they let in whom they take.
    pub until: u64,
    /// Those that there are.
    pub filters: [Filter; MAX_FILTERS],
}

impl Filters {
    /// Filters until a time; those for which there is no room are left out, which lets in fewer.
    pub fn new(until: BootTime, wanted: impl IntoIterator<Item = Filter>) -> Self {
        let mut all = Self { until: until.0, ..Self::default() };
        for (place, filter) in all.filters.iter_mut().zip(wanted) {
            *place = filter;
        }
        all
    }

    /// Until when they let a remote host and port in; `BootTime(0)`: not at all.
    #[inline(always)]
    pub fn let_in_until(&self, addr: NetAddr, port: NetPort) -> BootTime {
        let taken = self.filters.iter().any(|filter| filter.takes(addr, port));
        BootTime(if taken { self.until } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::size_of;

    const UNTIL: BootTime = BootTime(9);

    fn addr(octets: [u8; 4]) -> NetAddr {
        NetAddr::from_octets(octets)
    }

    #[test]
    fn a_filter_takes_its_network_and_port() {
        let net = Filter::new(addr([192, 0, 2, 0]), addr([255, 255, 255, 0]), NetPort::new(53));
        let host = Filter::new(addr([198, 51, 100, 7]), addr([255; 4]), NetPort(0));
        let filters = Filters::new(UNTIL, [net, host]);
        for (octets, port, let_in) in [
            ([192, 0, 2, 9], 53, true),
            ([192, 0, 2, 9], 54, false),
            ([192, 0, 3, 9], 53, false),
            ([198, 51, 100, 7], 1, true),
            ([198, 51, 100, 8], 1, false),
        ] {
            let until = filters.let_in_until(addr(octets), NetPort::new(port));
            assert_eq!(until == UNTIL, let_in, "{octets:?}:{port}");
        }
    }

    #[test]
    fn no_filter_takes_nobody_and_a_prefix_of_nothing_everybody() {
        let any = addr([1, 2, 3, 4]);
        assert_eq!(Filters::new(UNTIL, []).let_in_until(any, NetPort::new(5)), BootTime(0));
        let all = Filter::new(addr([0; 4]), addr([0; 4]), NetPort(0));
        assert_eq!(Filters::new(UNTIL, [all]).let_in_until(any, NetPort::new(5)), UNTIL);
        assert_eq!(size_of::<Filters>(), 104);
    }
}
