//! Filtering as the file names it.

use nat_common::settings;
use serde::{Deserialize, Serialize};

/// Who may send to a mapped port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Everybody.
    #[default]
    EndpointIndependent,
    /// Hosts to which the client has sent from it.
    AddressDependent,
    /// Endpoints to which it has sent.
    AddressAndPortDependent,
}

impl From<Filtering> for settings::Filtering {
    fn from(filtering: Filtering) -> Self {
        match filtering {
            Filtering::EndpointIndependent => Self::EndpointIndependent,
            Filtering::AddressDependent => Self::AddressDependent,
            Filtering::AddressAndPortDependent => Self::AddressAndPortDependent,
        }
    }
}
