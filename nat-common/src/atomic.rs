//! Atomic words for memory that several CPUs, and user space, share.
//!
//! `core` gives the BPF targets no read-modify-write operations, although every CPU that runs BPF has
//! compare-and-swap, and BPF has had it since Linux 5.12. So on BPF they
//! are single instructions written here; elsewhere they are the ones of `core`. All of them are fully
//! ordered, as they are in the kernel.

use core::sync::atomic::AtomicU64;

/// 64 bits.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Word64(AtomicU64);

impl Word64 {
    /// A word with this value.
    #[inline(always)]
    pub const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Reads it, in no particular order with other words.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        op::load(&self.0)
    }

    /// Writes it, in no particular order with other words.
    #[inline(always)]
    pub fn set(&self, value: u64) {
        op::store(&self.0, value);
    }

    /// Sets the bits of `mask`; returns the value before.
    #[inline(always)]
    pub fn set_bits(&self, mask: u64) -> u64 {
        op::or(&self.0, mask)
    }

    /// Keeps only the bits of `mask`; returns the value before.
    #[inline(always)]
    pub fn keep_bits(&self, mask: u64) -> u64 {
        op::and(&self.0, mask)
    }

    /// Adds to it, modulo 2^64; returns the value before.
    #[inline(always)]
    pub fn add(&self, value: u64) -> u64 {
        op::add(&self.0, value)
    }

    /// Reads it, and everything that is read later after it.
    #[inline(always)]
    pub fn get_first(&self) -> u64 {
        // Plain loads are not ordered everywhere, and BPF has had load-acquire only since Linux 6.15.
        self.set_bits(0)
    }

    /// Writes it, and everything that was written earlier before it; returns the value before.
    #[inline(always)]
    pub fn swap(&self, value: u64) -> u64 {
        op::swap(&self.0, value)
    }

    /// Replaces `old` by `new`.
    ///
    /// # Errors
    /// The value found, when it was another than `old`; nothing is written then.
    #[inline(always)]
    pub fn replace(&self, old: u64, new: u64) -> Result<(), u64> {
        let found = op::compare_exchange(&self.0, old, new);
        if found == old { Ok(()) } else { Err(found) }
    }
}

#[cfg(not(target_arch = "bpf"))]
mod op {
    use core::sync::atomic::AtomicU64;
    use core::sync::atomic::Ordering::{Relaxed, SeqCst};

    pub(super) fn load(word: &AtomicU64) -> u64 {
        word.load(Relaxed)
    }

    pub(super) fn store(word: &AtomicU64, value: u64) {
        word.store(value, Relaxed);
    }

    pub(super) fn add(word: &AtomicU64, value: u64) -> u64 {
        word.fetch_add(value, SeqCst)
    }

    pub(super) fn or(word: &AtomicU64, mask: u64) -> u64 {
        word.fetch_or(mask, SeqCst)
    }

    pub(super) fn and(word: &AtomicU64, mask: u64) -> u64 {
        word.fetch_and(mask, SeqCst)
    }

    pub(super) fn swap(word: &AtomicU64, value: u64) -> u64 {
        word.swap(value, SeqCst)
    }

    pub(super) fn compare_exchange(word: &AtomicU64, old: u64, new: u64) -> u64 {
        match word.compare_exchange(old, new, SeqCst, SeqCst) {
            Ok(found) | Err(found) => found,
        }
    }
}

#[cfg(target_arch = "bpf")]
mod op {
    use core::arch::asm;
    use core::sync::atomic::AtomicU64;

    #[inline(always)]
    pub(super) fn load(word: &AtomicU64) -> u64 {
        // SAFETY: valid and aligned. LLVM does not select atomic loads for BPF; a volatile one of
        // eight bytes is one instruction, which is what the kernel calls READ_ONCE.
        unsafe { word.as_ptr().read_volatile() }
    }

    #[inline(always)]
    pub(super) fn store(word: &AtomicU64, value: u64) {
        // SAFETY: as for the load: WRITE_ONCE.
        unsafe { word.as_ptr().write_volatile(value) };
    }

    #[inline(always)]
    pub(super) fn add(word: &AtomicU64, value: u64) -> u64 {
        let mut value = value;
        // SAFETY: one atomic instruction on a valid, aligned word.
        unsafe {
            asm!("{0} = atomic_fetch_add((u64 *)({1} + 0), {0})",
                inout(reg) value, in(reg) word.as_ptr());
        }
        value
    }

    #[inline(always)]
    pub(super) fn or(word: &AtomicU64, mask: u64) -> u64 {
        let mut value = mask;
        // SAFETY: one atomic instruction on a valid, aligned word.
        unsafe {
            asm!("{0} = atomic_fetch_or((u64 *)({1} + 0), {0})",
                inout(reg) value, in(reg) word.as_ptr());
        }
        value
    }

    #[inline(always)]
    pub(super) fn and(word: &AtomicU64, mask: u64) -> u64 {
        let mut value = mask;
        // SAFETY: one atomic instruction on a valid, aligned word.
        unsafe {
            asm!("{0} = atomic_fetch_and((u64 *)({1} + 0), {0})",
                inout(reg) value, in(reg) word.as_ptr());
        }
        value
    }

    #[inline(always)]
    pub(super) fn swap(word: &AtomicU64, value: u64) -> u64 {
        let mut value = value;
        // SAFETY: one atomic instruction on a valid, aligned word.
        unsafe {
            asm!("{0} = xchg_64({1} + 0, {0})",
                inout(reg) value, in(reg) word.as_ptr());
        }
        value
    }

    #[inline(always)]
    pub(super) fn compare_exchange(word: &AtomicU64, old: u64, new: u64) -> u64 {
        let mut found = old;
        // SAFETY: one atomic instruction on a valid, aligned word.
        unsafe {
            asm!("r0 = cmpxchg_64({0} + 0, r0, {1})",
                in(reg) word.as_ptr(), in(reg) new, inout("r0") found);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_return_the_value_before() {
        let word = Word64::new(5);
        assert_eq!(word.set_bits(2), 5);
        assert_eq!(word.keep_bits(6), 7);
        assert_eq!(word.swap(1), 6);
        assert_eq!(word.replace(2, 9), Err(1));
        assert_eq!(word.replace(1, 9), Ok(()));
        assert_eq!(word.get_first(), 9);
        assert_eq!(word.add(3), 9);
        assert_eq!(word.get(), 12);
        word.set(1);
        assert_eq!(word.get(), 1);
    }
}
