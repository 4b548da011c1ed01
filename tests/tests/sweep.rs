//! A million sessions that have expired are swept in less than a second of a CPU, and packets go on
//! meanwhile.

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap, Map, MapData};
use nat_common::session::{
    EndpointKey, ExternalEndpoint, SessionKey, SessionRecord, Side, control,
};
use nat_common::settings::Settings;
use nat_common::{BootTime, NetAddr, NetPort, Protocol, maps};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{ANSWER_TIMEOUT, BpfFs, EXTERNAL, Lab, WAN_HOST};
use nat_tests::stream::{Echo, Stream};
use std::cell::Cell;
use std::net::SocketAddrV4;
use std::time::Duration;

const SESSIONS: u32 = 1_000_000;
const MAX_SESSIONS: u32 = 1 << 20;
/// As many internal endpoints as there are ports.
const ENDPOINTS: u32 = 190_000;
const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
const REMOTE: NetAddr = NetAddr::from_octets([198, 51, 100, 7]);

/// What a sweep may take of a CPU.
const MOST: Duration = Duration::from_secs(1);
const ROUNDS: usize = 4;

/// How long the sessions of the first round live, seconds: longer than it takes to make all of them.
const LIFETIME: u64 = 20;

/// Between two packets of the stream that goes on meanwhile.
const PACE: Duration = Duration::from_millis(1);

/// How long a sweep may be awaited: the pause before it depends on the one before.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(90);

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

/// Fills the tables with sessions that all expire at one moment, and with endpoints that have no port any
/// more. Tells whether it was done before that moment.
fn fill(bpffs: &BpfFs<'_>, lifetime: u64) -> Result<bool> {
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
fn logged(line: &str, name: &str) -> Result<u64> {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    word.and_then(|number| number.parse().ok()).with_context(|| format!("no {name} in {line:?}"))
}

/// The daemon's next sweep that has looked at (`seen`) or removed (`sessions`) nearly all entries, after
/// so many of the kind: the kernel's walk may miss a few when the table changes.
fn nth_sweep(daemon: &Daemon<'_>, number: usize, what: &str) -> Result<String> {
    let found = Cell::new(0);
    daemon.wait_for_line(SWEEP_TIMEOUT, |line| {
        let enough = u64::from(2 * SESSIONS / 1000 * 999);
        let is_one =
            line.contains("sweep") && logged(line, what).is_ok_and(|count| count >= enough);
        found.set(found.get() + usize::from(is_one));
        is_one && found.get() > number
    })
}

/// Fills the tables, waits until the sessions have expired and are swept, and tells what that takes of a
/// CPU. Of a stream that goes on all the time nothing is lost. `None` when the machine was too slow to
/// make the sessions in their time.
fn round(
    lab: &Lab,
    daemon: &Daemon<'_>,
    bpffs: &BpfFs<'_>,
    swept: usize,
    lifetime: u64,
) -> Result<Option<Duration>> {
    let stream = Stream::start(lab.lan.udp("0.0.0.0:0")?, SERVER, PACE)?;
    stream.flows(20, ANSWER_TIMEOUT)?;
    if !fill(bpffs, lifetime)? {
        return Ok(None);
    }
    if swept == 0 {
        let line = nth_sweep(daemon, 0, "seen")?;
        eprintln!("a walk over {} live entries: {} us", 2 * SESSIONS, logged(&line, "cpu_us")?);
    }
    let line = nth_sweep(daemon, swept, "sessions")?;
    let journey = stream.finish()?;
    let cpu = Duration::from_micros(logged(&line, "cpu_us")?);
    eprintln!("sweeping them: {cpu:?} of a CPU; {journey:?}");
    ensure!(journey.sent() > 1_000 && journey.returned() == journey.sent(), "{journey:?}");
    Ok(Some(cpu))
}

/// What a walk costs depends on what others do to the caches meanwhile, so the best of some counts.
#[test]
fn a_million_sessions_are_swept_in_less_than_a_second_while_packets_go_on() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let config = lab.directory().join("config.toml");
    let log = "info,igd_control::datapath::sweep=trace";
    std::fs::write(
        &config,
        format!("[nat]\nmax-sessions = {MAX_SESSIONS}\n[daemon]\nlog = \"{log}\"\n"),
    )?;
    let daemon = Daemon::builder(&lab)
        .pinned(&bpffs)
        .argument("--config")
        .argument(&config.to_string_lossy())
        .start()?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    let mut costs = Vec::new();
    let mut lifetime = LIFETIME;
    for _ in 0..ROUNDS {
        match round(&lab, &daemon, &bpffs, costs.len(), lifetime)? {
            Some(cost) => costs.push(cost),
            None => lifetime *= 2,
        }
        if costs.last().is_some_and(|cost| *cost < MOST) {
            break;
        }
    }
    assert!(costs.iter().any(|cost| *cost < MOST), "{costs:?}");
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}
