//! WANIPConnection:2: all 21 actions (table 2-10) and 23 state variables (table 2-2).

use super::error::ErrorCode;
use super::spec::DataType::{Boolean, String, Ui2, Ui4};
use super::spec::{Action, ActionSpec, ArgumentSpec, ServiceSpec, VariableSpec};

/// The longest lease, seconds: a week (table 2-6).
pub const MAX_LEASE: u32 = 604_800;

/// The service.
pub static SERVICE: ServiceSpec = ServiceSpec {
    name: "WANIPConnection",
    version: 2,
    id: "urn:upnp-org:serviceId:WANIPConn1",
    scpd_path: "/scpd/WANIPConnection.xml",
    control_path: "/control/WANIPConnection",
    event_path: "/event/WANIPConnection",
    actions: ACTIONS,
    variables: VARIABLES,
};

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
static LEASE_DURATION: VariableSpec = VariableSpec::new("PortMappingLeaseDuration", Ui4)
    .range(0, MAX_LEASE, ErrorCode::ArgumentValueOutOfRange)
    .default("3600");
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
static SYSTEM_UPDATE_ID: VariableSpec = VariableSpec::new("SystemUpdateID", Ui4).evented();
static MANAGE: VariableSpec = VariableSpec::new("A_ARG_TYPE_Manage", Boolean);
static PORT_LISTING: VariableSpec = VariableSpec::new("A_ARG_TYPE_PortListing", String);

static VARIABLES: &[&VariableSpec] = &[
    &CONNECTION_TYPE,
    &POSSIBLE_CONNECTION_TYPES,
    &CONNECTION_STATUS,
    &UPTIME,
    &LAST_CONNECTION_ERROR,
    &AUTO_DISCONNECT_TIME,
    &IDLE_DISCONNECT_TIME,
    &WARN_DISCONNECT_DELAY,
    &RSIP_AVAILABLE,
    &NAT_ENABLED,
    &EXTERNAL_IP_ADDRESS,
    &NUMBER_OF_ENTRIES,
    &ENABLED,
    &LEASE_DURATION,
    &REMOTE_HOST,
    &EXTERNAL_PORT,
    &INTERNAL_PORT,
    &PROTOCOL,
    &INTERNAL_CLIENT,
    &DESCRIPTION,
    &SYSTEM_UPDATE_ID,
    &MANAGE,
    &PORT_LISTING,
];

static ACTIONS: &[ActionSpec] = &[
    ActionSpec::required(
        "SetConnectionType",
        Some(Action::SetConnectionType),
        &[input("NewConnectionType", &CONNECTION_TYPE)],
    ),
    ActionSpec::required(
        "GetConnectionTypeInfo",
        Some(Action::GetConnectionTypeInfo),
        &[
            output("NewConnectionType", &CONNECTION_TYPE),
            output("NewPossibleConnectionTypes", &POSSIBLE_CONNECTION_TYPES),
        ],
    ),
    ActionSpec::required("RequestConnection", None, &[]),
    ActionSpec::optional("RequestTermination", None, &[]),
    ActionSpec::required("ForceTermination", None, &[]),
    ActionSpec::optional(
        "SetAutoDisconnectTime",
        None,
        &[input("NewAutoDisconnectTime", &AUTO_DISCONNECT_TIME)],
    ),
    ActionSpec::optional(
        "SetIdleDisconnectTime",
        None,
        &[input("NewIdleDisconnectTime", &IDLE_DISCONNECT_TIME)],
    ),
    ActionSpec::optional(
        "SetWarnDisconnectDelay",
        None,
        &[input("NewWarnDisconnectDelay", &WARN_DISCONNECT_DELAY)],
    ),
    ActionSpec::required(
        "GetStatusInfo",
        Some(Action::GetStatusInfo),
        &[
            output("NewConnectionStatus", &CONNECTION_STATUS),
            output("NewLastConnectionError", &LAST_CONNECTION_ERROR),
            output("NewUptime", &UPTIME),
        ],
    ),
    ActionSpec::optional(
        "GetAutoDisconnectTime",
        None,
        &[output("NewAutoDisconnectTime", &AUTO_DISCONNECT_TIME)],
    ),
    ActionSpec::optional(
        "GetIdleDisconnectTime",
        None,
        &[output("NewIdleDisconnectTime", &IDLE_DISCONNECT_TIME)],
    ),
    ActionSpec::optional(
        "GetWarnDisconnectDelay",
        None,
        &[output("NewWarnDisconnectDelay", &WARN_DISCONNECT_DELAY)],
    ),
    ActionSpec::required(
        "GetNATRSIPStatus",
        Some(Action::GetNatRsipStatus),
        &[output("NewRSIPAvailable", &RSIP_AVAILABLE), output("NewNATEnabled", &NAT_ENABLED)],
    ),
    ActionSpec::required(
        "GetGenericPortMappingEntry",
        Some(Action::GetGenericPortMappingEntry),
        &[
            input("NewPortMappingIndex", &NUMBER_OF_ENTRIES),
            output("NewRemoteHost", &REMOTE_HOST),
            output("NewExternalPort", &EXTERNAL_PORT),
            output("NewProtocol", &PROTOCOL),
            output("NewInternalPort", &INTERNAL_PORT),
            output("NewInternalClient", &INTERNAL_CLIENT),
            output("NewEnabled", &ENABLED),
            output("NewPortMappingDescription", &DESCRIPTION),
            output("NewLeaseDuration", &LEASE_DURATION),
        ],
    ),
    ActionSpec::required(
        "GetSpecificPortMappingEntry",
        Some(Action::GetSpecificPortMappingEntry),
        &[
            input("NewRemoteHost", &REMOTE_HOST),
            input("NewExternalPort", &EXTERNAL_PORT),
            input("NewProtocol", &PROTOCOL),
            output("NewInternalPort", &INTERNAL_PORT),
            output("NewInternalClient", &INTERNAL_CLIENT),
            output("NewEnabled", &ENABLED),
            output("NewPortMappingDescription", &DESCRIPTION),
            output("NewLeaseDuration", &LEASE_DURATION),
        ],
    ),
    ActionSpec::required(
        "AddPortMapping",
        Some(Action::AddPortMapping),
        &[
            input("NewRemoteHost", &REMOTE_HOST),
            input("NewExternalPort", &EXTERNAL_PORT),
            input("NewProtocol", &PROTOCOL),
            input("NewInternalPort", &INTERNAL_PORT),
            input("NewInternalClient", &INTERNAL_CLIENT),
            input("NewEnabled", &ENABLED),
            input("NewPortMappingDescription", &DESCRIPTION),
            input("NewLeaseDuration", &LEASE_DURATION),
        ],
    ),
    ActionSpec::required(
        "AddAnyPortMapping",
        Some(Action::AddAnyPortMapping),
        &[
            input("NewRemoteHost", &REMOTE_HOST),
            input("NewExternalPort", &EXTERNAL_PORT),
            input("NewProtocol", &PROTOCOL),
            input("NewInternalPort", &INTERNAL_PORT),
            input("NewInternalClient", &INTERNAL_CLIENT),
            input("NewEnabled", &ENABLED),
            input("NewPortMappingDescription", &DESCRIPTION),
            input("NewLeaseDuration", &LEASE_DURATION),
            output("NewReservedPort", &EXTERNAL_PORT),
        ],
    ),
    ActionSpec::required(
        "DeletePortMapping",
        Some(Action::DeletePortMapping),
        &[
            input("NewRemoteHost", &REMOTE_HOST),
            input("NewExternalPort", &EXTERNAL_PORT),
            input("NewProtocol", &PROTOCOL),
        ],
    ),
    ActionSpec::required(
        "DeletePortMappingRange",
        Some(Action::DeletePortMappingRange),
        &[
            input("NewStartPort", &EXTERNAL_PORT),
            input("NewEndPort", &EXTERNAL_PORT),
            input("NewProtocol", &PROTOCOL),
            input("NewManage", &MANAGE),
        ],
    ),
    ActionSpec::required(
        "GetExternalIPAddress",
        Some(Action::GetExternalIpAddress),
        &[output("NewExternalIPAddress", &EXTERNAL_IP_ADDRESS)],
    ),
    ActionSpec::required(
        "GetListOfPortMappings",
        Some(Action::GetListOfPortMappings),
        &[
            input("NewStartPort", &EXTERNAL_PORT),
            input("NewEndPort", &EXTERNAL_PORT),
            input("NewProtocol", &PROTOCOL),
            input("NewManage", &MANAGE),
            input("NewNumberOfPorts", &NUMBER_OF_ENTRIES),
            output("NewPortListing", &PORT_LISTING),
        ],
    ),
];
