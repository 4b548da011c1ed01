//! New flows: each packet is the first of one.
//!
//! Every round has contestants of its own, which know nothing yet. How long a packet takes includes the
//! generator; a router that drops at its door tells how much that is.
//!
//! A turn is sent in slices, and the slice in the middle counts: a pause of the machine, which is as long as
//! hundreds of flows, spoils the slice that it falls into and not the turn. What all slices take, pauses
//! included, is told beside it.

use super::many_ports::{self, PORTS};
use crate::case::Case;
use crate::contestant::{Contestant, Kind};
use crate::report::Stat;
use crate::rounds::Rounds;
use anyhow::{Result, ensure};
use nat_tests::lab::Lab;
use serde::{Deserialize, Serialize};

/// Flows of a slice.
const SLICE: u32 = 256;

/// A kind of new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flows {
    /// Of endpoints that have no mapping, whose own port is free outside.
    NewEndpoints,
    /// Of endpoints that have one, to other remote hosts.
    NewRemotes,
    /// Of endpoints that have no mapping, whose own port is taken: few ports are.
    FewPortsTaken,
    /// The same when 95 % of the ports are taken, until 97 % are.
    MostPortsTaken,
}

impl Flows {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::NewEndpoints, Self::NewRemotes, Self::FewPortsTaken, Self::MostPortsTaken];

    /// As a reader knows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewEndpoints => "new endpoints, each keeps its port",
            Self::NewRemotes => "known endpoints, new remote hosts",
            Self::FewPortsTaken => "new endpoints whose port is taken",
            Self::MostPortsTaken => "the same, from 95 % to 97 % of all ports taken",
        }
    }

    /// What was sent before, and what is measured.
    const fn cases(self) -> [Case; 2] {
        const NEW: u32 = 96 * SLICE;
        const MOST: u32 = PORTS / 100 * 95;
        /// Of the ports that the NAT has.
        const SOME: u32 = PORTS / 50 / SLICE * SLICE;
        let known = Case::flows(1_024, 1);
        let colliding = Case { ports_collide: true, ..known };
        match self {
            Self::NewEndpoints => [known, Case { first_endpoint: 1_024, endpoints: NEW, ..known }],
            Self::NewRemotes => [known, Case { first_remote: 1, remotes: NEW / 1_024, ..known }],
            Self::FewPortsTaken => {
                [colliding, Case { first_endpoint: 1_024, endpoints: SOME, ..colliding }]
            }
            Self::MostPortsTaken => [
                Case { endpoints: MOST, ..colliding },
                Case { first_endpoint: MOST, endpoints: SOME, ..colliding },
            ],
        }
    }

    fn contestant<'lab>(
        self,
        kind: Kind,
        lab: &'lab Lab,
        object: &[u8],
    ) -> Result<Contestant<'lab>> {
        match self {
            Self::NewEndpoints | Self::NewRemotes => Contestant::new(kind, lab, object, SESSIONS),
            Self::FewPortsTaken | Self::MostPortsTaken => many_ports::contestant(kind, lab, object),
        }
    }
}

/// How long a contestant takes for a kind of new flow.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Opening {
    /// Which flows.
    pub flows: Flows,
    /// Who routes: this NAT or nftables.
    pub kind: Kind,
    /// Nanoseconds a new flow in the slice in the middle, without the generator's.
    pub own: Stat,
    /// The same of all slices, with the pauses of the machine and of the contestant.
    pub with_pauses: Stat,
    /// How many times this NAT's own that is.
    pub of_nat: Stat,
    /// How many times what the contestant takes for new endpoints in an empty table.
    pub of_empty: Stat,
    /// Share of the flows whose packet did not arrive.
    pub lost: f64,
}

/// Who takes part: the door tells what the generator costs.
const KINDS: [Kind; 3] = [Kind::Door, Kind::Nat, Kind::Nftables];

/// How often the flows that are to be there before are sent at most.
const MOST_TIMES: u32 = 10;

/// Room for all sessions of a contestant.
const SESSIONS: u32 = 131_072;

pub(super) fn measure(
    object: &[u8],
    rounds: u32,
    progress: &mut impl FnMut(&str),
) -> Result<Vec<Opening>> {
    let mut number = 0;
    let rounds = Rounds::play(rounds, || {
        number += 1;
        progress(&format!("new flows, round {number} of {rounds}"));
        let turns = Flows::ALL.into_iter().flat_map(|flows| KINDS.map(|kind| (flows, kind)));
        turns.map(|(flows, kind)| turn(flows, kind, object)).collect()
    })?;
    let of = Flows::ALL.into_iter().flat_map(|flows| KINDS.map(|kind| (flows, kind)));
    let of = of.filter(|(_, kind)| *kind != Kind::Door);
    Ok(of.map(|(flows, kind)| opening(flows, kind, &rounds)).collect())
}

/// What a turn tells.
#[derive(Clone, Copy, Debug)]
struct Turn {
    flows: Flows,
    kind: Kind,
    /// Nanoseconds a flow, in the slice in the middle.
    nanos: f64,
    /// Nanoseconds a flow, in all slices.
    mean: f64,
    /// The share that was lost.
    lost: f64,
}

fn turn(flows: Flows, kind: Kind, object: &[u8]) -> Result<Turn> {
    let lab = Lab::home()?;
    let mut contestant = flows.contestant(kind, &lab, object)?;
    let [before, measured] = flows.cases();
    // Often, since the first packet of a flow is lost when nobody has looked for free ports of late.
    let mut lost = u64::MAX;
    for time in 0..MOST_TIMES {
        if time >= 2 && lost == 0 {
            break;
        }
        contestant.prepare(&before)?;
        lost = contestant.send(&before, before.count())?.1;
    }
    ensure!(lost == 0, "{}: {lost} of {} flows were lost", kind.name(), before.count());
    contestant.prepare(&measured)?;
    let slices = (0..measured.count() / SLICE)
        .map(|_| contestant.send(&measured, SLICE))
        .collect::<Result<Vec<_>>>()?;
    contestant.finish()?;
    let lost = slices.iter().map(|(_, lost)| *lost).sum::<u64>() as f64;
    let nanos: Vec<f64> = slices.iter().map(|(nanos, _)| *nanos).collect();
    Ok(Turn {
        flows,
        kind,
        mean: nanos.iter().sum::<f64>() / nanos.len() as f64,
        nanos: Stat::of(nanos).median,
        lost: lost / f64::from(measured.count()),
    })
}

fn opening(flows: Flows, kind: Kind, rounds: &Rounds<Turn>) -> Opening {
    let of = |round: &[Turn], flows, kind, figure: fn(&Turn) -> f64| {
        let turn = round.iter().find(|turn| (turn.flows, turn.kind) == (flows, kind));
        turn.map_or(f64::NAN, figure)
    };
    let without_generator = |round: &[Turn], flows, kind, figure| {
        of(round, flows, kind, figure) - of(round, flows, Kind::Door, figure)
    };
    let own =
        |round: &[Turn], flows, kind| without_generator(round, flows, kind, |turn| turn.nanos);
    Opening {
        flows,
        kind,
        own: rounds.stat(|round| own(round, flows, kind)),
        with_pauses: rounds.stat(|round| without_generator(round, flows, kind, |turn| turn.mean)),
        of_nat: rounds.stat(|round| own(round, flows, kind) / own(round, flows, Kind::Nat)),
        of_empty: rounds
            .stat(|round| own(round, flows, kind) / own(round, Flows::NewEndpoints, kind)),
        lost: rounds.mean(|round| of(round, flows, kind, |turn| turn.lost)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_whole_slices_and_the_tables_hold_them() {
        for flows in Flows::ALL {
            let [before, measured] = flows.cases();
            assert!(measured.count().is_multiple_of(SLICE), "{flows:?}");
            assert!(before.count() + measured.count() <= PORTS / 100 * 97, "{flows:?}");
        }
    }

    #[test]
    fn ratios_are_of_what_is_left_without_the_generator() {
        let turn = |flows, kind, nanos| Turn { flows, kind, nanos, mean: 2.0 * nanos, lost: 0.0 };
        let (empty, scarce) = (Flows::NewEndpoints, Flows::MostPortsTaken);
        let round = vec![
            turn(empty, Kind::Door, 100.0),
            turn(empty, Kind::Nat, 300.0),
            turn(scarce, Kind::Door, 150.0),
            turn(scarce, Kind::Nat, 750.0),
            turn(scarce, Kind::Nftables, 1_350.0),
        ];
        let rounds = Rounds::play(1, || Ok(round.clone())).unwrap();
        let ours = opening(scarce, Kind::Nat, &rounds);
        assert_eq!((ours.own.median, ours.with_pauses.median), (600.0, 1_200.0));
        assert_eq!((ours.of_nat.median, ours.of_empty.median), (1.0, 3.0));
        assert_eq!(opening(scarce, Kind::Nftables, &rounds).of_nat.median, 2.0);
    }
}
