//! Fragments that wait for the first one of their packet: bounded in number, memory and time, oldest
//! out first (RFC 4787 REQ-14).

use nat_common::BootTime;
use nat_common::fragments::{FRAGMENT_NANOS, FragmentKey};
use std::collections::{BTreeMap, HashMap};

/// Most bytes of frames that wait.
const MOST_BYTES: usize = 4 << 20;

/// Most packets whose first fragment has come lately, to be remembered.
const MOST_RELEASED: usize = 4_096;

/// A frame that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Index of the interface by which it came in.
    pub(super) device: u32,
    /// Its bytes.
    pub(super) frame: Vec<u8>,
}

/// Where fragments wait.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// By number, which grows.
    frames: BTreeMap<u64, (BootTime, FragmentKey, Waiting)>,
    by_key: HashMap<FragmentKey, Vec<u64>>,
    /// Packets whose first fragment came lately, until when to remember them, and whether the kernel
    /// has them. A frame may be told of after its packet's first fragment, by another CPU.
    released: BTreeMap<u64, (BootTime, FragmentKey)>,
    known: HashMap<FragmentKey, bool>,
    next: u64,
    bytes: usize,
    late: u64,
}

impl Shelf {
    /// Keeps a frame. Returns it when its packet's first fragment has come meanwhile.
    pub(super) fn keep(
        &mut self,
        now: BootTime,
        key: FragmentKey,
        waiting: Waiting,
    ) -> Option<Waiting> {
        self.expire(now);
        match self.known.get(&key) {
            Some(true) => return None,
            Some(false) => return Some(waiting),
            None => {}
        }
        self.bytes += waiting.frame.len();
        self.by_key.entry(key).or_default().push(self.next);
        self.frames.insert(self.next, (now.plus_nanos(FRAGMENT_NANOS), key, waiting));
        self.next += 1;
        while self.bytes > MOST_BYTES {
            self.drop_oldest();
        }
        None
    }

    /// The first fragment of a packet has come: hands out those that wait for it. With `forget` the
    /// kernel has had them all.
    pub(super) fn release(
        &mut self,
        now: BootTime,
        key: FragmentKey,
        forget: bool,
    ) -> Vec<Waiting> {
        self.expire(now);
        if self.known.insert(key, forget).is_none() {
            self.released.insert(self.next, (now.plus_nanos(FRAGMENT_NANOS), key));
            self.next += 1;
        }
        while self.released.len() > MOST_RELEASED {
            self.forget_oldest();
        }
        let numbers = self.by_key.remove(&key).unwrap_or_default();
        let waiting = numbers.into_iter().filter_map(|number| self.frames.remove(&number));
        let waiting: Vec<Waiting> = waiting.map(|(_, _, waiting)| waiting).collect();
        self.bytes -= waiting.iter().map(|waiting| waiting.frame.len()).sum::<usize>();
        if forget { Vec::new() } else { waiting }
    }

    /// Throws away what has waited for too long.
    pub(super) fn expire(&mut self, now: BootTime) {
        let over = |until: Option<&BootTime>| until.is_some_and(|until| *until <= now);
        while over(self.frames.first_key_value().map(|(_, (until, _, _))| until)) {
            self.drop_oldest();
        }
        while over(self.released.first_key_value().map(|(_, (until, _))| until)) {
            self.forget_oldest();
        }
    }

    /// How many were thrown away since this was asked last.
    pub(super) fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late)
    }

    fn drop_oldest(&mut self) {
        let Some((number, (_, key, waiting))) = self.frames.pop_first() else { return };
        self.bytes -= waiting.frame.len();
        self.late += 1;
        if let Some(numbers) = self.by_key.get_mut(&key) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, (_, key))) = self.released.pop_first() {
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nat_common::NetAddr;
    use nat_common::session::Side;

    const NOW: BootTime = BootTime(1_000_000_000_000);

    fn key(id: u16) -> FragmentKey {
        FragmentKey::new(Side::Lan, NetAddr([1, 2]), NetAddr([3, 4]), id, 17)
    }

    fn frame(len: usize, mark: u8) -> Waiting {
        Waiting { device: 3, frame: vec![mark; len] }
    }

    #[test]
    fn what_waits_is_handed_out_in_order_when_the_first_fragment_comes() {
        let mut shelf = Shelf::default();
        for mark in [1, 2] {
            assert_eq!(shelf.keep(NOW, key(7), frame(100, mark)), None);
        }
        assert_eq!(shelf.keep(NOW, key(8), frame(100, 3)), None);
        assert_eq!(shelf.release(NOW, key(7), false), [frame(100, 1), frame(100, 2)]);
        assert_eq!(shelf.release(NOW, key(7), false), []);
        assert_eq!((shelf.bytes, shelf.take_late()), (100, 0));
    }

    #[test]
    fn a_frame_that_is_told_of_after_the_first_fragment_does_not_wait() {
        let mut shelf = Shelf::default();
        assert_eq!(shelf.release(NOW, key(7), false), []);
        assert_eq!(shelf.keep(NOW, key(7), frame(10, 1)), Some(frame(10, 1)));
        let later = NOW.plus_nanos(FRAGMENT_NANOS);
        assert_eq!(shelf.keep(later, key(7), frame(10, 1)), None);
    }

    #[test]
    fn what_the_kernel_has_is_forgotten() {
        let mut shelf = Shelf::default();
        assert_eq!(shelf.keep(NOW, key(7), frame(10, 1)), None);
        assert_eq!(shelf.release(NOW, key(7), true), []);
        assert_eq!(shelf.keep(NOW, key(7), frame(10, 1)), None);
        assert_eq!((shelf.bytes, shelf.take_late()), (0, 0));
    }

    #[test]
    fn nothing_waits_for_longer_than_fifteen_seconds() {
        let mut shelf = Shelf::default();
        shelf.keep(NOW, key(7), frame(10, 1));
        shelf.expire(NOW.plus_nanos(FRAGMENT_NANOS - 1));
        assert_eq!(shelf.take_late(), 0);
        shelf.expire(NOW.plus_nanos(FRAGMENT_NANOS));
        assert_eq!((shelf.take_late(), shelf.bytes), (1, 0));
        assert!(shelf.by_key.is_empty() && shelf.frames.is_empty());
    }

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let mut shelf = Shelf::default();
        for id in 0..=u16::try_from(MOST_BYTES / 2_000).unwrap() {
            shelf.keep(NOW, key(id), frame(2_000, 1));
        }
        assert_eq!(shelf.take_late(), 1);
        assert_eq!(shelf.release(NOW, key(0), false), []);
        assert_eq!(shelf.release(NOW, key(1), false).len(), 1);
    }

    #[test]
    fn only_so_many_first_fragments_are_remembered() {
        let mut shelf = Shelf::default();
        for id in 0..=u16::try_from(MOST_RELEASED).unwrap() {
            shelf.release(NOW, key(id), false);
        }
        assert_eq!((shelf.released.len(), shelf.known.len()), (MOST_RELEASED, MOST_RELEASED));
    }
}
