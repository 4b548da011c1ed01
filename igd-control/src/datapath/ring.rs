//! Ring buffers, by which the packet path tells the daemon something.

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use std::io;
use tokio::io::unix::AsyncFd;

/// A ring buffer that can be waited for.
pub(super) struct Ring(AsyncFd<RingBuf<MapData>>);

impl Ring {
    /// Takes a ring buffer of a loaded program. Must run inside tokio.
    ///
    /// # Errors
    /// When the program has none of this name.
    pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self> {
        let map = ebpf.take_map(name).context(name)?;
        let ring = RingBuf::try_from(map).context(name)?;
        // SAFETY: the ring buffer owns its descriptor, and the registration owns the ring buffer.
        Ok(Self(unsafe { AsyncFd::register(ring) }?))
    }

    /// Waits until something is there, and shows all of it. Given up while it waits, it has shown
    /// nothing.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub(super) async fn read(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut ready = self.0.readable_mut().await?;
        while let Some(item) = ready.get_inner_mut().next() {
            each(&item);
        }
        ready.clear_ready();
        Ok(())
    }
}
