//! A frame in a vector.

use crate::Frame;

/// A frame kept as 16-bit words in memory order, so that every view of it is aligned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFrame {
    words: Vec<u16>,
    /// Length in bytes: of an odd one, the last word is half used.
    len: usize,
}

impl HostFrame {
    /// A frame of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let word = |pair: &[u8]| match pair {
            [first, second] => u16::from_ne_bytes([*first, *second]),
            [last] => u16::from_ne_bytes([*last, 0]),
            _ => 0,
        };
        Self { words: bytes.chunks(2).map(word).collect(), len: bytes.len() }
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_ne_bytes()).take(self.len).collect()
    }
}

impl Frame for HostFrame {
    fn holds(&mut self, bytes: usize) -> bool {
        bytes <= self.len
    }

    fn view<const WORDS: usize>(&mut self, at: usize) -> Option<&mut [u16; WORDS]> {
        if !at.is_multiple_of(2) || at.checked_add(WORDS * 2)? > self.len {
            return None;
        }
        self.words.get_mut(at / 2..at / 2 + WORDS)?.try_into().ok()
    }
}
