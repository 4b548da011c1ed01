//! What was measured: as a table, as JSON, and compared with an earlier run.

use crate::case::{Case, Direction};
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
}

/// JSON has no word for what is not a number but null.
fn number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

impl Stat {
    /// Of the figures of all rounds, at least one.
    pub(crate) fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let at = |place: usize| rounds.get(place).copied().unwrap_or(f64::NAN);
        Self {
            lower: at(rounds.len() / 4),
            median: at(rounds.len() / 2),
            upper: at(rounds.len() * 3 / 4),
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
}

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
        text
    }

    /// What got worse since `before`: cases in which this NAT's distance from the ceiling has grown by more
    /// than the spread of both runs.
    pub fn worse_than(&self, before: &Self) -> Vec<String> {
        let ours = |report: &Self, case: &Case| {
            let mut figures = report.figures.iter();
            figures.find(|figure| figure.kind == Kind::Nat && figure.case == *case).cloned()
        };
        let mut worse = Vec::new();
        for old in before.figures.iter().filter(|figure| figure.kind == Kind::Nat) {
            let Some(new) = ours(self, &old.case) else { continue };
            let spread = (old.of_ceiling.upper - old.of_ceiling.lower)
                .max(new.of_ceiling.upper - new.of_ceiling.lower);
            if new.of_ceiling.median > old.of_ceiling.median + spread {
                worse.push(format!(
                    "{}: {:.2} × the ceiling, and it was {:.2} (spread {spread:.2})",
                    old.case, new.of_ceiling.median, old.of_ceiling.median
                ));
            }
        }
        worse
    }

    /// This NAT's, the ceiling's and nftables' own costs by the number of flows, outbound UDP in the shortest
    /// frames.
    pub(crate) fn curve(&self, kind: Kind) -> Vec<(u32, f64)> {
        let plain = |case: &Case| {
            case.direction == Direction::Outbound
                && !case.tcp
                && case.frame == crate::case::SHORTEST
        };
        let points =
            self.figures.iter().filter(|figure| figure.kind == kind && plain(&figure.case));
        points.map(|figure| (figure.case.count(), figure.own.median)).collect()
    }
}

/// The one in the middle, and the quarters around it.
pub(crate) fn spread(stat: &Stat, digits: usize) -> String {
    let Stat { lower, median, upper } = stat;
    format!("{median:.digits$} ({lower:.digits$}–{upper:.digits$})")
}
