//! What a former daemon has pinned, looked at without touching it.

use super::program::{LAYOUT_PREFIX, layout_name, link_pin};
use aya::programs::links::{FdLink, PinnedLink};
use nat_common::maps;
use std::fs;
use std::path::Path;

/// Whether there are maps that a new daemon takes over.
pub fn hold_sessions(pin_dir: &Path) -> bool {
    pin_dir.join(layout_name()).join(maps::SESSIONS).exists()
}

/// Folders of other layout versions.
pub fn other_layouts(pin_dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(pin_dir).into_iter().flatten().filter_map(Result::ok);
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(LAYOUT_PREFIX) && *name != layout_name()).collect()
}

/// Number of the program that the pinned XDP link of an interface holds.
pub fn attached_program(pin_dir: &Path, interface: &str) -> Option<u32> {
    let pinned = PinnedLink::from_pin(link_pin(pin_dir, &format!("xdp-{interface}"))).ok()?;
    Some(FdLink::from(pinned).info().ok()?.program_id())
}
