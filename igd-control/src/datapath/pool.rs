//! Which of the WAN interface's addresses are the NAT's.

use nat_common::NetAddr;

/// The addresses of the WAN interface, as the packet path is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pool {
    /// External addresses; port forwards are on the first.
    pub(super) external: Vec<NetAddr>,
    /// The router's own.
    pub(super) others: Vec<NetAddr>,
    /// Those that should be external ones, and are not on the interface.
    pub(super) missing: Vec<NetAddr>,
}

impl Pool {
    /// From the addresses that are configured (none: the interface's first) and those of the interface.
    pub(super) fn new(configured: &[NetAddr], present: &[NetAddr]) -> Self {
        let first = present.first().copied();
        let wanted: Vec<NetAddr> =
            if configured.is_empty() { first.into_iter().collect() } else { configured.to_vec() };
        let (external, missing): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|addr| present.contains(addr));
        let others = present.iter().filter(|addr| !external.contains(addr)).copied().collect();
        Self { external, others, missing }
    }

    /// Whether sessions of the pool `before` have lost what they stand on: a client's address follows from
    /// the whole pool. That there is none for a moment changes nothing.
    pub(super) fn voids(&self, before: &[NetAddr]) -> bool {
        !before.is_empty() && !self.external.is_empty() && before != self.external
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn addr(last: u8) -> NetAddr {
        NetAddr::from_octets([11, 22, 33, last])
    }

    #[test]
    fn without_a_list_the_first_address_is_the_external_one() {
        let pool = Pool::new(&[], &[addr(1), addr(2)]);
        assert_eq!((pool.external, pool.others), (vec![addr(1)], vec![addr(2)]));
        assert_eq!(Pool::new(&[], &[]), Pool::default());
    }

    #[test]
    fn of_the_list_those_on_the_interface_are_external_in_the_lists_order() {
        let pool = Pool::new(&[addr(5), addr(3), addr(4)], &[addr(1), addr(3), addr(5)]);
        assert_eq!(pool.external, [addr(5), addr(3)]);
        assert_eq!(pool.others, [addr(1)]);
        assert_eq!(pool.missing, [addr(4)]);
    }

    #[test]
    fn any_other_composition_voids_sessions_and_a_pause_does_not() {
        let pool = Pool::new(&[addr(5), addr(3)], &[addr(3), addr(5)]);
        assert!(!pool.voids(&[addr(5), addr(3)]) && !pool.voids(&[]));
        assert!(pool.voids(&[addr(5)]) && pool.voids(&[addr(3), addr(5)]));
        assert!(!Pool::new(&[addr(5)], &[]).voids(&[addr(5)]));
    }
}
