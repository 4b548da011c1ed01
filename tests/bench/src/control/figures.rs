//! What was measured, with the goals: as a table and as JSON.

use super::gateway::Kind;
use crate::comparison::{Comparison, Usual, Worse};
use crate::report::{Stat, spread};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// AddPortMapping a second, each over a connection of its own, up to this many mappings.
    AddFresh,
    /// The same over kept connections.
    AddKept,
    /// Microseconds of GetGenericPortMappingEntry by index.
    ByIndex,
    /// Microseconds of GetSpecificPortMappingEntry.
    ByKey,
    /// Milliseconds of GetListOfPortMappings of all.
    List,
    /// Milliseconds of DeletePortMappingRange of all.
    Remove,
    /// MiB resident.
    Resident,
    /// MiB resident at most, while they were made.
    ResidentMost,
    /// Microseconds from a request to the first packet that its mapping lets in.
    FirstPacket,
    /// Microseconds from that packet to the answer.
    PacketToAnswer,
}

impl Measure {
    const fn name(self) -> &'static str {
        match self {
            Self::AddFresh => "adds a second, fresh connections, up to",
            Self::AddKept => "adds a second, kept connections, up to",
            Self::ByIndex => "get by index, µs, with",
            Self::ByKey => "get by port, µs, with",
            Self::List => "list of all, ms, with",
            Self::Remove => "range delete of all, ms, with",
            Self::Resident => "resident, MiB, with",
            Self::ResidentMost => "resident at most meanwhile, MiB, up to",
            Self::FirstPacket => "request to first packet, µs, with",
            Self::PacketToAnswer => "first packet to answer, µs, with",
        }
    }

    /// In which direction miniupnpd's part of ours is a loss.
    const fn worse(self) -> Worse {
        match self {
            Self::AddFresh | Self::AddKept => Worse::Higher,
            _ => Worse::Lower,
        }
    }

    const fn digits(self) -> usize {
        match self {
            Self::Resident | Self::ResidentMost => 1,
            _ => 0,
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) measure: Measure,
    pub(crate) kind: Kind,
    pub(crate) entries: u32,
    pub(crate) round: u32,
    pub(crate) value: f64,
}

/// A figure over all rounds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ControlFigure {
    /// What it is of.
    pub measure: Measure,
    /// Of whom.
    pub kind: Kind,
    /// With, or up to, how many mappings.
    pub entries: u32,
    /// The figure.
    pub stat: Stat,
    /// The same as a multiple of this daemon's, within a round.
    pub of_ours: Option<Stat>,
}

/// Something that should be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Goal {
    /// What.
    pub what: String,
    /// What it is.
    pub is: String,
    /// Whether that will do.
    pub met: bool,
}

/// All figures of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ControlReport {
    /// By measure, number of mappings, and whose they are.
    pub figures: Vec<ControlFigure>,
    /// The goals.
    pub goals: Vec<Goal>,
    /// What was not measured, and why.
    pub left_out: Vec<String>,
    /// Tasks that wanted a CPU, on average over the last minute, when it began and ended.
    pub load: (f64, f64),
}

impl ControlReport {
    pub(crate) fn new(samples: &[Sample], left_out: Vec<String>, load: (f64, f64)) -> Self {
        let figures = figures(samples);
        // Once is too often: the worst of all rounds counts.
        let leads = samples.iter().filter(|sample| {
            (sample.measure, sample.kind) == (Measure::PacketToAnswer, Kind::Ours)
        });
        let goals = goals(&figures, leads.map(|sample| sample.value).reduce(f64::min));
        Self { figures, goals, left_out, load }
    }

    /// As a table for people, in Markdown.
    pub fn table(&self) -> String {
        let mut text = String::new();
        text.push_str("| | igd-control | miniupnpd | miniupnpd, times igd-control |\n");
        text.push_str("|---|---|---|---|\n");
        for figure in self.figures.iter().filter(|figure| figure.kind == Kind::Ours) {
            let other = self.find(figure.measure, Kind::Miniupnpd, figure.entries);
            let digits = figure.measure.digits();
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} {} | {} | {} | {} |",
                figure.measure.name(),
                figure.entries,
                spread(&figure.stat, digits),
                other.map_or("–".to_owned(), |other| spread(&other.stat, digits)),
                other.and_then(|other| other.of_ours).map_or("–".to_owned(), |r| spread(&r, 2)),
            );
        }
        for figure in self.figures.iter().filter(|figure| figure.kind == Kind::Nothing) {
            let _ = writeln!(
                text,
                "\nThe load alone, on a server that does nothing: {} {}.",
                spread(&figure.stat, 0),
                match figure.measure {
                    Measure::AddFresh => "requests a second over fresh connections",
                    _ => "µs a request",
                }
            );
        }
        text.push_str("\n| goal | | |\n|---|---|---|\n");
        for Goal { what, is, met } in &self.goals {
            let _ = writeln!(text, "| {what} | {is} | {} |", if *met { "met" } else { "missed" });
        }
        for left_out in &self.left_out {
            let _ = writeln!(text, "\nNot measured: {left_out}");
        }
        let (before, after) = self.load;
        let _ =
            writeln!(text, "\nLoad average of the machine: {before:.1} before, {after:.1} after.");
        text
    }

    /// Beside an earlier run: what got worse beside miniupnpd by more than chance explains, and goals that were met and
    /// are no more.
    pub fn beside(&self, before: &Self) -> Comparison {
        let mut comparison = Comparison::default();
        let ratio = |report: &Self, figure: &ControlFigure| {
            let ControlFigure { measure, kind, entries, .. } = *figure;
            report.find(measure, kind, entries).and_then(|figure| figure.of_ours)
        };
        let others = before.figures.iter().filter(|figure| figure.kind == Kind::Miniupnpd);
        let usual = Usual::of(others.filter_map(|figure| figure.of_ours));
        let known = |figure: &ControlFigure| {
            before.find(figure.measure, figure.kind, figure.entries).is_some()
        };
        let now = self.figures.iter().filter(|figure| !known(figure));
        for figure in before.figures.iter().chain(now).filter(|f| f.kind == Kind::Miniupnpd) {
            let what = format!(
                "{} {}: miniupnpd's as a multiple of ours",
                figure.measure.name(),
                figure.entries
            );
            let (old, new) = (ratio(before, figure), ratio(self, figure));
            comparison.add(&what, old, new, figure.measure.worse(), usual);
        }
        for old in before.goals.iter().filter(|goal| goal.met) {
            match self.goals.iter().find(|goal| goal.what == old.what) {
                Some(new) => {
                    comparison.compared += 1;
                    if !new.met {
                        let Goal { what, is, .. } = new;
                        comparison.worse.push(format!("goal missed: {what}: {is}"));
                    }
                }
                None => comparison.left_out.push(format!("{}: not measured now", old.what)),
            }
        }
        comparison
    }

    fn find(&self, measure: Measure, kind: Kind, entries: u32) -> Option<&ControlFigure> {
        self.figures.iter().find(|figure| {
            (figure.measure, figure.kind, figure.entries) == (measure, kind, entries)
        })
    }

    /// A measure by the number of mappings, for a drawing.
    pub(crate) fn curve(&self, measure: Measure, kind: Kind) -> Vec<(u32, f64)> {
        of(&self.figures, measure, kind)
            .map(|figure| (figure.entries, figure.stat.median))
            .collect()
    }
}

fn figures(samples: &[Sample]) -> Vec<ControlFigure> {
    let mut seen: Vec<(Measure, Kind, u32)> = Vec::new();
    for sample in samples {
        let key = (sample.measure, sample.kind, sample.entries);
        if !seen.contains(&key) {
            seen.push(key);
        }
    }
    seen.sort_by_key(|(measure, kind, entries)| (*measure as u8, *entries, *kind as u8));
    let of = |(measure, kind, entries): (Measure, Kind, u32)| {
        samples.iter().filter(move |sample| {
            (sample.measure, sample.kind, sample.entries) == (measure, kind, entries)
        })
    };
    let figure = |key: (Measure, Kind, u32)| {
        let (measure, kind, entries) = key;
        let ours = |round| {
            let mut ours = of((measure, Kind::Ours, entries)).filter(|s| s.round == round);
            ours.next().map(|sample| sample.value)
        };
        let ratios = of(key).filter_map(|sample| Some(sample.value / ours(sample.round)?));
        let ratios: Vec<f64> = ratios.collect();
        ControlFigure {
            measure,
            kind,
            entries,
            stat: Stat::of(of(key).map(|sample| sample.value).collect()),
            of_ours: (!ratios.is_empty()).then(|| Stat::of(ratios)),
        }
    };
    seen.into_iter().map(figure).collect()
}

fn of(
    figures: &[ControlFigure],
    measure: Measure,
    kind: Kind,
) -> impl Iterator<Item = &ControlFigure> {
    figures.iter().filter(move |figure| figure.measure == measure && figure.kind == kind)
}

/// How much larger the largest median is than the least.
fn unevenness<'a>(figures: impl Iterator<Item = &'a ControlFigure>) -> Option<f64> {
    let medians: Vec<f64> = figures.map(|figure| figure.stat.median).collect();
    let most = medians.iter().copied().reduce(f64::max)?;
    let least = medians.iter().copied().reduce(f64::min)?;
    Some(most / least)
}

fn goals(figures: &[ControlFigure], earliest: Option<f64>) -> Vec<Goal> {
    let ours = |measure| of(figures, measure, Kind::Ours);
    let at = |measure, entries| {
        ours(measure).find(|figure| figure.entries == entries).map(|figure| figure.stat.median)
    };
    let mut goals = Vec::new();
    let mut goal = |what: &str, is: Option<f64>, unit: &str, met: &dyn Fn(f64) -> bool| {
        let Some(is) = is else { return };
        let digits = usize::from(is < 100.0);
        goals.push(Goal {
            what: what.to_owned(),
            is: format!("{is:.digits$}{unit}"),
            met: met(is),
        });
    };
    let slowest = ours(Measure::AddFresh).map(|figure| figure.stat.median).reduce(f64::min);
    goal(
        "2,000 adds a second over fresh connections, whatever the table holds",
        slowest,
        "",
        &|n| n >= 2_000.0,
    );
    for (what, measure) in [
        ("adds flat within 1.5 times", Measure::AddFresh),
        ("reads by index flat within 1.5 times", Measure::ByIndex),
        ("reads by port flat within 1.5 times", Measure::ByKey),
    ] {
        goal(what, unevenness(ours(measure)), " times", &|n| n <= 1.5);
    }
    let full = super::FULL;
    goal("a list of 60,000 under 0.5 s", at(Measure::List, full), " ms", &|n| n < 500.0);
    goal("a range delete of 60,000 under 0.5 s", at(Measure::Remove, full), " ms", &|n| n < 500.0);
    goal("under 20 MiB with 10,000", at(Measure::Resident, 10_000), " MiB", &|n| n < 20.0);
    goal("under 40 MiB with 60,000", at(Measure::Resident, full), " MiB", &|n| n < 40.0);
    goal("the first packet before the answer, always", earliest, " µs before", &|n| n > 0.0);
    goals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(measure: Measure, kind: Kind, entries: u32, round: u32, value: f64) -> Sample {
        Sample { measure, kind, entries, round, value }
    }

    fn report(samples: &[Sample]) -> ControlReport {
        ControlReport::new(samples, Vec::new(), (0.0, 0.0))
    }

    #[test]
    fn ratios_are_formed_within_a_round() {
        let report = report(&[
            sample(Measure::ByKey, Kind::Ours, 10, 0, 100.0),
            sample(Measure::ByKey, Kind::Miniupnpd, 10, 0, 400.0),
            sample(Measure::ByKey, Kind::Ours, 10, 1, 300.0),
            sample(Measure::ByKey, Kind::Miniupnpd, 10, 1, 300.0),
        ]);
        let other = report.find(Measure::ByKey, Kind::Miniupnpd, 10).unwrap();
        let ratio = other.of_ours.unwrap();
        assert_eq!((ratio.lower, ratio.upper), (1.0, 4.0));
    }

    #[test]
    fn goals_are_judged_by_this_daemon_alone() {
        let report = report(&[
            sample(Measure::AddFresh, Kind::Ours, 1_000, 0, 3_000.0),
            sample(Measure::AddFresh, Kind::Ours, 60_000, 0, 1_900.0),
            sample(Measure::AddFresh, Kind::Nothing, 1_000, 0, 100.0),
            sample(Measure::Resident, Kind::Ours, 60_000, 0, 39.9),
            sample(Measure::Resident, Kind::Miniupnpd, 60_000, 0, 99.0),
        ]);
        let met: Vec<_> = report.goals.iter().map(|goal| (goal.is.as_str(), goal.met)).collect();
        assert_eq!(met, [("1900", false), ("1.6 times", false), ("39.9 MiB", true)]);
    }

    #[test]
    fn an_answer_before_the_first_packet_misses_the_goal() {
        let early = [
            sample(Measure::PacketToAnswer, Kind::Ours, 0, 0, 80.0),
            sample(Measure::PacketToAnswer, Kind::Ours, 0, 1, -1.0),
        ];
        assert!(!report(&early).goals[0].met);
        assert!(report(&early[..1]).goals[0].met);
    }

    #[test]
    fn ours_got_worse_when_miniupnpds_part_of_it_shrank() {
        let run = |ours: f64| {
            report(&[
                sample(Measure::ByKey, Kind::Ours, 10, 0, ours),
                sample(Measure::ByKey, Kind::Miniupnpd, 10, 0, 400.0),
                sample(Measure::AddFresh, Kind::Ours, 1_000, 0, 10_000.0 / ours),
                sample(Measure::AddFresh, Kind::Miniupnpd, 1_000, 0, 50.0),
            ])
        };
        let comparison = run(200.0).beside(&run(100.0));
        assert_eq!(comparison.worse.len(), 2, "{comparison:?}");
        assert!(run(100.0).beside(&run(200.0)).worse.is_empty());
    }

    #[test]
    fn a_goal_that_was_met_and_is_missed_is_worse() {
        let run = |value| report(&[sample(Measure::Resident, Kind::Ours, 60_000, 0, value)]);
        assert_eq!(run(41.0).beside(&run(39.0)).worse.len(), 1);
        assert!(run(41.0).beside(&run(42.0)).worse.is_empty());
    }

    #[test]
    fn the_table_names_what_miniupnpd_was_not_asked() {
        let report = report(&[sample(Measure::List, Kind::Ours, 60_000, 0, 200.0)]);
        let row = "| list of all, ms, with 60000 | 200 (200–200) | – | – |";
        assert!(report.table().contains(row), "{}", report.table());
    }
}
