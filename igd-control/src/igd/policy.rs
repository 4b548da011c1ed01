//! Who may do what.
//!
//! There is no authentication yet, so every control point is an unauthorized one, and its address is
//! all that is known about it.

use super::error::{ActionError, ErrorCode};
use crate::mapping::{FIRST_UNPRIVILEGED, MappingRequest, PortMapping, View};
use std::net::Ipv4Addr;

/// The access policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// What InternetGatewayDevice:2 recommends for unauthorized control points: they map, see and
    /// delete only ports of their own address, from 1024 on.
    #[default]
    OwnClient,
    /// Every control point on the LAN may do everything.
    Open,
}

impl Policy {
    /// Whether `peer` may ask about an external port.
    ///
    /// # Errors
    /// 606.
    pub(super) fn check_port(self, external_port: u16) -> Result<(), ActionError> {
        if self == Self::OwnClient && external_port < FIRST_UNPRIVILEGED {
            return Err(denied("ports below 1024 are not for unauthorized control points"));
        }
        Ok(())
    }

    /// Whether `peer` may add a mapping.
    ///
    /// # Errors
    /// 606.
    pub(super) fn check_add(
        self,
        peer: Ipv4Addr,
        request: &MappingRequest,
    ) -> Result<(), ActionError> {
        if self == Self::OwnClient && *request.internal.ip() != peer {
            return Err(denied("InternalClient must be the control point's own address"));
        }
        self.check_port(request.key.external_port)?;
        self.check_port(request.internal.port())
    }

    /// Whether a control point may do what everybody behind the gateway feels: end the connection, or
    /// set when it ends.
    ///
    /// # Errors
    /// 606.
    pub(super) fn check_connection(self) -> Result<(), ActionError> {
        match self {
            Self::OwnClient => Err(denied("the connection is everybody's")),
            Self::Open => Ok(()),
        }
    }

    /// Whether `peer` may read or delete a mapping.
    pub(super) fn may_touch(self, peer: Ipv4Addr, mapping: &PortMapping) -> bool {
        match self {
            Self::OwnClient => *mapping.internal.ip() == peer && mapping.is_unprivileged(),
            Self::Open => true,
        }
    }

    /// Whether `peer`, asking with NewManage, means a mapping: without it, only mappings of its own
    /// address. An unauthorized control point's NewManage is ignored (WANIPConnection:2, section
    /// 2.5.19.2).
    pub(super) fn manages(self, peer: Ipv4Addr, manage: bool, mapping: &PortMapping) -> bool {
        let own = *mapping.internal.ip() == peer;
        self.may_touch(peer, mapping) && (own || manage)
    }

    /// What GetGenericPortMappingEntry counts through. WANIPConnection:2 would have the index count
    /// all mappings and 606 be the answer at foreign ones; but control points list until the first
    /// error, and would not see their own mappings behind a foreign one. So the index counts those
    /// that the control point may see, and 713 ends the list.
    pub(super) fn view(self, peer: Ipv4Addr) -> View {
        match self {
            Self::OwnClient => View::Unprivileged(peer),
            Self::Open => View::All,
        }
    }
}

/// 606 with a reason.
pub(super) fn denied(reason: &'static str) -> ActionError {
    ActionError::new(ErrorCode::ActionNotAuthorized, reason)
}
