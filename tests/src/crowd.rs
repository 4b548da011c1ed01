//! A million sessions, written into the maps of a running daemon.

use crate::lab::{BpfFs, EXTERNAL};
use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, Map, MapData};
use nat_common::session::{
    EndpointKey, ExternalEndpoint, SessionKey, SessionRecord, Side, control,
};
use nat_common::settings::Settings;
use nat_common::{BootTime, NetAddr, NetPort, Protocol, maps};
use std::time::Duration;

/// How many sessions [`fill`] makes.
pub const SESSIONS: u32 = 1_000_000;
/// How many the daemon must have room for.
pub const MAX_SESSIONS: u32 = 1 << 20;
/// As many internal endpoints as there are ports.
const ENDPOINTS: u32 = 190_000;
const REMOTE: NetAddr = NetAddr::from_octets([198, 51, 100, 7]);

/// The setting by which the daemon tells of each sweep.
pub const SWEEP_LOG: &str = "info,igd_control::datapath::sweep=trace";
/// How long a sweep may be awaited: the pause before it depends on the one before.
pub const SWEEP_TIMEOUT: Duration = Duration::from_secs(90);

fn pinned(bpffs: &BpfFs<'_>, name: &str) -> Result<MapData> {
    let folder = format!("igd-control/layout-{}", maps::LAYOUT_VERSION);
    Ok(MapData::from_pin(bpffs.path().join(folder).join(name))?)
}

/// Both halves of the session of this number.
fn session(number: u32, generation: u32, deadline: BootTime) -> [(SessionKey, SessionRecord); 2] {
    let protocol = if number.is_multiple_of(2) { Protocol::Tcp } else { Protocol::Udp };
    let [_, b, c, d] = number.to_be_bytes();
    let client = (NetAddr::from_octets([10, b, c, d]), NetPort::new(number as u16));
    let port = NetPort::new(1024 + (number % 60_000) as u16);
    let external = (NetAddr::from(EXTERNAL), port);
    let remote = (REMOTE, NetPort::new((number / 60_000) as u16 + 1));
    let record = |src: (NetAddr, NetPort), dst: (NetAddr, NetPort)| SessionRecord {
        deadline: deadline.0,
        control: u64::from(generation) << control::GENERATION_SHIFT,
        new_src: src.0,
        new_dst: dst.0,
        new_src_port: src.1,
        new_dst_port: dst.1,
        ..bytemuck::Zeroable::zeroed()
    };
    [
        (SessionKey::new(Side::Lan, protocol, client, remote), record(external, remote)),
        (SessionKey::new(Side::Wan, protocol, remote, external), record(remote, client)),
    ]
}

/// Fills the tables of a daemon whose maps are pinned with sessions that all expire at one moment, and with endpoints that have no port any
/// more. Tells whether it was done before that moment, which lies `lifetime` seconds ahead.
///
/// # Errors
/// When the kernel refuses.
pub fn fill(bpffs: &BpfFs<'_>, lifetime: u64) -> Result<bool> {
    let deadline = igd_control::datapath::now().plus_secs(lifetime);
    let settings = Map::Array(pinned(bpffs, maps::SETTINGS)?);
    let settings: Array<_, [u8; size_of::<Settings>()]> = settings.try_into()?;
    let settings: Settings = bytemuck::pod_read_unaligned(&settings.get(&0, 0)?);

    let sessions = Map::HashMap(pinned(bpffs, maps::SESSIONS)?);
    let mut sessions: HashMap<_, [u8; size_of::<SessionKey>()], [u8; size_of::<SessionRecord>()]> =
        sessions.try_into()?;
    for number in 0..SESSIONS {
        for (key, record) in session(number, settings.nat_generation, deadline) {
            let record: [u8; size_of::<SessionRecord>()] = bytemuck::cast(record);
            sessions.insert(bytemuck::cast::<_, [u8; 16]>(key), record, 0)?;
        }
    }
    let endpoints = Map::HashMap(pinned(bpffs, maps::ENDPOINTS)?);
    let mut endpoints: HashMap<_, [u8; size_of::<EndpointKey>()], u64> = endpoints.try_into()?;
    for number in 0..ENDPOINTS {
        let [_, b, c, d] = number.to_be_bytes();
        let addr = NetAddr::from_octets([10, b, c, d]);
        let key = EndpointKey::new(Protocol::Udp, addr, NetPort::new(number as u16));
        let external = ExternalEndpoint { port: NetPort::new(number as u16), pool_index: 0 };
        endpoints.insert(bytemuck::cast::<_, [u8; 8]>(key), external.pack(), 0)?;
    }
    Ok(igd_control::datapath::now() < deadline)
}

/// A number that the daemon has logged, as in `seen=12`.
///
/// # Errors
/// When the line has no such number.
pub fn logged(line: &str, name: &str) -> Result<u64> {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    word.and_then(|number| number.parse().ok()).with_context(|| format!("no {name} in {line:?}"))
}
