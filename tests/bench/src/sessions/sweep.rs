//! Sweeping: what it takes of a CPU to remove a million sessions, and how much it holds up packets on another one.

use crate::case::Case;
use crate::contestant::{Contestant, Kind};
use crate::report::Stat;
use anyhow::{Context as _, Result, ensure};
use nat_tests::crowd::{MAX_SESSIONS, SESSIONS, SWEEP_LOG, SWEEP_TIMEOUT, fill, logged};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{Lab, command};
use serde::{Deserialize, Serialize};
use std::fs;
use std::time::{Duration, Instant};

/// How long the sessions live, seconds: longer than it takes to make all of them.
const LIFETIME: u64 = 25;

/// Frames that are sent between two looks at the clock.
const FRAMES: u32 = 25_000;

/// How long before the sweep packets are looked at, to compare.
const BEFORE: Duration = Duration::from_secs(3);

/// The CPU that sweeps, as a mask: packets have another one.
const SWEEPER: &str = "1";

/// What sweeping a million sessions takes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sweep {
    /// Seconds of a CPU.
    pub cpu: f64,
    /// What a packet takes while the sweep goes on, as a multiple of what it took before; established flows,
    /// the generator's own part included.
    pub held_up: Stat,
}

pub(super) fn measure(object: &[u8], progress: &mut impl FnMut(&str)) -> Result<Sweep> {
    progress("sweeping a million sessions");
    let lab = Lab::builder().unwatched().build()?;
    let bpffs = lab.bpffs()?;
    let mut contestant = Contestant::with(Kind::Nat, &lab, object, 0, || {
        let config = lab.directory().join("config.toml");
        let text = format!(
            "[nat]\nmax-sessions = {MAX_SESSIONS}\nmax-sessions-per-client = 0\n\
             max-ports-per-client = 0\n[daemon]\nlog = \"{SWEEP_LOG}\"\n"
        );
        fs::write(&config, text)?;
        let config = config.to_string_lossy();
        Daemon::builder(&lab).pinned(&bpffs).argument("--config").argument(&config).start()
    })?;
    let case = Case::flows(1_024, 1);
    contestant.warm_up(&case)?;
    let daemon = contestant.daemon().context("no daemon")?;
    let process = daemon.pid().context("the daemon has ended")?.to_string();
    command("taskset", &["--all-tasks", "--pid", SWEEPER, &process])?;
    ensure!(fill(&bpffs, LIFETIME)?, "this machine is too slow to make a million sessions");
    let (line, end, turns) = std::thread::scope(|scope| -> Result<_> {
        let sweep = scope.spawn(|| {
            let line = daemon.wait_for_line(SWEEP_TIMEOUT, |line| {
                let enough = u64::from(2 * SESSIONS / 1000 * 999);
                logged(line, "sessions").is_ok_and(|count| count >= enough)
            });
            (line, Instant::now())
        });
        let mut turns = Vec::new();
        while !sweep.is_finished() {
            let begun = Instant::now();
            turns.push((begun, contestant.send(&case, FRAMES)?.0));
        }
        let Ok((line, end)) = sweep.join() else { anyhow::bail!("the watching thread panicked") };
        Ok((line?, end, turns))
    })?;
    let cpu = Duration::from_micros(logged(&line, "cpu_us")?);
    let begun = end - cpu;
    let within = |from: Instant, to: Instant| {
        let turns = turns.iter().filter(|(at, _)| (from..to).contains(at));
        Stat::of(turns.map(|(_, nanos)| *nanos).collect())
    };
    let (before, during) = (within(begun - BEFORE, begun), within(begun, end));
    let of_before = |nanos: f64| nanos / before.median;
    contestant.finish()?;
    drop(bpffs);
    lab.finish()?;
    Ok(Sweep {
        cpu: cpu.as_secs_f64(),
        held_up: Stat {
            lower: of_before(during.lower),
            median: of_before(during.median),
            upper: of_before(during.upper),
        },
    })
}
