//! Packet memory: the one place where packet bytes become references.

use nat_ebpf::Frame;

/// A packet between the two pointers of its context.
pub(crate) struct Memory {
    start: usize,
    end: usize,
}

impl Memory {
    /// From the context's `data` and `data_end`.
    #[inline(always)]
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

impl Frame for Memory {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn view<const WORDS: usize>(&mut self, at: usize) -> Option<&mut [u16; WORDS]> {
        let first = self.start + at;
        if first + WORDS * 2 > self.end {
            return None;
        }
        // SAFETY: the bytes lie between the packet's ends, as the verifier checks once more; drivers
        // put packets at even addresses and `at` is even; `&mut self` makes the reference unique.
        Some(unsafe { &mut *(first as *mut [u16; WORDS]) })
    }
}

/// A copy of the words at `at`.
#[inline(always)]
pub(crate) fn read<const WORDS: usize>(frame: &mut Memory, at: usize) -> Option<[u16; WORDS]> {
    frame.view::<WORDS>(at).map(|words| *words)
}
