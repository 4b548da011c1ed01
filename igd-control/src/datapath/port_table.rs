//! The port table, mapped into the daemon's memory.

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use nat_common::ports::PortSlot;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::ptr::NonNull;

/// The slots, shared with the XDP program on every CPU.
pub struct PortTable {
    slots: NonNull<PortSlot>,
    len: usize,
    bytes: NonZeroUsize,
    /// Kept open: programs that are loaded later name the map by this descriptor.
    _map: MapData,
}

// SAFETY: slots consist of atomic words only, and the mapping lives as long as the table.
unsafe impl Send for PortTable {}
// SAFETY: as above.
unsafe impl Sync for PortTable {}

impl PortTable {
    /// Maps the array `map`, which must hold [`PortSlot`]s and be memory-mappable.
    ///
    /// # Errors
    /// When the kernel refuses, or the map has another layout.
    pub fn new(map: MapData) -> Result<Self> {
        let info = map.info().context("cannot read the port table's description")?;
        let len = usize::try_from(info.max_entries())?;
        anyhow::ensure!(
            info.value_size() as usize == size_of::<PortSlot>(),
            "the port table holds {}-byte slots, not {}",
            info.value_size(),
            size_of::<PortSlot>(),
        );
        let bytes = NonZeroUsize::new(len * size_of::<PortSlot>()).context("no slots")?;
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
        let slots = start.context("cannot map the port table into memory")?.cast();
        Ok(Self { slots, len, bytes, _map: map })
    }

    /// All slots, by [`nat_common::ports::slot_index`].
    pub fn slots(&self) -> &[PortSlot] {
        // SAFETY: the mapping covers exactly these slots until it is dropped; every bit pattern is a
        // valid slot, and all changes to it are atomic.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr(), self.len) }
    }

    /// One slot.
    pub fn slot(&self, index: u32) -> Option<&PortSlot> {
        self.slots().get(index as usize)
    }
}

impl Drop for PortTable {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, and no reference to it outlives the table.
        let _ = unsafe { munmap(self.slots.cast::<c_void>(), self.bytes.get()) };
    }
}
