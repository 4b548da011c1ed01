//! Layer3Forwarding:1: which connection is the default one.

use super::spec::DataType::String;
use super::spec::{Action, ActionSpec, ArgumentSpec, ServiceSpec, VariableSpec};

/// The service.
pub static SERVICE: ServiceSpec = ServiceSpec {
    name: "Layer3Forwarding",
    version: 1,
    id: "urn:upnp-org:serviceId:L3Forwarding1",
    actions: ACTIONS,
    variables: &[&DEFAULT_CONNECTION_SERVICE],
};

static DEFAULT_CONNECTION_SERVICE: VariableSpec =
    VariableSpec::new("DefaultConnectionService", String).evented();

static ACTIONS: &[&ActionSpec] = &[
    &ActionSpec::required(
        "SetDefaultConnectionService",
        Some(Action::SetDefaultConnectionService),
        &[ArgumentSpec::input("NewDefaultConnectionService", &DEFAULT_CONNECTION_SERVICE)],
    ),
    &ActionSpec::required(
        "GetDefaultConnectionService",
        Some(Action::GetDefaultConnectionService),
        &[ArgumentSpec::output("NewDefaultConnectionService", &DEFAULT_CONNECTION_SERVICE)],
    ),
];
