//! One rule, as the configuration says it.

use super::{Mode, PortRange, Question, Subnet, Via};
use crate::mapping::FIRST_UNPRIVILEGED;
use nat_common::Protocol;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleAction {
    /// The mapping may be made.
    Allow,
    /// It may not.
    Deny,
}

impl RuleAction {
    pub(super) const fn allows(self) -> bool {
        matches!(self, Self::Allow)
    }
}

/// A protocol as a rule names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
        }
    }
}

/// `[[policy.rule]]`. All keys that are given must match; of the list in a key, one entry must.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// Allow or deny.
    pub action: RuleAction,
    /// The operator's name for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requesters: Option<Vec<Subnet>>,
    /// Where packets would go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<Subnet>>,
    /// TCP or UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<Transport>>,
    /// External ports; 0 stands for a mapping of all ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ports: Option<Vec<PortRange>>,
    /// Internal ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_ports: Option<Vec<PortRange>>,
    /// Remote hosts: only mappings that are restricted to one of them match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_hosts: Option<Vec<Subnet>>,
    /// By which protocol the mapping is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Vec<Via>>,
}

impl Rule {
    /// Whether the rule decides a question.
    pub(super) fn matches(&self, mode: Mode, question: &Question) -> bool {
        // What an allowing rule leaves out stays as the mode has it.
        let careful = self.action.allows() && mode == Mode::OwnClient;
        let own = !careful || question.client == question.requester;
        let unnamed_port = |port: u16| !careful || port >= FIRST_UNPRIVILEGED;
        let protocol = |named: &Transport| Protocol::from(*named) == question.protocol;
        let remote = |named: &Subnet| question.remote.is_some_and(|remote| named.contains(remote));
        self.concerns(question.requester, question.via)
            && any(&self.clients, own, |named| named.contains(question.client))
            && any(&self.protocols, true, protocol)
            && any(&self.external_ports, unnamed_port(question.external_port), |named| {
                named.contains(question.external_port)
            })
            && any(&self.internal_ports, unnamed_port(question.internal_port), |named| {
                named.contains(question.internal_port)
            })
            && any(&self.remote_hosts, true, remote)
    }

    /// Whether the rule can decide anything that a requester asks by a protocol.
    pub(super) fn concerns(&self, requester: IpAddr, via: Via) -> bool {
        any(&self.requesters, true, |named| named.contains(requester))
            && any(&self.via, true, |named| *named == via)
    }

    /// The external ports that it names.
    pub(super) fn named_external(&self) -> impl Iterator<Item = PortRange> + '_ {
        self.external_ports.iter().flatten().copied()
    }

    /// Whether the rule names an external port.
    pub(super) fn names_external(&self, port: u16) -> bool {
        any(&self.external_ports, false, |named| named.contains(port))
    }
}

/// Whether one entry of a list does; `absent` where there is no list.
fn any<T>(list: &Option<Vec<T>>, absent: bool, holds: impl Fn(&T) -> bool) -> bool {
    list.as_ref().map_or(absent, |list| list.iter().any(holds))
}
