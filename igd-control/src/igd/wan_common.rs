//! WANCommonInterfaceConfig:1: all of its actions and state variables.

use super::spec::DataType::{Boolean, String, Ui2, Ui4};
use super::spec::{Action, ActionSpec, ArgumentSpec, ServiceSpec, VariableSpec};

/// The service.
pub static SERVICE: ServiceSpec = ServiceSpec {
    name: "WANCommonInterfaceConfig",
    version: 1,
    id: "urn:upnp-org:serviceId:WANCommonIFC1",
    actions: ACTIONS,
    variables: VARIABLES,
};

static ENABLED_FOR_INTERNET: VariableSpec =
    VariableSpec::new("EnabledForInternet", Boolean).evented();
static WAN_ACCESS_TYPE: VariableSpec =
    VariableSpec::new("WANAccessType", String).list(&["DSL", "POTS", "Cable", "Ethernet"]);
static UPSTREAM: VariableSpec = VariableSpec::new("Layer1UpstreamMaxBitRate", Ui4);
static DOWNSTREAM: VariableSpec = VariableSpec::new("Layer1DownstreamMaxBitRate", Ui4);
static PHYSICAL_LINK_STATUS: VariableSpec = VariableSpec::new("PhysicalLinkStatus", String)
    .evented()
    .list(&["Up", "Down", "Initializing", "Unavailable"]);
static WAN_ACCESS_PROVIDER: VariableSpec = VariableSpec::new("WANAccessProvider", String);
static MAXIMUM_ACTIVE_CONNECTIONS: VariableSpec =
    VariableSpec::new("MaximumActiveConnections", Ui2);
static BYTES_SENT: VariableSpec = VariableSpec::new("TotalBytesSent", Ui4);
static BYTES_RECEIVED: VariableSpec = VariableSpec::new("TotalBytesReceived", Ui4);
static PACKETS_SENT: VariableSpec = VariableSpec::new("TotalPacketsSent", Ui4);
static PACKETS_RECEIVED: VariableSpec = VariableSpec::new("TotalPacketsReceived", Ui4);
static NUMBER_OF_ACTIVE_CONNECTIONS: VariableSpec =
    VariableSpec::new("NumberOfActiveConnections", Ui2).evented();
static ACTIVE_CONNECTION_DEVICE: VariableSpec =
    VariableSpec::new("ActiveConnectionDeviceContainer", String);
static ACTIVE_CONNECTION_SERVICE: VariableSpec =
    VariableSpec::new("ActiveConnectionServiceID", String);

static VARIABLES: &[&VariableSpec] = &[
    &WAN_ACCESS_TYPE,
    &UPSTREAM,
    &DOWNSTREAM,
    &PHYSICAL_LINK_STATUS,
    &WAN_ACCESS_PROVIDER,
    &MAXIMUM_ACTIVE_CONNECTIONS,
    &BYTES_SENT,
    &BYTES_RECEIVED,
    &PACKETS_SENT,
    &PACKETS_RECEIVED,
    &ENABLED_FOR_INTERNET,
    &NUMBER_OF_ACTIVE_CONNECTIONS,
    &ACTIVE_CONNECTION_DEVICE,
    &ACTIVE_CONNECTION_SERVICE,
];

static ACTIONS: &[&ActionSpec] = &[
    &ActionSpec::optional(
        "SetEnabledForInternet",
        Some(Action::SetEnabledForInternet),
        &[ArgumentSpec::input("NewEnabledForInternet", &ENABLED_FOR_INTERNET)],
    ),
    &ActionSpec::optional(
        "GetEnabledForInternet",
        Some(Action::GetEnabledForInternet),
        &[ArgumentSpec::output("NewEnabledForInternet", &ENABLED_FOR_INTERNET)],
    ),
    &ActionSpec::required(
        "GetCommonLinkProperties",
        Some(Action::GetCommonLinkProperties),
        &[
            ArgumentSpec::output("NewWANAccessType", &WAN_ACCESS_TYPE),
            ArgumentSpec::output("NewLayer1UpstreamMaxBitRate", &UPSTREAM),
            ArgumentSpec::output("NewLayer1DownstreamMaxBitRate", &DOWNSTREAM),
            ArgumentSpec::output("NewPhysicalLinkStatus", &PHYSICAL_LINK_STATUS),
        ],
    ),
    &ActionSpec::optional(
        "GetWANAccessProvider",
        Some(Action::GetWanAccessProvider),
        &[ArgumentSpec::output("NewWANAccessProvider", &WAN_ACCESS_PROVIDER)],
    ),
    &ActionSpec::optional(
        "GetMaximumActiveConnections",
        Some(Action::GetMaximumActiveConnections),
        &[ArgumentSpec::output("NewMaximumActiveConnections", &MAXIMUM_ACTIVE_CONNECTIONS)],
    ),
    &ActionSpec::optional(
        "GetTotalBytesSent",
        Some(Action::GetTotalBytesSent),
        &[ArgumentSpec::output("NewTotalBytesSent", &BYTES_SENT)],
    ),
    &ActionSpec::optional(
        "GetTotalBytesReceived",
        Some(Action::GetTotalBytesReceived),
        &[ArgumentSpec::output("NewTotalBytesReceived", &BYTES_RECEIVED)],
    ),
    &ActionSpec::optional(
        "GetTotalPacketsSent",
        Some(Action::GetTotalPacketsSent),
        &[ArgumentSpec::output("NewTotalPacketsSent", &PACKETS_SENT)],
    ),
    &ActionSpec::optional(
        "GetTotalPacketsReceived",
        Some(Action::GetTotalPacketsReceived),
        &[ArgumentSpec::output("NewTotalPacketsReceived", &PACKETS_RECEIVED)],
    ),
    &ActionSpec::optional(
        "GetActiveConnections",
        Some(Action::GetActiveConnections),
        &[
            ArgumentSpec::input("NewActiveConnectionIndex", &NUMBER_OF_ACTIVE_CONNECTIONS),
            ArgumentSpec::output("NewActiveConnDeviceContainer", &ACTIVE_CONNECTION_DEVICE),
            ArgumentSpec::output("NewActiveConnectionServiceID", &ACTIVE_CONNECTION_SERVICE),
        ],
    ),
];
