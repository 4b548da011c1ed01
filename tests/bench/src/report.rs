//! What was measured: as a table, as JSON, and beside an earlier run.

use crate::case::{Case, Direction};
use crate::comparison::{Comparison, Usual, Worse};
use crate::contestant::Kind;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// A figure over all rounds: the spread is that of their middle half.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Stat {
    /// A quarter of the rounds is below.
    #[serde(deserialize_with = "number")]
    pub lower: f64,
    /// Half of them are.
    #[serde(deserialize_with = "number")]
    pub median: f64,
    /// Three quarters are.
    #[serde(deserialize_with = "number")]
    pub upper: f64,
    /// How many rounds there were. A file that does not say has few.
    #[serde(default = "few")]
    pub rounds: u32,
}

const fn few() -> u32 {
    3
}

/// JSON has no word for what is not a number but null.
fn number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

impl Stat {
    /// Of nothing.
    pub(crate) const fn none() -> Self {
        Self { lower: f64::NAN, median: f64::NAN, upper: f64::NAN, rounds: 0 }
    }

    /// Of the figures of all rounds, at least one.
    pub(crate) fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let at = |place: usize| rounds.get(place).copied().unwrap_or(f64::NAN);
        Self {
            lower: at(rounds.len() / 4),
            median: at(rounds.len() / 2),
            upper: at(rounds.len() * 3 / 4),
            rounds: u32::try_from(rounds.len()).unwrap_or(u32::MAX),
        }
    }
}

/// One contestant in one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What was sent.
    pub case: Case,
    /// Who routed.
    pub kind: Kind,
    /// Nanoseconds a packet, with the generator's and the sink's.
    pub nanos: Stat,
    /// The same without the generator's: the router's own, and the sink's.
    pub own: Stat,
    /// What a run of the router's XDP program takes by the kernel's statistics, which read the clock twice;
    /// not a number when the kernel itself routes.
    pub program: Stat,
    /// The router's own as a multiple of the ceiling's.
    pub of_ceiling: Stat,
    /// A run of its program as a multiple of one of the ceiling's: less than all of its own time, and steadier.
    #[serde(default = "Stat::none")]
    pub program_of_ceiling: Stat,
    /// The router's own as a multiple of this NAT's.
    pub of_nat: Stat,
    /// Share of the packets that did not arrive.
    pub lost: f64,
}

/// All figures of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// By case, then contestant.
    pub figures: Vec<Figure>,
    /// Who did not take part, and why.
    #[serde(default)]
    pub left_out: Vec<String>,
}

/// Under the name of a case in which nobody stands beside this NAT.
const NO_PEER: &str = "\n**No peer**: the kernel routes frames with tags by VLAN devices (8021q), which these labs \
                       do without, since not every kernel has them. Its routing and its NAT are not measured here, \
                       and nothing stands in for them.\n";

impl Report {
    /// As a table for people, in Markdown.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut last = None;
        for figure in &self.figures {
            if last != Some(figure.case) {
                last = Some(figure.case);
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "\n{}\n\n| | Mpps | ns a packet | router's own ns | its program's ns | of the ceiling \
                     | lost |\n|---|---|---|---|---|---|---|",
                    figure.case
                );
                if figure.case.tags > 0 {
                    text.insert_str(text.rfind("\n| | Mpps").unwrap_or_default(), NO_PEER);
                }
            }
            let _ = writeln!(
                text,
                "| {} | {:.2} | {} | {} | {} | {} | {:.2} % |",
                figure.kind.name(),
                1_000.0 / figure.nanos.median,
                spread(&figure.nanos, 0),
                if figure.kind == Kind::Door { "–".to_owned() } else { spread(&figure.own, 0) },
                if figure.program.median.is_nan() {
                    "–".to_owned()
                } else {
                    spread(&figure.program, 0)
                },
                if figure.kind == Kind::Door {
                    "–".to_owned()
                } else {
                    spread(&figure.of_ceiling, 2)
                },
                100.0 * figure.lost,
            );
        }
        for left_out in &self.left_out {
            let _ = writeln!(text, "\n**Not measured**: {left_out}");
        }
        text
    }

    /// Beside an earlier run: a case got worse when this NAT's distance from the ceiling, or that of its program
    /// alone, has grown by more than chance explains.
    pub fn beside(&self, before: &Self) -> Comparison {
        type Measure = (&'static str, fn(&Figure) -> Stat);
        const MEASURES: [Measure; 2] = [
            ("times the ceiling", |figure| figure.of_ceiling),
            ("its program, times the ceiling's", |figure| figure.program_of_ceiling),
        ];
        fn ours(report: &Report) -> impl Iterator<Item = &Figure> {
            report.figures.iter().filter(|figure| figure.kind == Kind::Nat)
        }
        let usual = MEASURES.map(|(_, of)| Usual::of(ours(before).map(of)).with_tables());
        let mut comparison = Comparison::default();
        let mut compare = |old: Option<&Figure>, new: Option<&Figure>| {
            let Some(case) = old.or(new).map(|figure| figure.case) else { return };
            for ((what, of), usual) in MEASURES.into_iter().zip(usual) {
                let what = format!("{case}: {what}");
                comparison.add(&what, old.map(of), new.map(of), Worse::Higher, usual);
            }
        };
        for new in ours(self) {
            compare(ours(before).find(|old| old.case == new.case), Some(new));
        }
        for old in ours(before) {
            if !ours(self).any(|new| new.case == old.case) {
                compare(Some(old), None);
            }
        }
        comparison
    }

    /// This NAT's, the ceiling's and nftables' own costs by the number of flows, outbound UDP in the shortest
    /// frames.
    pub(crate) fn curve(&self, kind: Kind) -> Vec<(u32, f64)> {
        let plain = |case: &Case| {
            case.direction == Direction::Outbound
                && !case.tcp
                && case.tags == 0
                && case.frame == crate::case::SHORTEST
        };
        let points =
            self.figures.iter().filter(|figure| figure.kind == kind && plain(&figure.case));
        points.map(|figure| (figure.case.count(), figure.own.median)).collect()
    }
}

/// The one in the middle, and the quarters around it.
pub(crate) fn spread(stat: &Stat, digits: usize) -> String {
    let Stat { lower, median, upper, .. } = stat;
    format!("{median:.digits$} ({lower:.digits$}–{upper:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(lower: f64, median: f64, upper: f64) -> Stat {
        Stat { lower, median, upper, rounds: 9 }
    }

    fn report(cases: &[(Case, Stat)]) -> Report {
        let figure = |(case, of_ceiling): &(Case, Stat)| {
            let none = Stat::none();
            Figure {
                case: *case,
                kind: Kind::Nat,
                nanos: none,
                own: none,
                program: none,
                of_ceiling: *of_ceiling,
                program_of_ceiling: none,
                of_nat: none,
                lost: 0.0,
            }
        };
        Report { figures: cases.iter().map(figure).collect(), ..Report::default() }
    }

    #[test]
    fn the_program_alone_can_get_worse() {
        let case = Case::flows(1, 1);
        let run = |ratio| {
            let mut report = report(&[(case, Stat::none())]);
            report.figures[0].program_of_ceiling = stat(ratio, ratio, ratio);
            report
        };
        let told = "outbound, UDP, 64 bytes, 1 flows: its program, times the ceiling's: 4.60, and it was 2.70 \
                    (chance explains 1.08)";
        assert_eq!(run(4.6).beside(&run(2.7)).worse, [told]);
        assert!(run(2.7).beside(&run(4.6)).worse.is_empty());
    }

    #[test]
    fn what_only_one_run_has_is_told() {
        let (one, tagged) = (Case::flows(1, 1), Case { tags: 1, ..Case::flows(1, 1) });
        let before = report(&[(one, stat(1.0, 1.0, 1.0))]);
        let without_ceiling = Stat::none();
        let now = report(&[(tagged, stat(1.0, 1.0, 1.0)), (one, without_ceiling)]);
        let comparison = now.beside(&before);
        assert_eq!((comparison.compared, comparison.worse.len()), (0, 0));
        assert_eq!(comparison.left_out.len(), 2);
        assert_eq!(report(&[]).beside(&before).left_out.len(), 1);
    }

    #[test]
    fn a_case_of_tags_says_that_it_has_no_peer() {
        let tagged = Case { tags: 1, ..Case::flows(1, 1) };
        let table = report(&[(tagged, stat(1.0, 1.0, 1.0))]).table();
        assert!(
            table.starts_with("\noutbound, UDP, 64 bytes, 1 flows, one VLAN tag\n\n**No peer**"),
            "{table}"
        );
        assert!(!report(&[(Case::flows(1, 1), stat(1.0, 1.0, 1.0))]).table().contains("No peer"));
    }
}
