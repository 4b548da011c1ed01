//! The cases, and the contestants' turns.

use crate::case::{Case, Direction};
use crate::contestant::{Contestant, Kind};
use crate::report::{Figure, Report, Stat};
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
    let labs = Kind::ALL.into_iter().filter(takes_part).map(|kind| Ok((kind, Lab::home()?)));
    let labs = labs.collect::<Result<Vec<_>>>()?;
    let mut contestants = Vec::new();
    for (kind, lab) in &labs {
        progress(&format!("setting up: {}", kind.name()));
        contestants.push(Contestant::new(*kind, lab, &object, sessions)?);
    }
    for case in &cases {
        progress(&case.to_string());
        report.figures.extend(measure(case, &mut contestants, options.rounds)?);
    }
    contestants.into_iter().try_for_each(Contestant::finish)?;
    Ok(report)
}

/// What one turn has told.
struct Turn {
    kind: Kind,
    /// Nanoseconds a frame, the generator's included.
    nanos: f64,
    /// Nanoseconds a run of its program, from a second sending.
    program: Option<f64>,
    lost: u64,
}

fn measure(case: &Case, contestants: &mut [Contestant<'_>], rounds: u32) -> Result<Vec<Figure>> {
    let frames = case.count().max(FRAMES);
    let limit = conntrack_max();
    let mut able: Vec<_> = contestants
        .iter_mut()
        .filter(|contestant| contestant.kind.can(case))
        .filter(|contestant| contestant.kind != Kind::Nftables || case.count() < limit)
        .collect();
    for contestant in &mut able {
        contestant.warm_up(case)?;
    }
    let mut turns: Vec<Vec<Turn>> = Vec::new();
    for _ in 0..rounds {
        let mut round = Vec::new();
        for contestant in &able {
            let (nanos, lost) = contestant.send(case, frames)?;
            let program = contestant.program_nanos(case, frames)?;
            round.push(Turn { kind: contestant.kind, nanos, program, lost });
        }
        turns.push(round);
    }
    Ok(figures(case, frames, &turns))
}

/// Rounds are compared within themselves: what befalls one round befalls all of its turns.
fn figures(case: &Case, frames: u32, rounds: &[Vec<Turn>]) -> Vec<Figure> {
    let of = |round: &[Turn], kind| {
        round.iter().find(|turn| turn.kind == kind).map_or(f64::NAN, |turn| turn.nanos)
    };
    let own = |round: &[Turn], kind| of(round, kind) - of(round, Kind::Door);
    let stat = |of_round: &dyn Fn(&[Turn]) -> f64| {
        Stat::of(rounds.iter().map(|round| of_round(round)).collect())
    };
    let kinds = rounds.first().into_iter().flatten().map(|turn| turn.kind);
    kinds
        .map(|kind| {
            let lost: u64 =
                rounds.iter().flatten().filter(|turn| turn.kind == kind).map(|t| t.lost).sum();
            Figure {
                case: *case,
                kind,
                nanos: stat(&|round| of(round, kind)),
                own: stat(&|round| own(round, kind)),
                program: stat(&|round| {
                    let mut turns = round.iter().filter(|turn| turn.kind == kind);
                    turns.find_map(|turn| turn.program).unwrap_or(f64::NAN)
                }),
                of_ceiling: stat(&|round| own(round, kind) / own(round, Kind::Ceiling)),
                of_nat: stat(&|round| own(round, kind) / own(round, Kind::Nat)),
                lost: lost as f64 / (f64::from(frames) * rounds.len() as f64),
            }
        })
        .collect()
}

/// How many flows the kernel's NAT may have; the limit is the whole machine's.
fn conntrack_max() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(u32::MAX)
}
