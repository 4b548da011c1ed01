//! The figures of pktgen as a table and as JSON.

use super::plan::{Sent, Traffic};
use crate::contestant::Kind;
use crate::report::{Stat, spread};
use crate::rounds::Rounds;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// What a turn tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Turn {
    pub(super) kind: Kind,
    /// Packets that pktgen sent.
    pub(super) sent: f64,
    /// Those that came out of the WAN.
    pub(super) arrived: f64,
    /// How long the slowest thread sent, seconds.
    pub(super) seconds: f64,
}

impl Turn {
    pub(super) fn new(kind: Kind, threads: &[Sent], arrived: u64) -> Self {
        let longest = threads.iter().map(|sent| sent.micros).max().unwrap_or_default();
        let sent: u64 = threads.iter().map(|sent| sent.packets).sum();
        Self {
            kind,
            sent: sent as f64,
            arrived: arrived as f64,
            // Never 0: rates are formed.
            seconds: longest.max(1) as f64 / 1e6,
        }
    }

    /// Nanoseconds of a sending CPU for each packet.
    fn nanos(&self, threads: u32) -> f64 {
        self.seconds * 1e9 * f64::from(threads) / self.sent
    }

    /// Packets a second that get through.
    fn through(&self) -> f64 {
        self.arrived / self.seconds
    }

    fn lost(&self) -> f64 {
        if self.kind == Kind::Door { 0.0 } else { 1.0 - self.arrived / self.sent }
    }
}

/// One contestant in one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PktgenFigure {
    /// Length of the frames, bytes.
    pub frame: u32,
    /// How many flows there are.
    pub flows: u32,
    /// How many of pktgen's threads send.
    pub threads: u32,
    /// Who routes.
    pub kind: Kind,
    /// Packets a second that pktgen sends.
    pub sent: Stat,
    /// Packets a second that get through.
    pub through: Stat,
    /// The router's own nanoseconds for each packet, where the sending CPU does the router's work too.
    pub own: Stat,
    /// How many times the ceiling's time that is; between CPUs of their own, how many times the ceiling's rate is
    /// this one's.
    pub of_ceiling: Stat,
    /// The same of this NAT's.
    pub of_nat: Stat,
    /// Share of the packets that did not get through.
    pub lost: f64,
}

/// All figures of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PktgenReport {
    /// The kernel's release.
    pub kernel: String,
    /// Whether packets go over cables. Else one CPU sends, routes and counts.
    pub cables: bool,
    /// By case, then contestant.
    pub figures: Vec<PktgenFigure>,
    /// Who did not take part, and why.
    pub left_out: Vec<String>,
}

/// So many of a contestant's packets may be lost when it keeps up with the sender.
const KEEPS_UP: f64 = 0.001;

impl PktgenReport {
    /// Adds what all rounds of a case have told.
    pub(super) fn add(&mut self, traffic: &Traffic, rounds: &Rounds<Turn>) {
        let Traffic { frame, flows, threads, .. } = *traffic;
        let of = |round: &[Turn], kind, figure: &dyn Fn(&Turn) -> f64| {
            round.iter().find(|turn| turn.kind == kind).map_or(f64::NAN, figure)
        };
        let own = |round: &[Turn], kind| {
            let nanos = |kind| of(round, kind, &|turn| turn.nanos(threads));
            nanos(kind) - nanos(Kind::Door)
        };
        let cost = |round: &[Turn], kind| {
            if self.cables { 1.0 / of(round, kind, &Turn::through) } else { own(round, kind) }
        };
        for kind in rounds.first().iter().map(|turn| turn.kind) {
            let figure = PktgenFigure {
                frame,
                flows,
                threads,
                kind,
                sent: rounds.stat(|round| of(round, kind, &|turn| turn.sent / turn.seconds)),
                through: rounds.stat(|round| of(round, kind, &Turn::through)),
                own: rounds.stat(|round| if self.cables { f64::NAN } else { own(round, kind) }),
                of_ceiling: rounds.stat(|round| cost(round, kind) / cost(round, Kind::Ceiling)),
                of_nat: rounds.stat(|round| cost(round, kind) / cost(round, Kind::Nat)),
                lost: rounds.mean(|round| of(round, kind, &Turn::lost)),
            };
            self.figures.push(figure);
        }
    }

    /// As a table for people, in Markdown.
    pub fn table(&self) -> String {
        let wires = if self.cables {
            "packets go over cables: ratios are of what gets through"
        } else {
            "virtual interfaces: the CPU that sends routes too, and ratios are of the router's own time"
        };
        let mut text = format!("\npktgen on Linux {}; {wires}.\n", self.kernel);
        let mut last = None;
        for figure in &self.figures {
            let PktgenFigure { frame, flows, threads, kind, .. } = *figure;
            if last != Some((frame, flows, threads)) {
                last = Some((frame, flows, threads));
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "\noutbound, UDP, {frame} bytes, {flows} flows, {threads} of pktgen's threads\n\n\
                     | | sent, kpps | through, kpps | of the ceiling | of this NAT | lost |\n\
                     |---|---|---|---|---|---|"
                );
            }
            let thousands = |stat: &Stat| {
                let Stat { lower, median, upper, .. } = *stat;
                spread(
                    &Stat { lower: lower / 1e3, median: median / 1e3, upper: upper / 1e3, ..*stat },
                    1,
                )
            };
            let unless_door = |text: String| {
                if kind == Kind::Door { "–".to_owned() } else { text }
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {:.2} % |",
                kind.name(),
                thousands(&figure.sent),
                unless_door(thousands(&figure.through)),
                unless_door(spread(&figure.of_ceiling, 2)),
                unless_door(spread(&figure.of_nat, 2)),
                100.0 * figure.lost,
            );
        }
        let keeps_up = |figure: &&PktgenFigure| figure.kind != Kind::Door && figure.lost < KEEPS_UP;
        if self.cables && self.figures.iter().any(|figure| keeps_up(&figure)) {
            text.push_str(
                "\nWho loses next to nothing keeps up with pktgen, which is then the limit: that router could do \
                 more, and ratios with it say less than there is.\n",
            );
        }
        for left_out in &self.left_out {
            let _ = writeln!(text, "\n**Not measured**: {left_out}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAFFIC: Traffic = Traffic { frame: 64, flows: 1_024, threads: 2, first_cpu: 0 };

    fn turn(kind: Kind, micros: u64, arrived: u64) -> Turn {
        let thread = Sent { packets: 500, micros, errors: 0 };
        Turn::new(kind, &[Sent { micros: 1, ..thread }, thread], arrived)
    }

    fn report(cables: bool, turns: &[Turn]) -> PktgenReport {
        let mut report = PktgenReport { cables, ..PktgenReport::default() };
        report.add(&TRAFFIC, &Rounds::play(1, || Ok(turns.to_vec())).unwrap());
        report
    }

    fn of(report: &PktgenReport, kind: Kind) -> PktgenFigure {
        report.figures.iter().find(|figure| figure.kind == kind).unwrap().clone()
    }

    #[test]
    fn what_the_generator_costs_is_taken_off_where_one_cpu_does_everything() {
        let report = report(
            false,
            &[
                turn(Kind::Door, 1_000, 0),
                turn(Kind::Ceiling, 1_500, 1_000),
                turn(Kind::Nat, 2_000, 1_000),
            ],
        );
        let nat = of(&report, Kind::Nat);
        // 1,000 packets in 2 ms of two CPUs are 4 µs each, of which the door takes 2.
        assert_eq!((nat.own.median, nat.of_ceiling.median), (2_000.0, 2.0));
        assert_eq!(of(&report, Kind::Door).lost, 0.0);
    }

    #[test]
    fn over_cables_what_gets_through_is_compared() {
        let report = report(
            true,
            &[
                turn(Kind::Door, 1_000, 0),
                turn(Kind::Ceiling, 1_000, 1_000),
                turn(Kind::Nat, 1_000, 500),
            ],
        );
        let nat = of(&report, Kind::Nat);
        assert_eq!((nat.of_ceiling.median, nat.lost), (2.0, 0.5));
        assert!(nat.own.median.is_nan());
        assert!(report.table().contains("keeps up with pktgen"), "{}", report.table());
    }
}
