//! What a former daemon has pinned, looked at without touching it.

use super::program::{LAYOUT_PREFIX, LINK_PREFIX, layout_name, link_pin, pin_name};
use anyhow::{Context as _, Result, bail};
use aya::maps::{MapInfo, MapType};
use aya::programs::links::{FdLink, PinnedLink};
use nat_common::maps::{self, PROGRAM_GUARD};
use nat_common::ports::SLOTS_PER_ADDRESS;
use nix::net::if_::if_nameindex;
use std::fs;
use std::path::Path;

/// Whether there are maps that a new daemon takes over.
pub fn hold_sessions(pin_dir: &Path) -> bool {
    pin_dir.join(layout_name()).join(maps::SESSIONS).exists()
}

/// Whether there is a port table that a new daemon takes over.
pub(super) fn hold_ports(pin_dir: &Path) -> bool {
    pin_dir.join(layout_name()).join(maps::PORTS).exists()
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

/// A map that the program needs, as it would be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Kind, size of a key, size of a value.
    pub(super) entries: [u32; 3],
    /// How many entries there are room for.
    pub(super) capacity: u32,
    pub(super) flags: u32,
}

/// Whether a pinned map can be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// As if it had been made now.
    Same,
    /// It holds what it should, and more or fewer of them.
    OtherSize,
    /// It cannot hold what it should.
    Wrong,
}

impl Shape {
    /// The shape of a pinned map.
    ///
    /// # Errors
    /// When no map is pinned there.
    pub(super) fn of_pin(pin: &Path) -> Result<Self> {
        let what = || format!("{} is no map", pin.display());
        let info = MapInfo::from_pin(pin).with_context(what)?;
        let kind = info.map_type().with_context(what)? as u32;
        Ok(Self {
            entries: [kind, info.key_size(), info.value_size()],
            capacity: info.max_entries(),
            flags: info.map_flags(),
        })
    }

    /// How `self` fits into the place of `wanted`.
    pub(super) fn fits(self, wanted: Self) -> Fit {
        // An array's places are named by their number, and what lies past the last one is nobody's.
        let arrays = [MapType::Array as u32, MapType::PerCpuArray as u32];
        let array = arrays.contains(&wanted.entries[0]);
        if self.entries != wanted.entries
            || self.flags != wanted.flags
            || (array && self.capacity != wanted.capacity)
        {
            Fit::Wrong
        } else if self.capacity == wanted.capacity {
            Fit::Same
        } else {
            Fit::OtherSize
        }
    }
}

/// Checks that the maps pinned in the folder of a layout can be taken over, and returns the names of
/// those that keep another size than `wanted` says.
///
/// # Errors
/// When one cannot.
pub(super) fn check_maps<'a>(folder: &Path, wanted: &[(&'a str, Shape)]) -> Result<Vec<&'a str>> {
    let mut others = Vec::new();
    for (name, shape) in wanted {
        let pin = folder.join(name);
        if !pin.exists() {
            continue;
        }
        let pinned = Shape::of_pin(&pin)?;
        match pinned.fits(*shape) {
            Fit::Same => {}
            Fit::OtherSize => others.push(*name),
            Fit::Wrong if *name == maps::PORTS && pinned.capacity != shape.capacity => bail!(
                "the maps pinned in {} are made for a pool of {} external addresses, not {}",
                folder.display(),
                pinned.capacity / SLOTS_PER_ADDRESS,
                shape.capacity / SLOTS_PER_ADDRESS,
            ),
            Fit::Wrong => bail!("the map pinned at {} is another one", pin.display()),
        }
    }
    Ok(others)
}

/// The interface, as pins name it, that a former daemon guards as its WAN, when it is not `wan` and
/// still there.
pub(super) fn other_wan(pin_dir: &Path, wan: &str) -> Option<String> {
    let guard = format!("{LINK_PREFIX}{PROGRAM_GUARD}-");
    let names = links(pin_dir).into_iter();
    let mut guarded = names.filter_map(|name| Some(name.strip_prefix(&guard)?.to_owned()));
    guarded.find(|name| *name != pin_name(wan) && exists(name))
}

/// Removes the pinned links that none of these interfaces has, which detaches them.
///
/// # Errors
/// When one cannot be removed.
pub(super) fn drop_links_of_others(pin_dir: &Path, interfaces: &[&str]) -> Result<()> {
    let ours = |name: &String| interfaces.iter().any(|interface| is_link_of(name, interface));
    for name in links(pin_dir).into_iter().filter(|name| !ours(name)) {
        let pin = pin_dir.join(layout_name()).join(&name);
        fs::remove_file(&pin).with_context(|| format!("cannot remove {}", pin.display()))?;
        tracing::info!(pin = name, "detached from an interface that is served no longer");
    }
    Ok(())
}

/// Removes the pinned links of an interface that is another one now.
pub(super) fn remove_links_of(pin_dir: &Path, interface: &str) {
    for name in links(pin_dir).into_iter().filter(|name| is_link_of(name, interface)) {
        // What stays is dead, and replaced.
        let _ = fs::remove_file(pin_dir.join(layout_name()).join(name));
    }
}

/// Whether a pin of this name is a link of an interface.
pub(super) fn is_link_of(pin: &str, interface: &str) -> bool {
    let link = pin.strip_prefix(LINK_PREFIX).and_then(|link| link.split_once('-'));
    link.is_some_and(|(_, name)| name == pin_name(interface))
}

fn links(pin_dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(pin_dir.join(layout_name())).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(LINK_PREFIX)).collect()
}

fn exists(pinned: &str) -> bool {
    let names = if_nameindex();
    names.is_ok_and(|all| all.iter().any(|one| pin_name(&one.name().to_string_lossy()) == pinned))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: Shape = Shape { entries: [1, 16, 40], capacity: 2048, flags: 0 };
    const ARRAY: Shape = Shape { entries: [2, 4, 32], capacity: 196_608, flags: 1024 };

    #[test]
    fn a_map_of_another_size_can_be_taken_over_and_one_of_another_kind_cannot() {
        assert_eq!(HASH.fits(HASH), Fit::Same);
        assert_eq!(Shape { capacity: 1024, ..HASH }.fits(HASH), Fit::OtherSize);
        assert_eq!(Shape { capacity: 393_216, ..ARRAY }.fits(ARRAY), Fit::Wrong);
        assert_eq!(Shape { capacity: 1024, ..ARRAY }.fits(ARRAY), Fit::Wrong);
        assert_eq!(Shape { entries: [1, 16, 48], ..HASH }.fits(HASH), Fit::Wrong);
        assert_eq!(Shape { flags: 0, ..ARRAY }.fits(ARRAY), Fit::Wrong, "not mappable");
    }

    #[test]
    fn a_pin_tells_its_interface() {
        assert!(is_link_of("link-xdp-br-lan_7", "br-lan.7"));
        assert!(is_link_of("link-xdp-br-lan_7", "br-lan_7"));
        assert!(!is_link_of("link-xdp-br-lan_7", "lan.7"));
        assert!(!is_link_of("SESSIONS", "SESSIONS"));
    }
}
