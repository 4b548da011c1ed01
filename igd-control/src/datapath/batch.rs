//! Reading whole hash maps, and removing many entries, with few system calls (`BPF_MAP_LOOKUP_BATCH`,
//! `BPF_MAP_DELETE_BATCH`, Linux 5.6).

use bytemuck::Pod;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_DELETE_BATCH: libc::c_long = 27;

/// Entries asked for in one call; more when one hash bucket holds more.
const CHUNK: u32 = 4096;

/// `union bpf_attr`, as far as operations on one entry need it.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr`, as far as batch operations need it.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// A walk over a hash map in chunks. Entries that change during the walk may be seen or missed.
pub struct Chunks<'fd, K, V> {
    map: BorrowedFd<'fd>,
    position: u32,
    started: bool,
    done: bool,
    keys: Vec<K>,
    values: Vec<V>,
    _types: PhantomData<(K, V)>,
}

impl<'fd, K: Pod, V: Pod> Chunks<'fd, K, V> {
    /// Starts a walk. `K` and `V` must have the sizes of the map's keys and values.
    pub fn new(map: BorrowedFd<'fd>) -> Self {
        Self {
            map,
            position: 0,
            started: false,
            done: false,
            keys: vec![K::zeroed(); CHUNK as usize],
            values: vec![V::zeroed(); CHUNK as usize],
            _types: PhantomData,
        }
    }

    /// The next entries; `None` at the end.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn next_chunk(&mut self) -> io::Result<Option<impl Iterator<Item = (&K, &V)>>> {
        let mut count = 0;
        while !self.done && count == 0 {
            count = self.read()?;
        }
        if count == 0 {
            return Ok(None);
        }
        Ok(Some(self.keys.iter().zip(&self.values).take(count as usize)))
    }

    fn read(&mut self) -> io::Result<u32> {
        loop {
            let mut attr = BatchAttr {
                in_batch: if self.started { (&raw const self.position) as u64 } else { 0 },
                out_batch: (&raw mut self.position) as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.values.as_mut_ptr() as u64,
                count: u32::try_from(self.keys.len()).unwrap_or(u32::MAX),
                map_fd: self.map.as_raw_fd().cast_unsigned(),
                ..BatchAttr::default()
            };
            // SAFETY: `count` entries fit both buffers, and `position` is the four bytes that hash maps
            // use to keep their place.
            let Err(error) = (unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) }) else {
                self.started = true;
                return Ok(attr.count);
            };
            match error.raw_os_error() {
                Some(libc::ENOENT) => {
                    self.done = true;
                    return Ok(attr.count);
                }
                // One bucket holds more than the buffers: the position has not moved.
                Some(libc::ENOSPC) => {
                    let len = self.keys.len() * 2;
                    self.keys.resize(len, K::zeroed());
                    self.values.resize(len, V::zeroed());
                }
                Some(libc::EINTR | libc::EAGAIN) => {}
                _ => return Err(error),
            }
        }
    }
}

/// Removes entries; those that are gone already do not matter. Tells how many were there.
///
/// # Errors
/// When the kernel refuses.
pub fn delete<K: Pod>(map: BorrowedFd<'_>, mut keys: &[K]) -> io::Result<usize> {
    let mut removed = 0;
    while !keys.is_empty() {
        let mut attr = BatchAttr {
            keys: keys.as_ptr() as u64,
            count: u32::try_from(keys.len()).unwrap_or(u32::MAX),
            map_fd: map.as_raw_fd().cast_unsigned(),
            ..BatchAttr::default()
        };
        // SAFETY: `count` keys can be read; nothing else is touched.
        let result = unsafe { bpf(BPF_MAP_DELETE_BATCH, &mut attr) };
        let refused = match &result {
            Ok(_) => return Ok(removed + keys.len()),
            Err(error) => error.raw_os_error(),
        };
        match refused {
            // It stops at a key that is not there, having removed those before it.
            Some(libc::ENOENT) => {
                removed += attr.count as usize;
                keys = keys.get(attr.count as usize + 1..).unwrap_or_default();
            }
            Some(libc::EINTR | libc::EAGAIN) => {}
            // A kernel without batches for this map.
            _ => return Ok(removed + delete_singly(map, keys)?),
        }
    }
    Ok(removed)
}

fn delete_singly<K: Pod>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<usize> {
    let mut removed = 0;
    for key in keys {
        let mut attr = ElementAttr {
            map_fd: map.as_raw_fd().cast_unsigned(),
            padding: 0,
            key: (&raw const *key) as u64,
            value: 0,
            flags: 0,
        };
        // SAFETY: the key can be read; nothing else is touched.
        match unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attr) } {
            Ok(_) => removed += 1,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// The system call `bpf`; what it returns.
///
/// # Safety
/// What the attribute points to must be as the command expects it.
pub(super) unsafe fn bpf<A>(command: libc::c_long, attr: &mut A) -> io::Result<i32> {
    // SAFETY: the attribute is valid for the call and has the size given; the rest is the caller's.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<A>()) };
    if result >= 0 { Ok(result as i32) } else { Err(io::Error::last_os_error()) }
}
