//! New flows: each packet is the first of one.
//!
//! Every round has contestants of its own, which know nothing yet. How long a packet takes includes the
//! generator; a router that drops at its door tells how much that is.

use crate::case::{Case, FORWARDED};
use crate::contestant::{Contestant, Kind};
use crate::report::Stat;
use crate::rounds::Rounds;
use anyhow::{Result, ensure};
use nat_tests::lab::Lab;
use serde::{Deserialize, Serialize};

/// Ports that the NAT has in the lab: from 1024 on, without the router's own local ports and those of port
/// forwards.
const PORTS: u32 = 64_512 - 28_232 - FORWARDED;

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
    /// The same when 95 % of the ports are taken, until 99 % are.
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
            Self::MostPortsTaken => "the same, from 95 % to 99 % of all ports taken",
        }
    }

    /// How many rounds count for one: where few flows can be opened, a turn is over in milliseconds.
    const fn weight(self) -> u32 {
        match self {
            Self::NewEndpoints | Self::NewRemotes => 1,
            Self::FewPortsTaken | Self::MostPortsTaken => 3,
        }
    }

    /// What was sent before, and what is measured.
    const fn cases(self) -> [Case; 2] {
        /// Of the ports that the NAT has.
        const MOST: u32 = PORTS / 100 * 95;
        const FEW: u32 = PORTS / 100 * 4;
        let known = Case::flows(1_024, 1);
        let colliding = Case { ports_collide: true, ..known };
        match self {
            Self::NewEndpoints => {
                [known, Case { first_endpoint: 1_024, endpoints: 24_000, ..known }]
            }
            Self::NewRemotes => [known, Case { first_remote: 1, remotes: 24, ..known }],
            Self::FewPortsTaken => {
                [colliding, Case { first_endpoint: 1_024, endpoints: FEW, ..colliding }]
            }
            Self::MostPortsTaken => [
                Case { endpoints: MOST, ..colliding },
                Case { first_endpoint: MOST, endpoints: FEW, ..colliding },
            ],
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
    /// Nanoseconds a new flow, without the generator's.
    pub own: Stat,
    /// How many times this NAT's that is.
    pub of_nat: Stat,
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
    let mut found = Vec::new();
    for flows in Flows::ALL {
        progress(flows.name());
        let rounds = rounds * flows.weight();
        found.extend(openings(flows, &Rounds::play(rounds, || round(flows, object))?));
    }
    Ok(found)
}

/// What a turn tells.
#[derive(Clone, Copy)]
struct Turn {
    /// Nanoseconds a flow.
    nanos: f64,
    /// The share that was lost.
    lost: f64,
}

/// One turn each.
fn round(flows: Flows, object: &[u8]) -> Result<Vec<Turn>> {
    let mut turns = Vec::new();
    for kind in KINDS {
        let lab = Lab::home()?;
        let mut contestant = Contestant::new(kind, &lab, object, SESSIONS)?;
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
        let (nanos, lost) = contestant.send(&measured, measured.count())?;
        turns.push(Turn { nanos, lost: lost as f64 / f64::from(measured.count()) });
        contestant.finish()?;
    }
    Ok(turns)
}

fn openings(flows: Flows, rounds: &Rounds<Turn>) -> Vec<Opening> {
    let of = |round: &[Turn], place: usize| round.get(place).map_or(f64::NAN, |turn| turn.nanos);
    let own = |round: &[Turn], place: usize| of(round, place) - of(round, 0);
    let lost = |round: &[Turn], place: usize| round.get(place).map_or(f64::NAN, |turn| turn.lost);
    let places = KINDS.into_iter().enumerate().skip(1);
    places
        .map(|(place, kind)| Opening {
            flows,
            kind,
            own: rounds.stat(|round| own(round, place)),
            of_nat: rounds.stat(|round| own(round, place) / own(round, 1)),
            lost: rounds.mean(|round| lost(round, place)),
        })
        .collect()
}
