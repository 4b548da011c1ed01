//! The port table, and the hints at free ports, mapped into the daemon's memory.

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use nat_common::hints::PortHints;
use nat_common::ports::PortSlot;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::ptr::NonNull;

/// Values of a map, shared with the XDP program on every CPU.
pub struct Mapped<T> {
    values: NonNull<T>,
    len: usize,
    bytes: NonZeroUsize,
    /// Kept open: programs that are loaded later name the map by this descriptor.
    _map: MapData,
}

/// The port table.
pub type PortTable = Mapped<PortSlot>;

/// What consists of atomic words only, so that every bit pattern is valid and others may change it.
trait Shared {}
impl Shared for PortSlot {}
impl Shared for PortHints {}

// SAFETY: the values are atomic words, and the mapping lives as long as this.
unsafe impl<T: Shared> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Mapped<T> {}

#[allow(private_bounds, reason = "nobody else is to say what may be shared")]
impl<T: Shared> Mapped<T> {
    /// Maps the array `map`, which must hold such values and be memory-mappable.
    ///
    /// # Errors
    /// When the kernel refuses, or the map has another layout.
    pub fn new(map: MapData) -> Result<Self> {
        let info = map.info().context("cannot read a map's description")?;
        let len = usize::try_from(info.max_entries())?;
        anyhow::ensure!(
            info.value_size() as usize == size_of::<T>(),
            "a map holds {}-byte values, not {}",
            info.value_size(),
            size_of::<T>(),
        );
        let bytes = NonZeroUsize::new(len * size_of::<T>()).context("an empty map")?;
        // SAFETY: a new shared mapping of a whole map; nothing else is placed there.
        let start = unsafe {
            mmap(
                None,
                bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                map.fd().as_fd(),
                0,
            )
        };
        let values = start.context("cannot map a BPF map into memory")?.cast();
        Ok(Self { values, len, bytes, _map: map })
    }

    /// All values.
    pub fn slots(&self) -> &[T] {
        // SAFETY: the mapping covers exactly these values until it is dropped; every bit pattern is a
        // valid value, and all changes to it are atomic.
        unsafe { std::slice::from_raw_parts(self.values.as_ptr(), self.len) }
    }

    /// One value: of the port table by [`nat_common::ports::slot_index`].
    pub fn slot(&self, index: u32) -> Option<&T> {
        self.slots().get(index as usize)
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, and no reference to it outlives the table.
        let _ = unsafe { munmap(self.values.cast::<c_void>(), self.bytes.get()) };
    }
}
