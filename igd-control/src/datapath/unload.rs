//! Taking away what daemons have left in the kernel.

use super::classifiers::{Classifier, take_away};
use super::network::{Kind, Network};
use super::pins::is_link_of;
use super::program::{LAYOUT_PREFIX, LINK_PREFIX};
use super::sysctl;
use anyhow::{Context as _, Result};
use nat_common::session::Side;
use nix::net::if_::if_nameindex;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the kernel may take to detach programs whose links are gone.
const LONGEST_DETACHMENT: Duration = Duration::from_secs(2);

/// How often it is asked meanwhile.
const POLL: Duration = Duration::from_millis(10);

/// Takes away what igd-control has pinned in `pin_dir`, of whatever version, and the filters that a
/// daemon without pins had no time to take away; and nothing else. IPv4 forwarding is switched off
/// before, on the interfaces that it concerns, unless it is to be kept: the kernel would forward
/// untranslated. Returns these interfaces.
///
/// # Errors
/// When something cannot be removed.
pub fn unload(pin_dir: &Path, keep_forwarding: bool) -> Result<Vec<String>> {
    let present = interfaces()?;
    let folders = folders(pin_dir)?;
    let mut served: BTreeSet<&str> = BTreeSet::new();
    for pin in folders.iter().flat_map(|(_, pins)| pins) {
        served.extend(
            present.iter().filter(|name| is_link_of(&file_name(pin), name)).map(String::as_str),
        );
    }
    for name in &present {
        // Every interface that is served has one of these, where there are no links.
        if take_away(name, Classifier::Neighbour)? {
            served.insert(name);
        }
    }
    let mut switched_off = Vec::new();
    if !keep_forwarding {
        for name in &served {
            if sysctl::switch_forwarding_off(name)? {
                switched_off.push((*name).to_owned());
            }
        }
    }
    for (folder, mut pins) in folders {
        pins.sort_by_key(|pin| place(pin));
        for pin in pins {
            fs::remove_file(&pin).with_context(|| format!("cannot remove {}", pin.display()))?;
        }
        fs::remove_dir(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    for name in &present {
        take_away(name, Classifier::Guard)?;
    }
    wait_for_detachment(&served)?;
    // Others may have pinned something here too.
    let _ = fs::remove_dir(pin_dir);
    Ok(switched_off)
}

/// The kernel detaches programs some time after their links' pins are gone: waits for it, so that a
/// daemon can be started at once.
fn wait_for_detachment(interfaces: &BTreeSet<&str>) -> Result<()> {
    // The side does not matter here.
    let names = interfaces.iter().map(|name| ((*name).to_owned(), Side::Lan)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (network, _announcements, connection) = Network::open(names, Kind::Any)?;
        let started = Instant::now();
        // One that stays for longer is another's.
        while started.elapsed() < LONGEST_DETACHMENT
            && network.interfaces().await?.iter().flatten().any(|found| found.xdp != "none")
        {
            tokio::time::sleep(POLL).await;
        }
        connection.abort();
        Ok(())
    })
}

fn interfaces() -> Result<Vec<String>> {
    let all = if_nameindex().context("cannot list interfaces")?;
    Ok(all.iter().map(|one| one.name().to_string_lossy().into_owned()).collect())
}

/// The folders of all layout versions, with what is pinned in each.
fn folders(pin_dir: &Path) -> Result<Vec<(PathBuf, Vec<PathBuf>)>> {
    let mut found = Vec::new();
    if !pin_dir.exists() {
        return Ok(found);
    }
    for folder in fs::read_dir(pin_dir)? {
        let folder = folder?;
        if folder.file_name().to_string_lossy().starts_with(LAYOUT_PREFIX) {
            let folder = folder.path();
            let pins = fs::read_dir(&folder)?.map(|pin| Ok(pin?.path())).collect::<Result<_>>()?;
            found.push((folder, pins));
        }
    }
    Ok(found)
}

/// When a pin goes: first what translates, then the guard, and the maps when no program runs any more.
fn place(pin: &Path) -> u8 {
    match file_name(pin).strip_prefix(LINK_PREFIX) {
        Some(link) if link.starts_with(Classifier::Guard.name()) => 1,
        Some(_) => 0,
        None => 2,
    }
}

fn file_name(pin: &Path) -> String {
    pin.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_is_the_last_program_to_go() {
        let mut pins = ["LINKS", "link-wan_guard-wan0", "link-nat_neighbour-wan0", "link-xdp-wan0"];
        pins.sort_by_key(|pin| place(Path::new(pin)));
        assert_eq!(pins[2..], ["link-wan_guard-wan0", "LINKS"]);
    }
}
