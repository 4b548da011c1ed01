//! Mappings in the order of their creation, reached by index.
//!
//! GetGenericPortMappingEntry walks the table by index, and deletion compacts the array. The order
//! is held in chunks of bounded size: an index is found by walking over chunk lengths (about a
//! hundred for 60,000 mappings), and a deletion moves the entries of one chunk only.

use super::entry::MappingKey;

/// Entries in a full chunk.
const CHUNK: usize = 512;

type Item = (u64, MappingKey);

/// A sorted set of (sequence number, key) with access by index. No chunk is ever empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    chunks: Vec<Vec<Item>>,
    len: usize,
}

impl Order {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts a mapping in its place; the same sequence number twice is kept once.
    pub(super) fn insert(&mut self, sequence: u64, key: MappingKey) {
        let at = self.chunk_of(sequence);
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(vec![(sequence, key)]);
            self.len += 1;
            return;
        };
        let Err(place) = chunk.binary_search_by_key(&sequence, |item| item.0) else {
            return;
        };
        self.len += 1;
        if chunk.len() < CHUNK {
            chunk.insert(place, (sequence, key));
        } else if place == chunk.len() {
            self.chunks.insert(at + 1, vec![(sequence, key)]);
        } else {
            chunk.insert(place, (sequence, key));
            let upper = chunk.split_off(CHUNK / 2);
            self.chunks.insert(at + 1, upper);
        }
    }

    /// Takes a mapping out.
    pub(super) fn remove(&mut self, sequence: u64) {
        let at = self.chunk_of(sequence);
        let Some(chunk) = self.chunks.get_mut(at) else {
            return;
        };
        let Ok(place) = chunk.binary_search_by_key(&sequence, |item| item.0) else {
            return;
        };
        chunk.remove(place);
        self.len -= 1;
        let left = chunk.len();
        if left == 0 {
            self.chunks.remove(at);
        } else if let Some(next) = self.chunks.get(at + 1)
            && left + next.len() <= CHUNK / 2
        {
            // Thin chunks are joined, so that their number stays in proportion to the entries.
            let mut next = self.chunks.remove(at + 1);
            if let Some(chunk) = self.chunks.get_mut(at) {
                chunk.append(&mut next);
            }
        }
    }

    /// The mapping at `index`, counted from 0.
    pub(super) fn nth(&self, index: usize) -> Option<MappingKey> {
        let mut left = index;
        for chunk in &self.chunks {
            match chunk.get(left) {
                Some((_, key)) => return Some(*key),
                None => left -= chunk.len(),
            }
        }
        None
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = MappingKey> + '_ {
        self.chunks.iter().flatten().map(|(_, key)| *key)
    }

    /// The chunk in which a sequence number stands or would stand.
    fn chunk_of(&self, sequence: u64) -> usize {
        let starts_at_or_before =
            |chunk: &Vec<Item>| chunk.first().is_some_and(|item| item.0 <= sequence);
        self.chunks.partition_point(starts_at_or_before).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nat_common::Protocol;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn key(sequence: u64) -> MappingKey {
        MappingKey { protocol: Protocol::Udp, external_port: sequence as u16, remote: None }
    }

    #[test]
    fn sixty_thousand_are_found_by_index_after_deletions() {
        let mut order = Order::default();
        (0..60_000).for_each(|sequence| order.insert(sequence, key(sequence)));
        (0..60_000).filter(|n| n % 3 != 0).for_each(|sequence| order.remove(sequence));
        assert_eq!(order.len(), 20_000);
        assert_eq!(order.nth(12_345), Some(key(12_345 * 3)));
        assert_eq!(order.nth(20_000), None);
        assert!(order.chunks.len() <= 20_000 / (CHUNK / 4), "{} chunks", order.chunks.len());
    }

    proptest! {
        #[test]
        fn behaves_as_a_sorted_set(steps in prop::collection::vec((any::<bool>(), 0u64..2_000), 0..3_000)) {
            let (mut order, mut model) = (Order::default(), BTreeSet::new());
            for (insert, sequence) in steps {
                if insert || sequence % 3 == 0 {
                    order.insert(sequence, key(sequence));
                    model.insert(sequence);
                } else {
                    order.remove(sequence);
                    model.remove(&sequence);
                }
            }
            prop_assert_eq!(order.len(), model.len());
            prop_assert!(order.iter().eq(model.iter().map(|sequence| key(*sequence))));
            for (index, sequence) in model.iter().enumerate() {
                prop_assert_eq!(order.nth(index), Some(key(*sequence)));
            }
        }
    }
}
