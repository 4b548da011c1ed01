//! Sweeping: what it takes of a CPU to remove a million sessions, and how much it holds up packets on another one.

use crate::case::Case;
use crate::contestant::{Contestant, Kind};
use crate::report::Stat;
use anyhow::{Context as _, Result, ensure};
use nat_tests::crowd::{MAX_SESSIONS, SESSIONS, SWEEP_LOG, SWEEP_TIMEOUT, fill, logged};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{BpfFs, Lab, command};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the sessions live, seconds: longer than it takes to make all of them.
const LIFETIME: u64 = 25;

/// Frames that are sent between two looks at the clock.
const FRAMES: u32 = 25_000;

/// How long before the sweep packets are looked at, to compare.
const BEFORE: Duration = Duration::from_secs(3);

/// The CPU that sweeps: packets have another one.
const SWEEPER: usize = 0;

/// How long packets are looked at beside a CPU that only reads.
const BESIDE: Duration = Duration::from_secs(1);

/// Bytes that it reads, here and there: as many as a million sessions have.
const READ: usize = 256 << 20;

/// What sweeping a million sessions takes, over the rounds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sweep {
    /// Seconds of a CPU.
    pub cpu: Stat,
    /// What a packet takes while the sweep goes on, as a multiple of what it took before; established flows,
    /// the generator's own part included.
    pub held_up: Stat,
    /// The same while the other CPU does nothing but read as much memory: what the two CPUs share of caches
    /// and of a core.
    pub held_up_by_reading: Stat,
}

/// A round's.
struct Round {
    cpu: f64,
    held_up: f64,
    held_up_by_reading: f64,
}

pub(super) fn measure(
    object: &[u8],
    rounds: u32,
    progress: &mut impl FnMut(&str),
) -> Result<Sweep> {
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
    command("taskset", &["--all-tasks", "--pid", &(1 << SWEEPER).to_string(), &process])?;
    let turns = (0..rounds)
        .map(|_| round(&contestant, daemon, &bpffs, &case))
        .collect::<Result<Vec<_>>>()?;
    contestant.finish()?;
    drop(bpffs);
    lab.finish()?;
    let of = |figure: fn(&Round) -> f64| Stat::of(turns.iter().map(figure).collect());
    Ok(Sweep {
        cpu: of(|round| round.cpu),
        held_up: of(|round| round.held_up),
        held_up_by_reading: of(|round| round.held_up_by_reading),
    })
}

/// Fills the tables, and sends packets until they have been swept.
fn round(
    contestant: &Contestant<'_>,
    daemon: &Daemon<'_>,
    bpffs: &BpfFs<'_>,
    case: &Case,
) -> Result<Round> {
    // Lines begin with their time.
    let earlier = daemon.log();
    ensure!(fill(bpffs, LIFETIME)?, "this machine is too slow to make a million sessions");
    let (line, end, turns) = std::thread::scope(|scope| -> Result<_> {
        let sweep = scope.spawn(|| {
            let line = daemon.wait_for_line(SWEEP_TIMEOUT, |line| {
                let enough = u64::from(2 * SESSIONS / 1000 * 999);
                logged(line, "sessions").is_ok_and(|count| count >= enough)
                    && !earlier.contains(line)
            });
            (line, Instant::now())
        });
        let mut turns = Vec::new();
        while !sweep.is_finished() {
            turns.push((Instant::now(), contestant.send(case, FRAMES)?.0));
        }
        let Ok((line, end)) = sweep.join() else { anyhow::bail!("the watching thread panicked") };
        Ok((line?, end, turns))
    })?;
    let cpu = Duration::from_micros(logged(&line, "cpu_us")?);
    let begun = end - cpu;
    let within = |from: Instant, to: Instant| {
        let turns = turns.iter().filter(|(at, _)| (from..to).contains(at));
        Stat::of(turns.map(|(_, nanos)| *nanos).collect()).median
    };
    let held_up = within(begun, end) / within(begun - BEFORE, begun);
    let held_up_by_reading = beside_reading(contestant, case)? / for_a_while(contestant, case)?;
    Ok(Round { cpu: cpu.as_secs_f64(), held_up, held_up_by_reading })
}

/// What a packet takes.
fn for_a_while(contestant: &Contestant<'_>, case: &Case) -> Result<f64> {
    let (begun, mut turns) = (Instant::now(), Vec::new());
    while begun.elapsed() < BESIDE {
        turns.push(contestant.send(case, FRAMES)?.0);
    }
    Ok(Stat::of(turns).median)
}

/// The same while the other CPU reads.
fn beside_reading(contestant: &Contestant<'_>, case: &Case) -> Result<f64> {
    let memory = vec![1_u64; READ / size_of::<u64>()];
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| -> Result<()> {
            let mut cpus = CpuSet::new();
            cpus.set(SWEEPER)?;
            sched_setaffinity(Pid::from_raw(0), &cpus)?;
            let mut place = 0_usize;
            while !enough.load(Ordering::Relaxed) {
                let word = memory.get(place % memory.len()).copied().unwrap_or(1);
                // A step to far away, which waits for what was read.
                place = black_box(place.wrapping_mul(0x9e37_79b1).wrapping_add(word as usize));
            }
            Ok(())
        });
        let taken = for_a_while(contestant, case);
        enough.store(true, Ordering::Relaxed);
        match reader.join() {
            Ok(read) => read.and(taken),
            Err(_) => anyhow::bail!("the reading thread panicked"),
        }
    })
}
