//! Giving memory back to the kernel.
//!
//! The start takes far more than the gateway needs afterwards, since the kernel's types are read then to load
//! the programs, and so does the writing of a large table. glibc keeps what was freed below something that is
//! still in use, for ever, unless it is told otherwise. And it gives threads a heap of their own, of which each
//! keeps what it once had.

use nix::sys::mman::{MmapAdvise, madvise};
use nix::unistd::{SysconfVar, sysconf};
use std::fs;
use std::ptr::NonNull;

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

/// Lets go of the pages of a constant that is not read any more; should it be, they come from the binary's file
/// again.
pub fn lay_aside(constant: &'static [u8]) {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|page| page.try_into().ok());
    let Some(page) = page else { return };
    let first = constant.as_ptr().align_offset(page);
    let pages = constant.get(first..).unwrap_or_default();
    if let Some(start) = NonNull::new(pages.as_ptr().cast_mut())
        && pages.len() >= page
    {
        let length = pages.len() - pages.len() % page;
        // SAFETY: these are whole pages of a constant, which nothing ever writes: read again, they are the same.
        let _ = unsafe { madvise(start.cast(), length, MmapAdvise::MADV_DONTNEED) };
    }
}

/// The same for the binary's code, much of which only the start needs: what goes on to run comes back from the
/// file, page by page.
pub fn lay_code_aside() {
    let (Ok(maps), Ok(binary)) =
        (fs::read_to_string("/proc/self/maps"), fs::read_link("/proc/self/exe"))
    else {
        return;
    };
    for (start, length) in maps.lines().filter_map(|line| code(line, &binary.to_string_lossy())) {
        if let Some(start) = NonNull::new(std::ptr::with_exposed_provenance_mut(start)) {
            // SAFETY: whole pages of the file, mapped to be read and run and never to be written.
            let _ = unsafe { madvise(start, length, MmapAdvise::MADV_DONTNEED) };
        }
    }
}

/// Where a line of /proc/PID/maps has code of a file: address and length.
fn code(line: &str, file: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    if words.next() != Some("r-xp") || !line.ends_with(file) {
        return None;
    }
    let from = usize::from_str_radix(from, 16).ok()?;
    let length = usize::from_str_radix(to, 16).ok()?.checked_sub(from)?;
    Some((from, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_found_and_nothing_that_is_written() {
        let line = "55d0c4a00000-55d0c4e0f000 r-xp 002d9000 fe:00 131 /usr/sbin/igd-control";
        assert_eq!(code(line, "/usr/sbin/igd-control"), Some((0x55d0_c4a0_0000, 0x40_f000)));
        assert_eq!(code(&line.replace("r-xp", "rw-p"), "/usr/sbin/igd-control"), None);
        assert_eq!(code(line, "/usr/lib/libc.so.6"), None);
    }

    #[test]
    fn what_was_laid_aside_still_runs() {
        static WORDS: &[u8] = &[7; 100_000];
        lay_aside(WORDS);
        lay_code_aside();
        assert!(WORDS.iter().all(|word| *word == 7));
        give_back();
    }
}
