//! The gateway's state, and the way of a control message through it.

use super::arguments::{Arguments, Value};
use super::error::{ActionError, ErrorCode};
use super::spec::{Action, ActionSpec, Direction, ServiceKind};
use super::view::MappingView;
use crate::mapping::{
    Limits, MapError, PacketPath, PortForward, PortMapping, PortMappingTable, Random,
};
use crate::metrics;
use crate::policy::{Mode, Policy};
use crate::wire::soap::{self, SoapError, SoapRequest};
use nat_common::BootTime;
use std::net::Ipv4Addr;
use uuid::Uuid;

/// What the gateway is told at its start.
#[derive(Clone, Debug, Default)]
pub struct GatewayConfig {
    /// The root device's UUID.
    pub root_uuid: Uuid,
    /// Who may do what, where no rule says it.
    pub policy: Mode,
    /// How many mappings there may be.
    pub limits: Limits,
    /// Where random ports begin; any number that is not the same at every start.
    pub seed: u64,
}

/// A control message, as HTTP delivers it.
#[derive(Clone, Copy, Debug)]
pub struct ControlRequest<'a> {
    /// Address of the control point.
    pub peer: Ipv4Addr,
    /// The service that was addressed by the control URL.
    pub service: ServiceKind,
    /// Value of the SOAPACTION header.
    pub soap_action: Option<&'a str>,
    /// The message body.
    pub body: &'a [u8],
}

/// The answer to a control message; the body is XML whatever the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlResponse {
    /// HTTP status: 200, 500 with a UPnPError, or 400 for what is not a request.
    pub status: u16,
    /// The message body.
    pub body: Vec<u8>,
}

impl ControlResponse {
    /// The answer to a client that asks more often than it may (RFC 9110, section 15.6.4).
    pub fn too_many_requests() -> Self {
        let body = soap::encode_bad_request("too many requests of this client: try again later");
        Self { status: 503, body }
    }
}

/// Traffic over the WAN interface since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficTotals {
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received.
    pub packets_received: u64,
}

/// The WAN interface as GetCommonLinkProperties tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkProperties {
    /// Bits per second towards the Internet; 0 if unknown.
    pub upstream: u32,
    /// Bits per second from the Internet; 0 if unknown.
    pub downstream: u32,
    /// Whether the link has a carrier.
    pub up: bool,
}

/// The gateway: the port-mapping table, the connection and the policy, over a packet path.
#[derive(Debug)]
pub struct Gateway<P> {
    pub(super) path: P,
    pub(super) table: PortMappingTable,
    pub(super) random: Random,
    pub(super) policy: Policy,
    pub(super) root_uuid: Uuid,
    pub(super) traffic: TrafficTotals,
    pub(super) link: LinkProperties,
    pub(super) connected_since: Option<BootTime>,
}

impl<P: PacketPath> Gateway<P> {
    /// A gateway without mappings.
    pub fn new(now: BootTime, config: &GatewayConfig, path: P) -> Self {
        let mut gateway = Self {
            path,
            table: PortMappingTable::new(config.limits),
            random: Random::new(config.seed),
            policy: config.policy.into(),
            root_uuid: config.root_uuid,
            traffic: TrafficTotals::default(),
            link: LinkProperties::default(),
            connected_since: None,
        };
        gateway.refresh(now);
        gateway
    }

    /// Answers a control message. What it changed is in force in the packet path when this returns.
    pub fn control(&mut self, now: BootTime, request: &ControlRequest<'_>) -> ControlResponse {
        self.refresh(now);
        self.expire(now);
        let message = match read(request) {
            Ok(message) => message,
            Err(error) => return rejected(&error),
        };
        let spec = request.service.spec();
        let mut known = "unknown";
        let outcome = find(request, &message).and_then(|(action, run)| {
            known = action.name;
            let arguments = Arguments::check(action, &message.arguments)?;
            let values = self.run(now, request.peer, run, &arguments)?;
            Ok(label(action, &values)?)
        });
        metrics::answered(spec.name, known, outcome.as_ref().map_or_else(|e| e.code.code(), |_| 0));
        match outcome {
            Ok(results) => {
                tracing::debug!(peer = %request.peer, service = spec.name, action = message.action, "done");
                let body = soap::encode_response(&message.service_type, &message.action, results);
                ControlResponse { status: 200, body }
            }
            Err(error) => {
                tracing::debug!(
                    peer = %request.peer, service = spec.name, action = message.action,
                    code = error.code.code(), %error, "refused"
                );
                fault(&error)
            }
        }
    }

    /// Removes the mappings whose lease has ended, and returns them.
    pub fn expire(&mut self, now: BootTime) -> Vec<PortMapping> {
        let ended = self.table.expire(&mut self.path, now);
        metrics::leases_expired(ended.len());
        for mapping in &ended {
            tracing::debug!(
                protocol = mapping.key.protocol.name(), port = mapping.key.external_port,
                internal = %mapping.internal, "lease ended"
            );
        }
        ended
    }

    /// When [`Self::expire`] has something to do next.
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.table.next_deadline()
    }

    /// Notes whether there is a connection. Called by the gateway itself before every action, and
    /// by the daemon when an address comes or goes.
    pub fn refresh(&mut self, now: BootTime) {
        self.connected_since =
            self.path.external_address().map(|_| self.connected_since.unwrap_or(now));
    }

    /// Since when the gateway has had an external address.
    pub fn connected_since(&self) -> Option<BootTime> {
        self.connected_since
    }

    /// Takes over a forward that the packet path held before a restart.
    ///
    /// # Errors
    /// [`MapError::Conflict`].
    pub fn adopt(&mut self, forward: &PortForward, description: &str) -> Result<(), MapError> {
        self.table.adopt(forward, description)
    }

    /// All mappings, oldest first.
    pub fn mappings(&self, now: BootTime) -> impl Iterator<Item = MappingView> + '_ {
        self.table.iter().map(move |mapping| MappingView::new(mapping, now))
    }

    /// The table: SystemUpdateID and PortMappingNumberOfEntries are read from it.
    pub fn table(&self) -> &PortMappingTable {
        &self.table
    }

    /// Who may do what from now on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Who may do what.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The packet path.
    pub fn path(&self) -> &P {
        &self.path
    }

    /// The packet path.
    pub fn path_mut(&mut self) -> &mut P {
        &mut self.path
    }

    /// What the traffic actions answer from now on.
    pub fn set_traffic(&mut self, traffic: TrafficTotals) {
        self.traffic = traffic;
    }

    /// What GetCommonLinkProperties answers from now on.
    pub fn set_link(&mut self, link: LinkProperties) {
        self.link = link;
    }

    fn run(
        &mut self,
        now: BootTime,
        peer: Ipv4Addr,
        action: Action,
        arguments: &Arguments,
    ) -> Result<Vec<Value>, ActionError> {
        match action {
            Action::SetConnectionType => Err(ErrorCode::ReadOnly.into()),
            Action::GetConnectionTypeInfo => Ok(self.connection_type_info()),
            Action::GetStatusInfo => Ok(self.status_info(now)),
            Action::GetNatRsipStatus => Ok(self.nat_rsip_status()),
            Action::GetExternalIpAddress => Ok(self.external_ip_address()),
            Action::GetGenericPortMappingEntry => self.generic_entry(now, peer, arguments),
            Action::GetSpecificPortMappingEntry => self.specific_entry(now, peer, arguments),
            Action::GetListOfPortMappings => self.list_mappings(now, peer, arguments),
            Action::AddPortMapping => self.add_mapping(now, peer, arguments),
            Action::AddAnyPortMapping => self.add_any_mapping(now, peer, arguments),
            Action::DeletePortMapping => self.delete_mapping(now, peer, arguments),
            Action::DeletePortMappingRange => self.delete_range(now, peer, arguments),
            Action::GetCommonLinkProperties => Ok(self.common_link_properties()),
            Action::GetTotalBytesSent => Ok(total(self.traffic.bytes_sent)),
            Action::GetTotalBytesReceived => Ok(total(self.traffic.bytes_received)),
            Action::GetTotalPacketsSent => Ok(total(self.traffic.packets_sent)),
            Action::GetTotalPacketsReceived => Ok(total(self.traffic.packets_received)),
            Action::SetDefaultConnectionService => self.set_default_connection(arguments),
            Action::GetDefaultConnectionService => Ok(self.default_connection()),
        }
    }
}

/// The traffic counters are ui4 and run over, as the standard's authors left it.
fn total(count: u64) -> Vec<Value> {
    vec![Value::Ui4(count as u32)]
}

/// Reads the message; its SOAPACTION header is wanted, although the body says the same. A web page
/// in a browser on the LAN can send a form here, but cannot add this header without being asked.
fn read(request: &ControlRequest<'_>) -> Result<SoapRequest, Rejection> {
    let header = request.soap_action.ok_or(Rejection::Soap(SoapError::BadHeader))?;
    let header = soap::parse_soap_action(header).map_err(Rejection::Soap)?;
    let message = SoapRequest::parse(request.body).map_err(Rejection::Soap)?;
    if header != (message.service_type.as_str(), message.action.as_str()) {
        return Err(Rejection::Disagreement);
    }
    Ok(message)
}

/// Why a message does not reach an action.
enum Rejection {
    Soap(SoapError),
    Disagreement,
}

fn rejected(rejection: &Rejection) -> ControlResponse {
    let code = match rejection {
        Rejection::Soap(SoapError::NoAction) => ErrorCode::InvalidAction,
        Rejection::Soap(SoapError::BadArguments) => ErrorCode::InvalidArgs,
        Rejection::Soap(error) => {
            return ControlResponse {
                status: 400,
                body: soap::encode_bad_request(&error.to_string()),
            };
        }
        Rejection::Disagreement => {
            let detail = "SOAPACTION header and message body name different actions";
            return fault(&ActionError::new(ErrorCode::InvalidAction, detail));
        }
    };
    fault(&code.into())
}

fn fault(error: &ActionError) -> ControlResponse {
    let body = soap::encode_upnp_error(error.code.code(), &error.to_string());
    ControlResponse { status: 500, body }
}

/// The action that a message asks of a service.
fn find(
    request: &ControlRequest<'_>,
    message: &SoapRequest,
) -> Result<(&'static ActionSpec, Action), ActionError> {
    let spec = request.service.spec();
    if !spec.answers_to(&message.service_type) {
        let detail = format!("this is {}", spec.urn(spec.version));
        return Err(ActionError::new(ErrorCode::InvalidAction, detail));
    }
    let action = spec.action(&message.action).ok_or(ErrorCode::InvalidAction)?;
    match action.run {
        Some(run) => Ok((action, run)),
        None if action.optional => Err(ErrorCode::OptionalActionNotImplemented.into()),
        None => Err(ErrorCode::InvalidAction.into()),
    }
}

/// Puts the names of the action's table to the values of its result.
fn label(action: &ActionSpec, values: &[Value]) -> Result<Vec<(&'static str, String)>, ErrorCode> {
    let specs: Vec<_> = action.arguments_of(Direction::Out).collect();
    let fits = specs.len() == values.len()
        && specs
            .iter()
            .zip(values)
            .all(|(spec, value)| spec.related.data_type == value.data_type());
    if !fits {
        tracing::error!(action = action.name, "a result does not fit the action's table");
        return Err(ErrorCode::ActionFailed);
    }
    Ok(specs.iter().zip(values).map(|(spec, value)| (spec.name, value.to_string())).collect())
}
