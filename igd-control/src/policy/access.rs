//! Who may see and delete the mappings that there are.

use super::{Mode, Policy, Question, Reason, Via};
use crate::mapping::FIRST_UNPRIVILEGED;
use std::net::IpAddr;

/// A mapping that there is, as the question by which it could be asked for.
pub type Mapped = Question;

/// Which mappings a requester may see and delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// Those of its own address whose two ports are at least 1024.
    Own,
    /// Those that [`Policy::may_touch`] picks.
    Picked,
}

impl Policy {
    /// Whether the requester may see and delete a mapping that there is: where a rule allows it to make
    /// it or, if none says anything, the mode does. Its own, from 1024 on, it may always: rules that have become
    /// stricter must not keep it from closing a port.
    pub fn may_touch(&self, mapping: &Mapped) -> bool {
        let own = mapping.client == mapping.requester
            && mapping.external_port >= FIRST_UNPRIVILEGED
            && mapping.internal_port >= FIRST_UNPRIVILEGED;
        own || self.decide(mapping).allowed
    }

    /// Which mappings a requester may see and delete, found without looking at them where that can be.
    pub fn scope(&self, requester: IpAddr, via: Via) -> Scope {
        let concerns = |allows: bool| {
            self.rules
                .iter()
                .any(|rule| rule.action.allows() == allows && rule.concerns(requester, via))
        };
        match self.mode {
            Mode::OwnClient if !concerns(true) => Scope::Own,
            Mode::Open if !concerns(false) => Scope::All,
            _ => Scope::Picked,
        }
    }

    /// Whether a requester may ask about an external port at all.
    pub fn may_ask(&self, requester: IpAddr, via: Via, external_port: u16) -> bool {
        let opens = |rule: &super::Rule| {
            rule.action.allows()
                && rule.concerns(requester, via)
                && rule.names_external(external_port)
        };
        self.mode == Mode::Open
            || external_port >= FIRST_UNPRIVILEGED
            || self.rules.iter().any(opens)
    }

    /// Why [`Self::may_ask`] says no.
    pub const fn why_not_ask() -> &'static str {
        Reason::PrivilegedPort.text()
    }
}
