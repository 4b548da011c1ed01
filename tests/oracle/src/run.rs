//! Playing random events in great number.

use crate::machine::Machine;
use crate::world::{self, Event, Rules, World};
use proptest::collection::vec;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
};
use std::cell::{Cell, RefCell};
use std::fmt::{self, Display, Formatter};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

/// Names the environment variable with the seed to begin from.
const SEED: &str = "ORACLE_SEED";
/// Stands there for a seed that nobody has chosen.
const RANDOM: &str = "random";
/// Names the environment variable with the number of packets to play.
const PACKETS: &str = "ORACLE_PACKETS";

/// Events of the longest sequence: some are needed until much has met.
const LONGEST: usize = 240;
/// Sequences that are tried in one go.
const SEQUENCES: u32 = 256;

/// What is to be played.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    seed: u64,
    packets: u64,
    regressions: &'static str,
}

/// What was played.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// Where the random numbers began.
    pub seed: u64,
    /// Packets that were compared.
    pub packets: u64,
    /// Sequences of events.
    pub sequences: u64,
    /// Sequences of which an end was left out since the machine had taken too long for it.
    pub cut_short: u64,
    /// How long it took.
    pub time: Duration,
}

impl Run {
    /// So many packets, or as many as `ORACLE_PACKETS` says, from the seed `ORACLE_SEED`: a number, or
    /// `random` for another one each time. What fails is shrunk, and kept in the file `regressions` of the
    /// working directory, which is tried first.
    ///
    /// # Errors
    /// When either is set to something else.
    pub fn new(packets: u64, regressions: &'static str) -> Result<Self, String> {
        let seed = match std::env::var(SEED) {
            Ok(seed) if seed != RANDOM => number(SEED, &seed)?,
            _ => RandomState::new().hash_one(()),
        };
        let packets = std::env::var(PACKETS).map_or(Ok(packets), |text| number(PACKETS, &text))?;
        Ok(Self { seed, packets, regressions })
    }

    /// Plays on a machine. Every sequence begins with one that `new` has made.
    ///
    /// # Errors
    /// The shortest sequence that was found at whose end machine and reference differ.
    pub fn play<M: Machine>(&self, machine: &mut M) -> Result<Tally, String> {
        let (machine, start) = (RefCell::new(machine), Instant::now());
        let tally = Cell::new(Tally {
            seed: self.seed,
            packets: 0,
            sequences: 0,
            cut_short: 0,
            time: Duration::ZERO,
        });
        let sequences = (world::rules(), vec(world::event(), 1..LONGEST));
        for round in 0.. {
            if tally.get().packets >= self.packets {
                break;
            }
            self.runner(round)
                .run(&sequences, |(rules, events)| {
                    sequence(&mut **machine.borrow_mut(), rules, &events, &tally)
                })
                .map_err(|error| self.explain(&error))?;
        }
        Ok(Tally { time: start.elapsed(), ..tally.get() })
    }

    fn runner(&self, round: u64) -> TestRunner {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&round.to_le_bytes());
        let config = Config {
            cases: SEQUENCES,
            max_shrink_iters: 100_000,
            // Milliseconds.
            max_shrink_time: 60_000,
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(self.regressions))),
            ..Config::default()
        };
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
    }

    fn explain(&self, error: &TestError<(Rules, Vec<Event>)>) -> String {
        format!("{SEED}={}: {error}", self.seed)
    }
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{name} is {text:?}, and must be a number"))
}

/// Plays a sequence on a machine and on the reference.
fn sequence<M: Machine>(
    machine: &mut M,
    rules: Rules,
    events: &[Event],
    tally: &Cell<Tally>,
) -> Result<(), TestCaseError> {
    let mut world = World::new(machine, rules).map_err(TestCaseError::fail)?;
    let mut played = Ok(());
    let mut cut_short = false;
    for (number, event) in events.iter().enumerate() {
        played = world.play(event).map_err(|why| format!("event {number}, {event:?}: {why}"));
        cut_short = world.is_late();
        if cut_short || played.is_err() {
            break;
        }
    }
    let before = tally.get();
    tally.set(Tally {
        packets: before.packets + world.packets(),
        sequences: before.sequences + 1,
        cut_short: before.cut_short + u64::from(cut_short),
        ..before
    });
    // What came of an event that took too long says nothing.
    if cut_short { Ok(()) } else { played.map_err(TestCaseError::fail) }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { seed, packets, sequences, cut_short, time } = self;
        write!(
            f,
            "{packets} random packets in {sequences} sequences in {time:.1?} ({SEED}={seed})"
        )?;
        if *cut_short > 0 { write!(f, ", {cut_short} sequences cut short") } else { Ok(()) }
    }
}
