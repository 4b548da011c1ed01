//! Giving memory back to the kernel.
//!
//! The start takes far more than the gateway needs afterwards, since the kernel's types are read then to load
//! the programs, and so does the writing of a large table. glibc keeps what was freed below something that is
//! still in use, for ever, unless it is told otherwise. And it gives threads a heap of their own, of which each
//! keeps what it once had.

/// Has all threads share one heap. To be called before there is another one. The packet path takes nothing from
/// it, and of the daemon's threads only one does much.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it sets a number; no other thread allocates yet.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

/// Gives back what is free. Takes as long as there are free pieces, some milliseconds at most.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it takes the heap's own locks, and nothing that is in use.
        unsafe { libc::malloc_trim(0) };
    }
}
