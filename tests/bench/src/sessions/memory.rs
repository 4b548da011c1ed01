//! Memory: what the kernel says that the maps take which grow with the number of sessions.

use anyhow::{Context as _, Result, bail};
use aya::maps::MapData;
use nat_common::maps;
use nat_tests::daemon::Daemon;
use nat_tests::lab::{BpfFs, Lab};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};

/// Numbers of sessions that are configured.
const SIZES: [u32; 3] = [262_144, 1_000_000, 4_000_000];

/// What a number of sessions takes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// How many sessions there can be.
    pub sessions: u32,
    /// Bytes that the map of sessions takes, both directions.
    pub bytes: u64,
    /// Bytes that the index of internal endpoints takes, which grows with the number of external addresses.
    pub endpoints: u64,
}

impl Memory {
    /// Bytes a session, both directions.
    pub fn each(&self) -> f64 {
        self.bytes as f64 / f64::from(self.sessions)
    }
}

pub(super) fn measure(progress: &mut impl FnMut(&str)) -> Result<Vec<Memory>> {
    SIZES
        .into_iter()
        .map(|sessions| {
            progress(&format!("memory of {sessions} sessions"));
            let lab = Lab::home()?;
            let bpffs = lab.bpffs()?;
            let config = lab.directory().join("config.toml");
            fs::write(&config, format!("[nat]\nmax-sessions = {sessions}\n"))?;
            let daemon = Daemon::builder(&lab)
                .pinned(&bpffs)
                .argument("--config")
                .argument(&config.to_string_lossy())
                .start()?;
            let bytes = taken(&bpffs, maps::SESSIONS)?;
            let endpoints = taken(&bpffs, maps::ENDPOINTS)?;
            daemon.stop()?;
            Ok(Memory { sessions, bytes, endpoints })
        })
        .collect()
}

/// Bytes that a pinned map takes, its overhead included, as the kernel counts them.
fn taken(bpffs: &BpfFs<'_>, name: &str) -> Result<u64> {
    let folder = format!("igd-control/layout-{}", maps::LAYOUT_VERSION);
    let map = MapData::from_pin(bpffs.path().join(folder).join(name))?;
    let number = map.fd().as_fd().as_raw_fd();
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    match text.lines().find_map(|line| line.strip_prefix("memlock:")) {
        Some(bytes) => bytes.trim().parse().with_context(|| format!("of {name}: {bytes}")),
        None => bail!("the kernel does not say what {name} takes"),
    }
}
