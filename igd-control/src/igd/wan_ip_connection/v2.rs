//! WANIPConnection:2: all 21 actions (table 2-10) and 23 state variables (table 2-2).

use super::*;
use crate::igd::spec::ServiceSpec;

/// The service.
pub static SERVICE: ServiceSpec = ServiceSpec {
    name: "WANIPConnection",
    version: 2,
    id: "urn:upnp-org:serviceId:WANIPConn1",
    actions: ACTIONS,
    variables: VARIABLES,
};

static LEASE_DURATION: VariableSpec = VariableSpec::new("PortMappingLeaseDuration", Ui4)
    .range(0, MAX_LEASE, ErrorCode::ArgumentValueOutOfRange)
    .default("3600");
static SYSTEM_UPDATE_ID: VariableSpec = VariableSpec::new("SystemUpdateID", Ui4).evented();
static MANAGE: VariableSpec = VariableSpec::new("A_ARG_TYPE_Manage", Boolean);
static PORT_LISTING: VariableSpec = VariableSpec::new("A_ARG_TYPE_PortListing", String);

/// The arguments of AddAnyPortMapping.
const fn add_any_port_mapping() -> [ArgumentSpec; 9] {
    let [remote, port, protocol, internal, client, enabled, description, lease] =
        add_port_mapping(&LEASE_DURATION);
    let reserved = output("NewReservedPort", &EXTERNAL_PORT);
    [remote, port, protocol, internal, client, enabled, description, lease, reserved]
}

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

static ACTIONS: &[&ActionSpec] = &[
    &SET_CONNECTION_TYPE,
    &GET_CONNECTION_TYPE_INFO,
    &REQUEST_CONNECTION,
    &REQUEST_TERMINATION,
    &FORCE_TERMINATION,
    &SET_AUTO_DISCONNECT_TIME,
    &SET_IDLE_DISCONNECT_TIME,
    &SET_WARN_DISCONNECT_DELAY,
    &GET_STATUS_INFO,
    &GET_AUTO_DISCONNECT_TIME,
    &GET_IDLE_DISCONNECT_TIME,
    &GET_WARN_DISCONNECT_DELAY,
    &GET_NAT_RSIP_STATUS,
    &ActionSpec::required(
        "GetGenericPortMappingEntry",
        Some(Action::GetGenericPortMappingEntry),
        &generic_entry(&LEASE_DURATION),
    ),
    &ActionSpec::required(
        "GetSpecificPortMappingEntry",
        Some(Action::GetSpecificPortMappingEntry),
        &specific_entry(&LEASE_DURATION),
    ),
    &ActionSpec::required(
        "AddPortMapping",
        Some(Action::AddPortMapping),
        &add_port_mapping(&LEASE_DURATION),
    ),
    &ActionSpec::required(
        "AddAnyPortMapping",
        Some(Action::AddAnyPortMapping),
        &add_any_port_mapping(),
    ),
    &DELETE_PORT_MAPPING,
    &ActionSpec::required(
        "DeletePortMappingRange",
        Some(Action::DeletePortMappingRange),
        &[
            input("NewStartPort", &EXTERNAL_PORT),
            input("NewEndPort", &EXTERNAL_PORT),
            input("NewProtocol", &PROTOCOL),
            input("NewManage", &MANAGE),
        ],
    ),
    &GET_EXTERNAL_IP_ADDRESS,
    &ActionSpec::required(
        "GetListOfPortMappings",
        Some(Action::GetListOfPortMappings),
        &[
            input("NewStartPort", &EXTERNAL_PORT),
            // As the standard's XML calls it, against its table 2-49.
            input("NewEndPort", &EXTERNAL_PORT).or_called("NewEndPoint"),
            input("NewProtocol", &PROTOCOL),
            input("NewManage", &MANAGE),
            input("NewNumberOfPorts", &NUMBER_OF_ENTRIES),
            output("NewPortListing", &PORT_LISTING),
        ],
    ),
];
