//! Sweeping: what it takes of a CPU to remove a million sessions, and how much it holds up packets on another one.
//!
//! Packets are sent in short runs all the time, and compared with those just before. What the kernel does before
//! and after a run is not in it: it waits for the other CPU there, which would look as if packets did.

use crate::case::Case;
use crate::contestant::{Contestant, Kind};
use crate::generator::own_cpu;
use crate::report::Stat;
use anyhow::{Context as _, Result, bail, ensure};
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
    /// The same of all packets, and not of the run in the middle: with pauses of the machine and of the kernel.
    pub with_pauses: Stat,
    /// The same as the first while the other CPU does nothing but read as much memory: what the two CPUs share of
    /// caches and of a core.
    pub held_up_by_reading: Stat,
    /// Share of the sweep in which the packets' CPU was idle, or the host had it: neither comes from within.
    pub away: Stat,
    /// The same share of the time before.
    pub away_before: Stat,
}

/// A round's.
struct Round {
    cpu: f64,
    held_up: f64,
    with_pauses: f64,
    held_up_by_reading: f64,
    away: f64,
    away_before: f64,
}

/// A run of packets: when it began, what each took, and the times of their CPU by then.
struct Run {
    begun: Instant,
    nanos: f64,
    times: Times,
}

/// Times of a CPU, in the kernel's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    all: u64,
    /// Idle, or given to others by the host.
    away: u64,
}

impl Times {
    /// Of a CPU, as /proc/stat tells.
    fn of(cpu: usize, text: &str) -> Option<Self> {
        let name = format!("cpu{cpu} ");
        let times = text.lines().find_map(|line| line.strip_prefix(&name))?;
        let times: Vec<u64> =
            times.split_whitespace().map_while(|time| time.parse().ok()).collect();
        // User, nice, system, idle, waiting for disks, interrupts, softirqs, stolen; guests are in user.
        let [_, _, _, idle, waiting, _, _, stolen] = *times.first_chunk()?;
        Some(Self { all: times.iter().take(8).sum(), away: idle + waiting + stolen })
    }
}

/// What runs within a period tell; nothing that is a number when there were none, on a machine that is too busy.
struct Period {
    median: f64,
    mean: f64,
    away: f64,
}

impl Period {
    fn of(runs: &[Run], from: Instant, to: Instant) -> Self {
        let runs: Vec<_> = runs.iter().filter(|run| (from..to).contains(&run.begun)).collect();
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
            return Self { median: f64::NAN, mean: f64::NAN, away: f64::NAN };
        };
        let nanos: Vec<f64> = runs.iter().map(|run| run.nanos).collect();
        let all = last.times.all.saturating_sub(first.times.all).max(1);
        let away = last.times.away.saturating_sub(first.times.away);
        Self {
            mean: nanos.iter().sum::<f64>() / nanos.len() as f64,
            median: Stat::of(nanos).median,
            away: away as f64 / all as f64,
        }
    }
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
        with_pauses: of(|round| round.with_pauses),
        held_up_by_reading: of(|round| round.held_up_by_reading),
        away: of(|round| round.away),
        away_before: of(|round| round.away_before),
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
    let (line, end, runs) = std::thread::scope(|scope| -> Result<_> {
        let sweep = scope.spawn(|| {
            let line = daemon.wait_for_line(SWEEP_TIMEOUT, |line| {
                let enough = u64::from(2 * SESSIONS / 1000 * 999);
                logged(line, "sessions").is_ok_and(|count| count >= enough)
                    && !earlier.contains(line)
            });
            (line, Instant::now())
        });
        let mut runs = Vec::new();
        while !sweep.is_finished() {
            runs.push(run(contestant, case)?);
        }
        let Ok((line, end)) = sweep.join() else { bail!("the watching thread panicked") };
        Ok((line?, end, runs))
    })?;
    let cpu = Duration::from_micros(logged(&line, "cpu_us")?);
    let begun = end - cpu;
    let before = Period::of(&runs, begun - BEFORE, begun);
    let meanwhile = Period::of(&runs, begun, end);
    let held_up_by_reading = beside_reading(contestant, case)? / for_a_while(contestant, case)?;
    Ok(Round {
        cpu: cpu.as_secs_f64(),
        held_up: meanwhile.median / before.median,
        with_pauses: meanwhile.mean / before.mean,
        held_up_by_reading,
        away: meanwhile.away,
        away_before: before.away,
    })
}

fn run(contestant: &Contestant<'_>, case: &Case) -> Result<Run> {
    let begun = Instant::now();
    let (nanos, _) = contestant.send(case, FRAMES)?;
    let times = Times::of(own_cpu(0), &fs::read_to_string("/proc/stat")?);
    Ok(Run { begun, nanos, times: times.context("the kernel tells no times of its CPUs")? })
}

/// What a packet takes.
fn for_a_while(contestant: &Contestant<'_>, case: &Case) -> Result<f64> {
    let (begun, mut runs) = (Instant::now(), Vec::new());
    while begun.elapsed() < BESIDE {
        runs.push(run(contestant, case)?);
    }
    Ok(Period::of(&runs, begun, Instant::now()).median)
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
            Err(_) => bail!("the reading thread panicked"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_stolen_time_of_one_cpu_is_away() {
        let text =
            "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 10 1 20 300 5 2 30 7 6 0\n";
        assert_eq!(Times::of(1, text), Some(Times { all: 375, away: 312 }));
        assert_eq!(Times::of(2, text), None);
        assert_eq!(Times::of(1, "cpu1 10 1 20"), None);
    }

    #[test]
    fn a_period_has_the_runs_that_began_in_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let run = |ms, nanos, all, away| Run { begun: at(ms), nanos, times: Times { all, away } };
        let runs = [
            run(0, 900.0, 0, 0),
            run(10, 100.0, 10, 0),
            run(20, 200.0, 20, 0),
            run(30, 600.0, 30, 5),
        ];
        let period = Period::of(&runs, at(10), at(40));
        assert_eq!((period.median, period.mean, period.away), (200.0, 300.0, 0.25));
        assert!(Period::of(&runs, at(50), at(60)).median.is_nan());
    }
}
