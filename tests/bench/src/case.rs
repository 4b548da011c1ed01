//! What is sent.

use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Which way it goes.
    pub direction: Direction,
    /// TCP, else UDP.
    pub tcp: bool,
    /// Length of a frame without its checksum sequence, bytes.
    pub frame: u32,
    /// How many internal endpoints there are.
    pub endpoints: u32,
    /// How many remote hosts each of them talks to.
    pub remotes: u32,
    /// The first endpoint, as a number: those before it are somebody else's.
    #[serde(default)]
    pub first_endpoint: u32,
    /// The first remote host, as a number.
    #[serde(default)]
    pub first_remote: u32,
    /// All clients use the same ports, so that few can keep theirs outside; else every endpoint has a port of
    /// its own.
    #[serde(default)]
    pub ports_collide: bool,
    /// What comes in uses port forwards, and not the mappings of what has gone out.
    #[serde(default)]
    pub forwarded: bool,
    /// Each datagram comes in two fragments of this length.
    #[serde(default)]
    pub fragments: bool,
    /// How many VLAN tags each frame has, which add to its length, on both sides of the router; two at most.
    #[serde(default)]
    pub tags: usize,
}

/// The most of them.
pub const MOST_TAGS: usize = 2;

/// The first of the endpoints that have port forwards, as a number.
pub const FIRST_FORWARDED: u32 = 62_000;
/// How many endpoints have them.
pub const FORWARDED: u32 = 1_024;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the LAN to the WAN.
    Outbound,
    /// From the WAN to the LAN.
    Inbound,
    /// From the LAN to the LAN, by the external address.
    Hairpin,
}

/// The shortest frame.
pub const SHORTEST: u32 = 64;

impl Case {
    /// UDP in the shortest frames, outbound.
    pub const fn flows(endpoints: u32, remotes: u32) -> Self {
        Self {
            direction: Direction::Outbound,
            tcp: false,
            frame: SHORTEST,
            endpoints,
            remotes,
            first_endpoint: 0,
            first_remote: 0,
            ports_collide: false,
            forwarded: false,
            fragments: false,
            tags: 0,
        }
    }

    /// From the WAN to port forwards, UDP in the shortest frames.
    pub const fn to_forwards() -> Self {
        Self {
            direction: Direction::Inbound,
            first_endpoint: FIRST_FORWARDED,
            forwarded: true,
            ..Self::flows(FORWARDED, 1)
        }
    }

    /// How many flows there are.
    pub const fn count(&self) -> u32 {
        self.endpoints * self.remotes
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Outbound => "outbound",
            Direction::Inbound => "inbound",
            Direction::Hairpin => "hairpin",
        };
        let protocol = if self.tcp { "TCP" } else { "UDP" };
        let forwards = if self.forwarded { " to port forwards" } else { "" };
        let flows = self.count();
        write!(f, "{direction}{forwards}, {protocol}, {} bytes, {flows} flows", self.frame)?;
        if self.fragments {
            write!(f, ", in two fragments")?;
        }
        match self.tags {
            0 => Ok(()),
            1 => write!(f, ", one VLAN tag"),
            _ => write!(f, ", two VLAN tags"),
        }
    }
}
