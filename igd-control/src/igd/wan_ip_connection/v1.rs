//! WANIPConnection:1: its 18 actions and 20 state variables. A lease has no longest length there, and
//! 0 asks for one without end.

use super::*;
use crate::igd::spec::ServiceSpec;

/// The service.
pub static SERVICE: ServiceSpec = ServiceSpec {
    name: "WANIPConnection",
    version: 1,
    id: "urn:upnp-org:serviceId:WANIPConn1",
    actions: ACTIONS,
    variables: VARIABLES,
};

static LEASE_DURATION: VariableSpec = VariableSpec::new("PortMappingLeaseDuration", Ui4);

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
    &DELETE_PORT_MAPPING,
    &GET_EXTERNAL_IP_ADDRESS,
];
