//! A million sessions are swept in less than a second of a CPU, and packets go on meanwhile.

use anyhow::{Context, Error, Result, anyhow, ensure};
use aya::maps::{Array, HashMap, Map, MapData};
use nat_common::session::{
    EndpointKey, ExternalEndpoint, SessionKey, SessionRecord, Side, control,
};
use nat_common::settings::Settings;
use nat_common::{BootTime, NetAddr, NetPort, Protocol, maps};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{BpfFs, EXTERNAL, Lab, UdpReflector, WAN_HOST, udp_seen_as};
use nix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SESSIONS: u32 = 1_000_000;
const MAX_SESSIONS: u32 = 1 << 20;
/// As many internal endpoints as there are ports.
const ENDPOINTS: u32 = 190_000;
/// The external address after the change that voids all sessions.
const NEW_EXTERNAL: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 3);
const REMOTE: NetAddr = NetAddr::from_octets([198, 51, 100, 7]);

/// What a sweep may take of a CPU.
const MOST: Duration = Duration::from_secs(1);
const ROUNDS: usize = 4;

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

/// Fills the tables with sessions that live for long, and with endpoints that have no port any more.
fn fill(bpffs: &BpfFs<'_>) -> Result<()> {
    let settings = Map::Array(pinned(bpffs, maps::SETTINGS)?);
    let settings: Array<_, [u8; size_of::<Settings>()]> = settings.try_into()?;
    let settings: Settings = bytemuck::pod_read_unaligned(&settings.get(&0, 0)?);
    let seconds = clock_gettime(ClockId::CLOCK_BOOTTIME)?.tv_sec();
    let deadline = BootTime(0).plus_secs(u64::try_from(seconds)? + 7_000);

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
    Ok(())
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

/// Packets to and fro until `done`: how many were lost after the first one that was seen to come from
/// `external`, and the longest time of one.
fn ping(
    socket: &UdpSocket,
    server: SocketAddrV4,
    external: Ipv4Addr,
    done: &AtomicBool,
) -> (u32, Duration) {
    let (mut lost, mut longest, mut first) = (0, Duration::ZERO, true);
    while !done.load(Ordering::Relaxed) {
        let start = Instant::now();
        match udp_seen_as(socket, server) {
            Ok(seen) if *seen.ip() == external => {
                longest = longest.max(start.elapsed());
                first = false;
            }
            Err(_) if !first => lost += 1,
            _ => {}
        }
    }
    (lost, longest)
}

/// Gives the router another external address: all sessions are void at once.
fn change_address(lab: &Lab, old: Ipv4Addr, new: Ipv4Addr) -> Result<()> {
    lab.router.ip(&["address", "del", &format!("{old}/24"), "dev", "wan0"])?;
    lab.router.ip(&["address", "add", &format!("{new}/24"), "dev", "wan0"])?;
    lab.router.ip(&["route", "replace", "default", "via", &WAN_HOST.to_string()])?;
    Ok(())
}

/// Fills the tables, voids all sessions, and tells what the sweep takes of a CPU.
fn round(lab: &Lab, daemon: &Daemon<'_>, bpffs: &BpfFs<'_>, number: usize) -> Result<Duration> {
    fill(bpffs)?;
    if number == 0 {
        let line = nth_sweep(daemon, 0, "seen")?;
        eprintln!("a walk over {} live entries: {} us", 2 * SESSIONS, logged(&line, "cpu_us")?);
    }
    let (old, new) =
        if number.is_multiple_of(2) { (EXTERNAL, NEW_EXTERNAL) } else { (NEW_EXTERNAL, EXTERNAL) };
    let server = SocketAddrV4::new(WAN_HOST, 7000);
    let _server = UdpReflector::start(&lab.wan, &server.to_string())?;
    let socket = lab.lan.udp("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let done = AtomicBool::new(false);
    let (line, (lost, longest)) = std::thread::scope(|scope| {
        let pings = scope.spawn(|| ping(&socket, server, new, &done));
        let line =
            change_address(lab, old, new).and_then(|()| nth_sweep(daemon, number, "sessions"));
        done.store(true, Ordering::Relaxed);
        let pings = pings.join().map_err(|_| anyhow!("the thread of the pings panicked"))?;
        Ok::<_, Error>((line?, pings))
    })?;
    let cpu = Duration::from_micros(logged(&line, "cpu_us")?);
    eprintln!("sweeping them: {cpu:?} of a CPU; a packet to and fro took {longest:?} at most");
    ensure!(lost == 0, "{lost} packets were lost during the sweep");
    Ok(cpu)
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
    let mut costs = Vec::new();
    for number in 0..ROUNDS {
        costs.push(round(&lab, &daemon, &bpffs, number)?);
        if costs.last().is_some_and(|cost| *cost < MOST) {
            break;
        }
    }
    assert!(costs.iter().any(|cost| *cost < MOST), "{costs:?}");
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}
