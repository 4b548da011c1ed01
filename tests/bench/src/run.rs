//! The cases, and the contestants' turns.

use crate::case::{Case, Direction, MOST_TAGS};
use crate::contestant::{Contestant, Kind};
use crate::report::{Figure, Report, Stat};
use crate::rounds::Rounds;
use anyhow::{Context as _, Result, ensure};
use nat_tests::lab::Lab;
use std::path::PathBuf;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// The object file with the benchmark's programs.
    pub object: PathBuf,
    /// How often each contestant has its turn.
    pub rounds: u32,
    /// Leaves out the million flows, which take most of the time.
    pub quick: bool,
    /// Only the cases whose names have this in them.
    pub only: String,
    /// Who takes part: all when empty.
    pub contestants: Vec<Kind>,
}

/// Frames of a turn, at least.
const FRAMES: u32 = 250_000;

/// Frames of a slice: the one in the middle of a turn counts, so that a pause of the machine does not.
const SLICE: u32 = 5_000;

/// Bytes of each fragment: as much as a link takes.
const FRAGMENT: u32 = 1_514;

/// The most of its packets that a contestant may lose: one that loses more does something else than it should.
const LOST_AT_MOST: f64 = 0.5;

/// The cases, in the order of the report.
fn cases(quick: bool) -> Vec<Case> {
    let few = Case::flows(1_024, 1);
    let mut cases = vec![Case::flows(1, 1), few, Case::flows(12_500, 4)];
    if !quick {
        cases.push(Case::flows(25_000, 40));
    }
    cases.extend([
        Case { direction: Direction::Inbound, ..few },
        Case::to_forwards(),
        Case { direction: Direction::Hairpin, ..few },
        Case { tcp: true, ..few },
        Case { frame: 512, ..few },
        Case { frame: 1_514, ..few },
        Case { frame: FRAGMENT, fragments: true, ..few },
        Case { frame: FRAGMENT, fragments: true, direction: Direction::Inbound, ..few },
        Case { tags: 1, ..few },
        Case { tags: 1, direction: Direction::Inbound, ..few },
        Case { tags: 2, ..few },
    ]);
    cases
}

/// Measures the packet path; `progress` is told what is being done.
///
/// # Errors
/// When a lab cannot be built, or a contestant loses most of what it gets.
pub fn data(options: &Options, mut progress: impl FnMut(&str)) -> Result<Report> {
    let object = std::fs::read(&options.object)
        .with_context(|| format!("cannot read {}", options.object.display()))?;
    let mut cases = cases(options.quick);
    cases.retain(|case| case.to_string().contains(&options.only));
    ensure!(!cases.is_empty(), "no case has `{}` in its name", options.only);
    let sessions = cases.iter().map(Case::count).max().unwrap_or_default();
    let sessions = (sessions + sessions / 4).max(65_536);
    let mut report = Report::default();
    let takes_part =
        |kind: &Kind| options.contestants.is_empty() || options.contestants.contains(kind);
    for tags in 0..=MOST_TAGS {
        let cases: Vec<_> = cases.iter().filter(|case| case.tags == tags).collect();
        let kinds = Kind::ALL.into_iter().filter(takes_part);
        let kinds = kinds.filter(|kind| cases.iter().any(|case| kind.can(case)));
        let labs = kinds.map(|kind| Ok((kind, Lab::home()?))).collect::<Result<Vec<_>>>()?;
        let mut contestants = Vec::new();
        for (kind, lab) in &labs {
            progress(&format!("setting up: {}", kind.name()));
            match Contestant::tagged(*kind, lab, &object, sessions, tags) {
                Ok(contestant) => contestants.push(contestant),
                Err(error) if *kind == Kind::Flowtable => {
                    report.left_out.push(format!("{}: {error:#}", kind.name()));
                }
                Err(error) => return Err(error),
            }
        }
        for case in cases {
            progress(&case.to_string());
            report.figures.extend(measure(case, &mut contestants, options.rounds)?);
        }
        contestants.into_iter().try_for_each(Contestant::finish)?;
    }
    Ok(report)
}

/// What one turn has told.
#[derive(Clone, Copy)]
struct Turn {
    kind: Kind,
    /// Nanoseconds a frame in the slice in the middle, the generator's included.
    nanos: f64,
    /// Nanoseconds a run of its program, from a second sending.
    program: Option<f64>,
    /// Share of the packets that did not arrive.
    lost: f64,
}

fn measure(case: &Case, contestants: &mut [Contestant<'_>], rounds: u32) -> Result<Vec<Figure>> {
    let frames = case.count().max(FRAMES);
    let limit = conntrack_max();
    let mut able: Vec<_> = contestants
        .iter_mut()
        .filter(|contestant| contestant.kind.can(case))
        .filter(|contestant| {
            let tracks = matches!(contestant.kind, Kind::Nftables | Kind::Flowtable);
            !tracks || case.count() < limit
        })
        .collect();
    for contestant in &mut able {
        contestant.warm_up(case)?;
    }
    let rounds = Rounds::play(rounds, || {
        let turns = able.iter().map(|contestant| {
            let slices = (0..frames.div_ceil(SLICE))
                .map(|_| contestant.send(case, SLICE))
                .collect::<Result<Vec<_>>>()?;
            let lost: u64 = slices.iter().map(|(_, lost)| *lost).sum();
            let nanos = Stat::of(slices.into_iter().map(|(nanos, _)| nanos).collect()).median;
            let program = contestant.program_nanos(case, frames)?;
            let lost = lost as f64 / f64::from(frames);
            ensure!(
                lost <= LOST_AT_MOST,
                "{case}: {} loses {:.0} % of the packets",
                contestant.kind.name(),
                100.0 * lost
            );
            Ok(Turn { kind: contestant.kind, nanos, program, lost })
        });
        turns.collect()
    })?;
    Ok(figures(case, &rounds))
}

fn figures(case: &Case, rounds: &Rounds<Turn>) -> Vec<Figure> {
    let turn = |round: &[Turn], kind| round.iter().find(|turn| turn.kind == kind).copied();
    let of = |round: &[Turn], kind| turn(round, kind).map_or(f64::NAN, |turn| turn.nanos);
    let own = |round: &[Turn], kind| of(round, kind) - of(round, Kind::Door);
    let program =
        |round: &[Turn], kind| turn(round, kind).and_then(|turn| turn.program).unwrap_or(f64::NAN);
    let kinds = rounds.first().iter().map(|turn| turn.kind);
    kinds
        .map(|kind| Figure {
            case: *case,
            kind,
            nanos: rounds.stat(|round| of(round, kind)),
            own: rounds.stat(|round| own(round, kind)),
            program: rounds.stat(|round| program(round, kind)),
            program_of_ceiling: rounds
                .stat(|round| program(round, kind) / program(round, Kind::Ceiling)),
            of_ceiling: rounds.stat(|round| own(round, kind) / own(round, Kind::Ceiling)),
            of_nat: rounds.stat(|round| own(round, kind) / own(round, Kind::Nat)),
            lost: rounds.mean(|round| turn(round, kind).map_or(f64::NAN, |turn| turn.lost)),
        })
        .collect()
}

/// How many flows the kernel's NAT may have; the limit is the whole machine's.
fn conntrack_max() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(u32::MAX)
}
