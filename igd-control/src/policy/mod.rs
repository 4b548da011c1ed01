//! Who may have which port mappings.
//!
//! Pure, and of no protocol: a [`Question`] is asked by whichever protocol the mapping was asked for,
//! and its [`Decision`] says what it was made by.
//!
//! Rules come first, in their order, and the first that matches decides. Where none does the [`Mode`]
//! decides. A rule that denies matches whatever its keys do not exclude. A rule that allows widens only
//! what it names: a key that it leaves out stays as the mode has it, so that a rule for port 80 gives
//! nobody another host's port 80.

mod access;
mod explain;
mod range;
mod rate;
mod rule;

pub use access::{Mapped, Scope};
pub use explain::Explanation;
pub use range::{PortRange, Subnet};
pub use rate::RequestRate;
pub use rule::{Rule, RuleAction, Transport};

use crate::mapping::FIRST_UNPRIVILEGED;
use nat_common::Protocol;
use nat_common::ports::WILDCARD_PORT;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What decides where no rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// What InternetGatewayDevice:2 recommends for unauthorized control points: they map, see and
    /// delete only ports of their own address, from 1024 on.
    #[default]
    OwnClient,
    /// Every client on the LAN may do everything.
    Open,
}

/// By which protocol a mapping is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// UPnP InternetGatewayDevice.
    #[default]
    Upnp,
    /// The Port Control Protocol (RFC 6887).
    Pcp,
    /// The NAT Port Mapping Protocol (RFC 6886).
    NatPmp,
}

/// A mapping that somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The address that the request comes from.
    pub requester: IpAddr,
    /// Where packets would go.
    pub client: IpAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// External port; 0 is every port that is not otherwise mapped.
    pub external_port: u16,
    /// Internal port.
    pub internal_port: u16,
    /// The only remote host that would be let in; `None`: everybody.
    pub remote: Option<IpAddr>,
    /// Who asks for it.
    pub via: Via,
}

/// Whether a mapping may be made, and by what that was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may.
    pub allowed: bool,
    /// By what.
    pub reason: Reason,
}

/// By what a decision was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// By this rule, counted from 0.
    Rule(usize),
    /// By the mode, which lets everybody do everything.
    Open,
    /// By the mode: the client's own, and from 1024 on.
    Own,
    /// By the mode: packets would go to another client than the one that asks.
    ForeignClient,
    /// By the mode: one of the ports is below 1024.
    PrivilegedPort,
}

impl Reason {
    /// The reason in words, for whom the mapping is refused to.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Rule(_) => "a rule of this gateway's operator decides",
            Self::Open => "every client may map every port for every host",
            Self::Own => "clients may map ports of their own address, from 1024 on",
            Self::ForeignClient => "the internal client must be the address that asks",
            Self::PrivilegedPort => "ports below 1024 are not for unauthorized control points",
        }
    }
}

/// The rules, and the mode where none matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What decides where no rule does.
    pub mode: Mode,
    /// The rules, in their order.
    pub rules: Vec<Rule>,
}

impl From<Mode> for Policy {
    fn from(mode: Mode) -> Self {
        Self { mode, rules: Vec::new() }
    }
}

impl Policy {
    /// Whether the mapping may be made.
    pub fn decide(&self, question: &Question) -> Decision {
        self.by_rule(question).unwrap_or_else(|| self.by_mode(question))
    }

    /// An external port, other than the wildcard, that the mapping may have, if there is one. Decisions
    /// change at the ends of the ranges that rules name and at the first unprivileged port, and
    /// nowhere else.
    pub fn some_port(&self, question: &Question) -> Option<u16> {
        let named = self.rules.iter().flat_map(Rule::named_external);
        let ends = named.flat_map(|range| [range.ends().0, range.ends().1.saturating_add(1)]);
        let mut ports = [FIRST_UNPRIVILEGED, 1].into_iter().chain(ends).filter(|port| *port != 0);
        ports.find(|port| self.decide(&Question { external_port: *port, ..*question }).allowed)
    }

    /// What the first rule that matches says.
    fn by_rule(&self, question: &Question) -> Option<Decision> {
        let matching = self.rules.iter().position(|rule| rule.matches(self.mode, question))?;
        let rule = self.rules.get(matching)?;
        Some(Decision { allowed: rule.action.allows(), reason: Reason::Rule(matching) })
    }

    fn by_mode(&self, question: &Question) -> Decision {
        let privileged = |port: u16| port < FIRST_UNPRIVILEGED;
        let reason = match self.mode {
            Mode::Open => Reason::Open,
            Mode::OwnClient if question.client != question.requester => Reason::ForeignClient,
            Mode::OwnClient
                if privileged(question.external_port) || privileged(question.internal_port) =>
            {
                Reason::PrivilegedPort
            }
            Mode::OwnClient => Reason::Own,
        };
        Decision { allowed: matches!(reason, Reason::Open | Reason::Own), reason }
    }
}

/// How an external port is told to people.
fn port_text(port: u16) -> String {
    if port == WILDCARD_PORT { "every port".to_owned() } else { port.to_string() }
}

#[cfg(test)]
mod tests;
