//! A BPF filesystem of one's own, for pins.

use super::capture::Capture;
use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::{Path, PathBuf};

/// A mounted BPF filesystem. Dropped, it is unmounted: what is only pinned there goes with it, and
/// with the packet path what the WAN's watcher judges.
#[derive(Debug)]
pub struct BpfFs<'lab> {
    path: PathBuf,
    watcher: &'lab Capture,
}

impl<'lab> BpfFs<'lab> {
    /// Mounts one on `path`, which is made.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn mount(path: PathBuf, watcher: &'lab Capture) -> Result<Self> {
        std::fs::create_dir_all(&path)?;
        mount(Some("bpf"), &path, Some("bpf"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount a BPF filesystem on {}", path.display()))?;
        Ok(Self { path, watcher })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BpfFs<'_> {
    fn drop(&mut self) {
        self.watcher.disarm();
        if let Err(error) = umount2(&self.path, MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.path.display());
        }
    }
}
