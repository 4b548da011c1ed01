//! A decision, told to an operator.

use super::{Mode, Policy, Question, Reason, port_text};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What `igd-control policy check` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Explanation {
    /// The question in words.
    pub question: String,
    /// Whether the mapping may be made.
    pub allowed: bool,
    /// The rule that decides, counted from 1; `None`: the mode does.
    pub rule: Option<usize>,
    /// What decides, in words.
    pub reason: String,
}

impl Policy {
    /// Decides, and says by what.
    pub fn explain(&self, question: &Question) -> Explanation {
        let decision = self.decide(question);
        let (rule, reason) = match decision.reason {
            Reason::Rule(index) => (Some(index + 1), self.rule_text(index)),
            reason => {
                let mode = match self.mode {
                    Mode::OwnClient => "own-client",
                    Mode::Open => "open",
                };
                let none = match self.rules.len() {
                    0 => "there are no rules".to_owned(),
                    1 => "the one rule does not match".to_owned(),
                    rules => format!("none of the {rules} rules matches"),
                };
                (None, format!("{none}; mode {mode:?}: {}", reason.text()))
            }
        };
        Explanation { question: question.to_string(), allowed: decision.allowed, rule, reason }
    }

    fn rule_text(&self, index: usize) -> String {
        let name = self.rules.get(index).map_or("", |rule| rule.name.as_str());
        let number = index + 1;
        if name.is_empty() {
            format!("rule {number} is the first that matches")
        } else {
            format!("rule {number} ({name}) is the first that matches")
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.allowed { "allowed" } else { "denied" };
        write!(f, "{}\n{verdict}: {}", self.question, self.reason)
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requester, client, protocol, external_port, internal_port, remote, via } = self;
        let via = match via {
            super::Via::Upnp => "UPnP",
            super::Via::Pcp => "PCP",
            super::Via::NatPmp => "NAT-PMP",
        };
        let external = port_text(*external_port);
        write!(f, "{requester} asks by {via} for {} {external} ", protocol.name())?;
        write!(f, "to {client} port {internal_port}, ")?;
        match remote {
            Some(remote) => write!(f, "for {remote}"),
            None => f.write_str("for everybody"),
        }
    }
}
