//! The Internet checksum, changed without being computed anew (RFC 1624).
//!
//! A checksum is the complement of the one's complement sum of 16-bit words. When a word changes
//! from `m` to `m'`, the new checksum is `~(~C + ~m + m')` (equation 3). The part `~m + m'` depends on
//! the flow only, so it is summed up once for each session ([`Delta`]) and applied to every packet
//! with one addition. The sum is the same in either byte order as long as all words are read alike,
//! hence words stay as they are in memory.

/// A change of a checksum: the folded sum of `~old + new` over the words that change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u32);

impl Delta {
    /// One word changes.
    #[inline(always)]
    pub const fn word(self, old: u16, new: u16) -> Self {
        Self(self.0 + (!old) as u32 + new as u32)
    }

    /// Two words change: an address.
    #[inline(always)]
    pub const fn words(self, old: [u16; 2], new: [u16; 2]) -> Self {
        self.word(old[0], new[0]).word(old[1], new[1])
    }

    /// Both changes.
    #[inline(always)]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The TTL, which is the high byte of its word, goes down by one: the same change whatever it was.
    #[inline(always)]
    pub const fn ttl(self) -> Self {
        Self(self.0 + (!0x0100_u16).to_be() as u32)
    }

    /// Folded to 16 bits.
    #[inline(always)]
    pub const fn fold(self) -> u16 {
        fold(self.0)
    }
}

#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// The checksum after the change `delta`.
#[inline(always)]
pub const fn apply(checksum: u16, delta: u16) -> u16 {
    !fold((!checksum) as u32 + delta as u32)
}

/// [`apply`] for UDP: no checksum stays none, and a computed 0 is sent as 0xffff (RFC 768).
#[inline(always)]
pub const fn apply_udp(checksum: u16, delta: u16) -> u16 {
    if checksum == 0 {
        return 0;
    }
    match apply(checksum, delta) {
        0 => 0xffff,
        changed => changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The checksum by its definition.
    fn plain(words: &[u16]) -> u16 {
        let mut sum: u64 = words.iter().map(|word| u64::from(*word)).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    /// One's complement has two zeros.
    fn same(a: u16, b: u16) -> bool {
        a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0)
    }

    proptest! {
        #[test]
        fn a_changed_checksum_is_the_one_computed_anew(
            mut words in proptest::collection::vec(any::<u16>(), 10..40),
            new in any::<[u16; 6]>(),
        ) {
            let before = plain(&words);
            let delta = Delta::default()
                .words([words[0], words[1]], [new[0], new[1]])
                .words([words[2], words[3]], [new[2], new[3]])
                .word(words[4], new[4])
                .word(words[5], new[5])
                .fold();
            words[..6].copy_from_slice(&new);
            prop_assert!(same(apply(before, delta), plain(&words)));
        }

        #[test]
        fn ttl_goes_down_by_one(ttl in 1_u8.., protocol: u8, rest in any::<[u16; 8]>()) {
            let old = u16::from_ne_bytes([ttl, protocol]);
            let new = u16::from_ne_bytes([ttl - 1, protocol]);
            let words = |word: u16| { let mut all = rest.to_vec(); all.push(word); all };
            let changed = apply(plain(&words(old)), Delta::default().ttl().fold());
            prop_assert!(same(changed, plain(&words(new))));
        }

        #[test]
        fn udp_never_turns_a_checksum_into_none(checksum in 1_u16.., delta: u16) {
            prop_assert_ne!(apply_udp(checksum, delta), 0);
            prop_assert_eq!(apply_udp(0, delta), 0);
        }
    }
}
