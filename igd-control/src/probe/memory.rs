//! The kernel memory that the maps take, against what there is.

use super::Finding;
use crate::datapath::endpoints;
use nat_common::{
    NetAddr,
    client::{Client, Ended},
    contact::{Contact, ContactKey},
    maps::MAX_CLIENTS,
    ports::{PortSlot, SLOTS_PER_ADDRESS},
    session::{EndpointKey, RemoteKey, Session, SessionKey},
};
use std::fs;

/// What a hash map costs for each entry beside key and value, bytes.
const ENTRY: u64 = 48;
/// What it costs for each bucket; there are as many as entries, rounded up to a power of two.
const BUCKET: u64 = 16;
/// Entries of the map of remote hosts, which no setting changes.
const REMOTES: u64 = 65_536;
/// Fewest sessions that can be configured.
const FEWEST: u32 = 1_024;
const MIB: u64 = 1 << 20;

/// Memory, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// `MemAvailable`; `None` when the kernel does not say.
    pub(super) available: Option<u64>,
    /// Whether a former daemon has pinned the maps: then they take nothing more.
    pub(super) pinned: bool,
}

/// What the tables are made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    /// Most sessions.
    pub(super) max_sessions: u32,
    /// Most port forwards.
    pub(super) max_forwards: u32,
    /// External addresses.
    pub(super) addresses: u32,
    /// Whether some filtering asks for contacts.
    pub(super) contacts: bool,
}

impl Memory {
    /// Looks at this machine.
    pub(super) fn gather(pinned: bool) -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self { available: available(&text), pinned }
    }

    /// Judges it for the configured tables.
    pub(super) fn finding(&self, tables: Tables) -> Finding {
        let Tables { max_sessions, .. } = tables;
        let needed = needed(tables);
        let size = format!("{} MiB for {max_sessions} sessions", needed.div_ceil(MIB));
        if self.pinned {
            return Finding::ok("memory", "the tables are pinned and stay as large as they are");
        }
        let Some(available) = self.available else {
            return Finding::unchecked("memory", "/proc/meminfo does not say what is available");
        };
        let there = format!("{} MiB are available", available / MIB);
        if needed <= available / 2 {
            return Finding::ok("memory", format!("{size}; {there}"));
        }
        let fitting = fitting(available / 2, tables);
        let mend = format!("# in the configuration file, [nat]: max-sessions = {fitting}");
        if needed > available {
            let detail = format!("the tables need {size}, but only {there}");
            return Finding::failure("memory", detail).mend(mend);
        }
        let detail = format!("the tables need {size}, more than half of the memory: {there}");
        Finding::warning("memory", detail).mend(mend)
    }
}

/// `MemAvailable` in the text of `/proc/meminfo`, bytes.
pub(super) fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// What the kernel takes for the maps, bytes.
pub(super) fn needed(tables: Tables) -> u64 {
    let Tables { max_sessions, max_forwards, addresses, contacts } = tables;
    let slots = SLOTS_PER_ADDRESS.saturating_mul(addresses);
    let sessions = hash::<SessionKey, Session>(2 * u64::from(max_sessions));
    let endpoints = hash::<EndpointKey, u64>(endpoints(max_sessions, max_forwards, slots).into());
    let remotes = hash::<RemoteKey, u64>(REMOTES);
    let contacts = if contacts { u64::from(max_sessions) } else { 0 };
    let contacts = hash::<ContactKey, Contact>(contacts);
    let clients = hash::<NetAddr, Client>(u64::from(MAX_CLIENTS))
        + hash::<NetAddr, Ended>(u64::from(MAX_CLIENTS));
    let ports = u64::from(slots) * size_of::<PortSlot>() as u64;
    sessions + endpoints + remotes + contacts + clients + ports
}

fn hash<K, V>(entries: u64) -> u64 {
    if entries == 0 {
        return 0;
    }
    // Keys and values each start at a multiple of eight.
    let padded = |size: usize| size.next_multiple_of(8) as u64;
    let entry = ENTRY + padded(size_of::<K>()) + padded(size_of::<V>());
    entries * entry + entries.next_power_of_two() * BUCKET
}

/// The largest power of two of sessions that needs no more than `bytes`.
fn fitting(bytes: u64, tables: Tables) -> u32 {
    let powers = (0..=24).rev().map(|power| 1 << power);
    powers
        .take_while(|sessions| *sessions >= FEWEST)
        .find(|sessions| needed(Tables { max_sessions: *sessions, ..tables }) <= bytes)
        .unwrap_or(FEWEST)
}
