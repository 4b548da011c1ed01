//! Why a mapping is refused.

use super::path::PathError;

/// Why a mapping was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The external port belongs to another internal endpoint, or its sessions use it.
    #[error("the external port belongs to another internal endpoint")]
    Conflict,
    /// The router itself uses the external port.
    #[error("the external port is used by the router itself")]
    HeldByRouter,
    /// A limit is reached, or no port is free.
    #[error("there is no room for another mapping")]
    NoPortMaps,
    /// The internal client has as many mappings as it may have.
    #[error("the internal client has as many mappings as it may have")]
    Quota,
    /// The internal endpoint has another external port, and can have only one.
    #[error("the internal endpoint has another external port already")]
    EndpointMapped,
    /// Only a NAT of our own could do it.
    #[error("without a NAT here there is nobody to do it")]
    NeedsNat,
    /// The packet path refused for a reason that its log tells.
    #[error("the packet path failed")]
    Failed,
}

impl From<PathError> for MapError {
    fn from(error: PathError) -> Self {
        match error {
            PathError::PortInUse => Self::Conflict,
            PathError::HeldByRouter => Self::HeldByRouter,
            PathError::EndpointMapped => Self::EndpointMapped,
            PathError::NeedsNat => Self::NeedsNat,
            PathError::Full => Self::NoPortMaps,
            PathError::Limit => Self::Quota,
            PathError::NoPeer | PathError::Failed => Self::Failed,
        }
    }
}
