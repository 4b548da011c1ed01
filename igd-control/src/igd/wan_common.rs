//! WANCommonInterfaceConfig:1: the required part and the traffic counters.

use super::spec::DataType::{String, Ui4};
use super::spec::{Action, ActionSpec, ArgumentSpec, ServiceSpec, VariableSpec};

/// The service.
pub static SERVICE: ServiceSpec = ServiceSpec {
    name: "WANCommonInterfaceConfig",
    version: 1,
    id: "urn:upnp-org:serviceId:WANCommonIFC1",
    actions: ACTIONS,
    variables: VARIABLES,
};

static WAN_ACCESS_TYPE: VariableSpec =
    VariableSpec::new("WANAccessType", String).list(&["DSL", "POTS", "Cable", "Ethernet"]);
static UPSTREAM: VariableSpec = VariableSpec::new("Layer1UpstreamMaxBitRate", Ui4);
static DOWNSTREAM: VariableSpec = VariableSpec::new("Layer1DownstreamMaxBitRate", Ui4);
static PHYSICAL_LINK_STATUS: VariableSpec = VariableSpec::new("PhysicalLinkStatus", String)
    .evented()
    .list(&["Up", "Down", "Initializing", "Unavailable"]);
static BYTES_SENT: VariableSpec = VariableSpec::new("TotalBytesSent", Ui4);
static BYTES_RECEIVED: VariableSpec = VariableSpec::new("TotalBytesReceived", Ui4);
static PACKETS_SENT: VariableSpec = VariableSpec::new("TotalPacketsSent", Ui4);
static PACKETS_RECEIVED: VariableSpec = VariableSpec::new("TotalPacketsReceived", Ui4);

static VARIABLES: &[&VariableSpec] = &[
    &WAN_ACCESS_TYPE,
    &UPSTREAM,
    &DOWNSTREAM,
    &PHYSICAL_LINK_STATUS,
    &BYTES_SENT,
    &BYTES_RECEIVED,
    &PACKETS_SENT,
    &PACKETS_RECEIVED,
];

static ACTIONS: &[&ActionSpec] = &[
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
];
