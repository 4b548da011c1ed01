//! WANIPConnection, in both versions: what their tables share.

pub mod v1;
pub mod v2;

use super::error::ErrorCode;
use super::spec::DataType::{Boolean, String, Ui2, Ui4};
use super::spec::{Action, ActionSpec, ArgumentSpec, VariableSpec};

/// The longest lease of version 2, seconds: a week (WANIPConnection:2, table 2-6).
pub const MAX_LEASE: u32 = 604_800;

const fn input(name: &'static str, related: &'static VariableSpec) -> ArgumentSpec {
    ArgumentSpec::input(name, related)
}

const fn output(name: &'static str, related: &'static VariableSpec) -> ArgumentSpec {
    ArgumentSpec::output(name, related)
}

static CONNECTION_TYPE: VariableSpec = VariableSpec::new("ConnectionType", String)
    .list(&["Unconfigured", "IP_Routed", "IP_Bridged"])
    .default("IP_Routed");
static POSSIBLE_CONNECTION_TYPES: VariableSpec =
    VariableSpec::new("PossibleConnectionTypes", String).evented();
static CONNECTION_STATUS: VariableSpec =
    VariableSpec::new("ConnectionStatus", String).evented().list(&[
        "Unconfigured",
        "Connecting",
        "Connected",
        "PendingDisconnect",
        "Disconnecting",
        "Disconnected",
    ]);
static UPTIME: VariableSpec = VariableSpec::new("Uptime", Ui4);
static LAST_CONNECTION_ERROR: VariableSpec =
    VariableSpec::new("LastConnectionError", String).list(&[
        "ERROR_NONE",
        "ERROR_COMMAND_ABORTED",
        "ERROR_NOT_ENABLED_FOR_INTERNET",
        "ERROR_USER_DISCONNECT",
        "ERROR_ISP_DISCONNECT",
        "ERROR_IDLE_DISCONNECT",
        "ERROR_FORCED_DISCONNECT",
        "ERROR_NO_CARRIER",
        "ERROR_IP_CONFIGURATION",
        "ERROR_UNKNOWN",
    ]);
static AUTO_DISCONNECT_TIME: VariableSpec = VariableSpec::new("AutoDisconnectTime", Ui4);
static IDLE_DISCONNECT_TIME: VariableSpec = VariableSpec::new("IdleDisconnectTime", Ui4);
static WARN_DISCONNECT_DELAY: VariableSpec = VariableSpec::new("WarnDisconnectDelay", Ui4);
static RSIP_AVAILABLE: VariableSpec = VariableSpec::new("RSIPAvailable", Boolean);
static NAT_ENABLED: VariableSpec = VariableSpec::new("NATEnabled", Boolean);
static EXTERNAL_IP_ADDRESS: VariableSpec = VariableSpec::new("ExternalIPAddress", String).evented();
static NUMBER_OF_ENTRIES: VariableSpec =
    VariableSpec::new("PortMappingNumberOfEntries", Ui2).evented();
static ENABLED: VariableSpec = VariableSpec::new("PortMappingEnabled", Boolean);
static REMOTE_HOST: VariableSpec = VariableSpec::new("RemoteHost", String);
static EXTERNAL_PORT: VariableSpec = VariableSpec::new("ExternalPort", Ui2);
static INTERNAL_PORT: VariableSpec = VariableSpec::new("InternalPort", Ui2).range(
    1,
    65_535,
    ErrorCode::WildCardNotPermittedInIntPort,
);
static PROTOCOL: VariableSpec =
    VariableSpec::new("PortMappingProtocol", String).list(&["TCP", "UDP"]);
static INTERNAL_CLIENT: VariableSpec = VariableSpec::new("InternalClient", String);
static DESCRIPTION: VariableSpec = VariableSpec::new("PortMappingDescription", String);

static SET_CONNECTION_TYPE: ActionSpec = ActionSpec::required(
    "SetConnectionType",
    Some(Action::SetConnectionType),
    &[input("NewConnectionType", &CONNECTION_TYPE)],
);
static GET_CONNECTION_TYPE_INFO: ActionSpec = ActionSpec::required(
    "GetConnectionTypeInfo",
    Some(Action::GetConnectionTypeInfo),
    &[
        output("NewConnectionType", &CONNECTION_TYPE),
        output("NewPossibleConnectionTypes", &POSSIBLE_CONNECTION_TYPES),
    ],
);
static REQUEST_CONNECTION: ActionSpec =
    ActionSpec::required("RequestConnection", Some(Action::RequestConnection), &[]);
static REQUEST_TERMINATION: ActionSpec =
    ActionSpec::optional("RequestTermination", Some(Action::RequestTermination), &[]);
static FORCE_TERMINATION: ActionSpec =
    ActionSpec::required("ForceTermination", Some(Action::ForceTermination), &[]);
static SET_AUTO_DISCONNECT_TIME: ActionSpec = ActionSpec::optional(
    "SetAutoDisconnectTime",
    Some(Action::SetAutoDisconnectTime),
    &[input("NewAutoDisconnectTime", &AUTO_DISCONNECT_TIME)],
);
static SET_IDLE_DISCONNECT_TIME: ActionSpec = ActionSpec::optional(
    "SetIdleDisconnectTime",
    Some(Action::SetIdleDisconnectTime),
    &[input("NewIdleDisconnectTime", &IDLE_DISCONNECT_TIME)],
);
static SET_WARN_DISCONNECT_DELAY: ActionSpec = ActionSpec::optional(
    "SetWarnDisconnectDelay",
    Some(Action::SetWarnDisconnectDelay),
    &[input("NewWarnDisconnectDelay", &WARN_DISCONNECT_DELAY)],
);
static GET_STATUS_INFO: ActionSpec = ActionSpec::required(
    "GetStatusInfo",
    Some(Action::GetStatusInfo),
    &[
        output("NewConnectionStatus", &CONNECTION_STATUS),
        output("NewLastConnectionError", &LAST_CONNECTION_ERROR),
        output("NewUptime", &UPTIME),
    ],
);
static GET_AUTO_DISCONNECT_TIME: ActionSpec = ActionSpec::optional(
    "GetAutoDisconnectTime",
    Some(Action::GetAutoDisconnectTime),
    &[output("NewAutoDisconnectTime", &AUTO_DISCONNECT_TIME)],
);
static GET_IDLE_DISCONNECT_TIME: ActionSpec = ActionSpec::optional(
    "GetIdleDisconnectTime",
    Some(Action::GetIdleDisconnectTime),
    &[output("NewIdleDisconnectTime", &IDLE_DISCONNECT_TIME)],
);
static GET_WARN_DISCONNECT_DELAY: ActionSpec = ActionSpec::optional(
    "GetWarnDisconnectDelay",
    Some(Action::GetWarnDisconnectDelay),
    &[output("NewWarnDisconnectDelay", &WARN_DISCONNECT_DELAY)],
);
static GET_NAT_RSIP_STATUS: ActionSpec = ActionSpec::required(
    "GetNATRSIPStatus",
    Some(Action::GetNatRsipStatus),
    &[output("NewRSIPAvailable", &RSIP_AVAILABLE), output("NewNATEnabled", &NAT_ENABLED)],
);
/// What names a mapping.
const fn mapping_key() -> [ArgumentSpec; 3] {
    [
        input("NewRemoteHost", &REMOTE_HOST).or(""),
        input("NewExternalPort", &EXTERNAL_PORT),
        input("NewProtocol", &PROTOCOL),
    ]
}

/// The arguments of AddPortMapping. The versions differ in what a lease may be.
const fn add_port_mapping(lease: &'static VariableSpec) -> [ArgumentSpec; 8] {
    let [remote_host, external_port, protocol] = mapping_key();
    [
        remote_host,
        external_port,
        protocol,
        input("NewInternalPort", &INTERNAL_PORT),
        input("NewInternalClient", &INTERNAL_CLIENT),
        input("NewEnabled", &ENABLED),
        input("NewPortMappingDescription", &DESCRIPTION),
        input("NewLeaseDuration", lease),
    ]
}

/// What is told of a mapping by those who can name it.
const fn mapping_details(lease: &'static VariableSpec) -> [ArgumentSpec; 5] {
    [
        output("NewInternalPort", &INTERNAL_PORT),
        output("NewInternalClient", &INTERNAL_CLIENT),
        output("NewEnabled", &ENABLED),
        output("NewPortMappingDescription", &DESCRIPTION),
        output("NewLeaseDuration", lease),
    ]
}

/// The arguments of GetSpecificPortMappingEntry.
const fn specific_entry(lease: &'static VariableSpec) -> [ArgumentSpec; 8] {
    let [remote_host, external_port, protocol] = mapping_key();
    let [internal_port, client, enabled, description, duration] = mapping_details(lease);
    [remote_host, external_port, protocol, internal_port, client, enabled, description, duration]
}

/// The arguments of GetGenericPortMappingEntry.
const fn generic_entry(lease: &'static VariableSpec) -> [ArgumentSpec; 9] {
    let [internal_port, client, enabled, description, duration] = mapping_details(lease);
    [
        input("NewPortMappingIndex", &NUMBER_OF_ENTRIES),
        output("NewRemoteHost", &REMOTE_HOST),
        output("NewExternalPort", &EXTERNAL_PORT),
        output("NewProtocol", &PROTOCOL),
        internal_port,
        client,
        enabled,
        description,
        duration,
    ]
}

static DELETE_PORT_MAPPING: ActionSpec =
    ActionSpec::required("DeletePortMapping", Some(Action::DeletePortMapping), &mapping_key());
static GET_EXTERNAL_IP_ADDRESS: ActionSpec = ActionSpec::required(
    "GetExternalIPAddress",
    Some(Action::GetExternalIpAddress),
    &[output("NewExternalIPAddress", &EXTERNAL_IP_ADDRESS)],
);
