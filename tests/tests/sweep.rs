//! A million sessions that have expired are swept in less than a second of a CPU, and packets go on
//! meanwhile.

use anyhow::{Result, ensure};
use nat_tests::crowd::{MAX_SESSIONS, SESSIONS, SWEEP_LOG, SWEEP_TIMEOUT, fill, logged};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{ANSWER_TIMEOUT, BpfFs, Lab, WAN_HOST};
use nat_tests::stream::{Echo, Stream};
use std::cell::Cell;
use std::net::SocketAddrV4;
use std::time::Duration;

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);

/// What a sweep may take of a CPU.
const MOST: Duration = Duration::from_secs(1);
const ROUNDS: usize = 4;

/// How long the sessions of the first round live, seconds: longer than it takes to make all of them.
const LIFETIME: u64 = 20;

/// Between two packets of the stream that goes on meanwhile.
const PACE: Duration = Duration::from_millis(1);

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
    let config = format!("[nat]\nmax-sessions = {MAX_SESSIONS}\n[daemon]\nlog = \"{SWEEP_LOG}\"\n");
    let daemon = Daemon::builder(&lab).pinned(&bpffs).configured(&config)?.start()?;
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
