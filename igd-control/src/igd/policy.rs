//! The policy, asked about UPnP's actions.
//!
//! There is no authentication yet, so every control point is an unauthorized one, and its address is
//! all that is known about it.

use super::error::{ActionError, ErrorCode};
use super::gateway::Gateway;
use crate::mapping::{MappingRequest, PacketPath, PortMapping, View};
use crate::policy::{Mode, Policy, Question, Scope, Via};
use std::net::Ipv4Addr;

impl Policy {
    /// Whether `peer` may ask about an external port.
    ///
    /// # Errors
    /// 606.
    pub(super) fn check_port(&self, peer: Ipv4Addr, external_port: u16) -> Result<(), ActionError> {
        if self.may_ask(peer.into(), Via::Upnp, external_port) {
            return Ok(());
        }
        Err(denied(Self::why_not_ask()))
    }

    /// Whether `peer` may add a mapping.
    ///
    /// # Errors
    /// 606.
    pub(super) fn check_add(
        &self,
        peer: Ipv4Addr,
        request: &MappingRequest,
    ) -> Result<(), ActionError> {
        let decision = self.decide(&question(peer, request));
        if decision.allowed { Ok(()) } else { Err(denied(decision.reason.text())) }
    }

    /// Whether `peer` may have the mapping with another external port, which AddAnyPortMapping
    /// chooses.
    pub(super) fn fits(&self, peer: Ipv4Addr, request: &MappingRequest, port: u16) -> bool {
        let asked = question(peer, request);
        self.decide(&Question { external_port: port, ..asked }).allowed
    }

    /// Whether a control point may do what everybody behind the gateway feels: end the connection, or
    /// set when it ends.
    ///
    /// # Errors
    /// 606.
    pub(super) fn check_connection(&self) -> Result<(), ActionError> {
        match self.mode {
            Mode::OwnClient => Err(denied("the connection is everybody's")),
            Mode::Open => Ok(()),
        }
    }

    /// Whether `peer` may read or delete a mapping.
    pub(super) fn may_reach(&self, peer: Ipv4Addr, mapping: &PortMapping) -> bool {
        self.may_touch(&Question {
            requester: peer.into(),
            client: (*mapping.internal.ip()).into(),
            protocol: mapping.key.protocol,
            external_port: mapping.key.external_port,
            internal_port: mapping.internal.port(),
            remote: mapping.key.remote.map(Into::into),
            via: Via::Upnp,
        })
    }

    /// Whether `peer`, asking with NewManage, means a mapping: without it, only mappings of its own
    /// address. An unauthorized control point's NewManage is ignored (WANIPConnection:2, section
    /// 2.5.19.2).
    pub(super) fn manages(&self, peer: Ipv4Addr, manage: bool, mapping: &PortMapping) -> bool {
        let own = *mapping.internal.ip() == peer;
        self.may_reach(peer, mapping) && (own || manage)
    }
}

impl<P: PacketPath> Gateway<P> {
    /// The mapping at an index of GetGenericPortMappingEntry. WANIPConnection:2 would have the index
    /// count all mappings and 606 be the answer at foreign ones; but control points list until the
    /// first error, and would not see their own mappings behind a foreign one. So the index counts
    /// those that the control point may see, and 713 ends the list.
    pub(super) fn visible_nth(&self, peer: Ipv4Addr, index: usize) -> Option<&PortMapping> {
        match self.policy.scope(peer.into(), Via::Upnp) {
            Scope::All => self.table.nth(View::All, index),
            Scope::Own => self.table.nth(View::Unprivileged(peer), index),
            Scope::Picked => {
                self.table.iter().filter(|mapping| self.policy.may_reach(peer, mapping)).nth(index)
            }
        }
    }
}

fn question(peer: Ipv4Addr, request: &MappingRequest) -> Question {
    Question {
        requester: peer.into(),
        client: (*request.internal.ip()).into(),
        protocol: request.key.protocol,
        external_port: request.key.external_port,
        internal_port: request.internal.port(),
        remote: request.key.remote.map(Into::into),
        via: Via::Upnp,
    }
}

/// 606 with a reason.
pub(super) fn denied(reason: &'static str) -> ActionError {
    ActionError::new(ErrorCode::ActionNotAuthorized, reason)
}
