//! Reading whole hash maps with few system calls (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6).

use bytemuck::Pod;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// Entries asked for in one call; more when one hash bucket holds more.
const CHUNK: u32 = 4096;

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
            // SAFETY: the attribute is valid for the call and has the size given; `count` entries fit
            // both buffers, and `position` is the four bytes that hash maps use to keep their place.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_bpf,
                    BPF_MAP_LOOKUP_BATCH,
                    &raw mut attr,
                    size_of::<BatchAttr>(),
                )
            };
            if result == 0 {
                self.started = true;
                return Ok(attr.count);
            }
            let error = io::Error::last_os_error();
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
