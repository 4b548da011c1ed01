//! The gateway's state, and the way of a control message through it.

use super::arguments::{Arguments, Value};
use super::connection::{Connection, ConnectionConfig, Errand};
use super::device::Tree;
use super::error::ActionError;
use super::message::{ControlRequest, ControlResponse, Invocation};
use super::outside::{Done, Outside, Touched};
use super::spec::Action;
use super::view::MappingView;
use super::wan_ip_connection::MAX_LEASE;
use crate::mapping::{
    Limits, MapError, PacketPath, Peers, PortForward, PortMapping, PortMappingTable, Random,
};
use crate::metrics;
use crate::policy::{Mode, Policy};
use nat_common::BootTime;
use std::net::Ipv4Addr;
use std::sync::Arc;
use uuid::Uuid;

/// What the gateway is told at its start.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// The root device's UUID.
    pub root_uuid: Uuid,
    /// Who may do what, where no rule says it.
    pub policy: Mode,
    /// How many mappings there may be.
    pub limits: Limits,
    /// Seconds that the longest lease of a version 1 control point lasts.
    pub longest_lease: u32,
    /// What there is to bring the connection up and down.
    pub connection: ConnectionConfig,
    /// WANAccessProvider.
    pub access_provider: String,
    /// Where random ports begin; any number that is not the same at every start.
    pub seed: u64,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            root_uuid: Uuid::nil(),
            policy: Mode::default(),
            limits: Limits::default(),
            longest_lease: MAX_LEASE,
            connection: ConnectionConfig::default(),
            access_provider: String::new(),
            seed: 0,
        }
    }
}

/// An action on its way: who asks for what, when, and by which version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) now: BootTime,
    pub(super) peer: Ipv4Addr,
    pub(super) tree: Tree,
    pub(super) arguments: &'a Arguments,
}

/// The parts of a gateway that are of no protocol.
#[derive(Debug)]
pub(crate) struct Parts<'a, P> {
    pub(crate) path: &'a mut P,
    pub(crate) table: &'a mut PortMappingTable,
    pub(crate) peers: &'a mut Peers,
    pub(crate) policy: &'a Policy,
    pub(crate) random: &'a mut Random,
    /// The address that remote hosts see; `None` while there is no connection.
    pub(crate) external: Option<Ipv4Addr>,
    /// A server upstream has a say in it.
    pub(crate) beneath: bool,
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

/// How fast the WAN interface is, as GetCommonLinkProperties tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkProperties {
    /// Bits per second towards the Internet; 0 if unknown.
    pub upstream: u32,
    /// Bits per second from the Internet; 0 if unknown.
    pub downstream: u32,
}

/// The gateway: the port-mapping table, the connection and the policy, over a packet path.
#[derive(Debug)]
pub struct Gateway<P> {
    pub(super) path: P,
    pub(super) table: PortMappingTable,
    /// What PCP's PEER has asked for.
    peers: Peers,
    pub(super) random: Random,
    pub(super) policy: Policy,
    pub(super) root_uuid: Uuid,
    pub(super) longest_lease: u32,
    pub(super) traffic: TrafficTotals,
    pub(super) link: LinkProperties,
    pub(super) connection: Connection,
    /// Whether packets may transit, as the packet path was told last.
    permitted: Option<bool>,
    pub(super) access_provider: String,
    /// Long lists that are being sent hold a share of it.
    pub(super) listings: Arc<()>,
    /// What lies beyond the packet path.
    pub(super) outside: Outside,
    /// The address that somebody outside has seen.
    pub(super) seen: Option<Ipv4Addr>,
    /// How many mappings and changes there were when nothing was undecided last.
    pub(super) settled: (u16, u32),
    /// The same, while something is.
    pub(super) withheld: Option<(u16, u32)>,
    /// What the last action was about.
    pub(super) touched: Option<Touched>,
}

impl<P: PacketPath> Gateway<P> {
    /// A gateway without mappings.
    pub fn new(now: BootTime, config: &GatewayConfig, path: P) -> Self {
        let mut gateway = Self {
            peers: Peers::of(path.peers(now)),
            path,
            table: PortMappingTable::new(config.limits),
            random: Random::new(config.seed),
            policy: config.policy.into(),
            root_uuid: config.root_uuid,
            longest_lease: config.longest_lease,
            traffic: TrafficTotals::default(),
            link: LinkProperties::default(),
            connection: Connection::new(config.connection),
            permitted: None,
            access_provider: config.access_provider.clone(),
            listings: Arc::default(),
            outside: Outside::default(),
            seen: None,
            settled: (0, 0),
            withheld: None,
            touched: None,
        };
        gateway.refresh(now);
        gateway
    }

    /// Answers a control message. What it changed is in force in the packet path when this returns.
    pub fn control(&mut self, now: BootTime, request: &ControlRequest<'_>) -> ControlResponse {
        match Invocation::read(request) {
            Ok(invocation) => self.carry_out(now, &invocation),
            Err(response) => response,
        }
    }

    /// Carries out an action. What it changed is in force in the packet path when this returns.
    pub fn carry_out(&mut self, now: BootTime, invocation: &Invocation) -> ControlResponse {
        invocation.respond(self.act(now, invocation))
    }

    /// The same without the answer, where that has to wait for somebody else.
    pub fn act(&mut self, now: BootTime, invocation: &Invocation) -> Done {
        self.touched = None;
        self.refresh(now);
        self.expire(now);
        let Invocation { peer, service, run, ref arguments, .. } = *invocation;
        let outcome = self.run(run, &Call { now, peer, tree: service.tree(), arguments });
        self.permit();
        Done(outcome)
    }

    /// What other protocols than UPnP work on, as it is at `now`.
    pub(crate) fn parts(&mut self, now: BootTime) -> Parts<'_, P> {
        self.refresh(now);
        self.expire(now);
        let (external, beneath) = (self.external_address(), self.outside.upstream.is_some());
        let Self { path, table, peers, policy, random, .. } = self;
        Parts { path, table, peers, policy, random, external, beneath }
    }

    /// Removes the mappings whose lease has ended, and returns them.
    pub fn expire(&mut self, now: BootTime) -> Vec<PortMapping> {
        self.peers.expire(now);
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

    /// When [`Self::refresh`] or [`Self::expire`] has something to do next.
    pub fn next_deadline(&self) -> Option<BootTime> {
        let moments = [self.table.next_deadline(), self.connection.next_moment()];
        moments.into_iter().flatten().min()
    }

    /// Looks at the link and the clock, and has the packet path follow the connection. Called by the
    /// gateway itself before every action, and by the daemon when the link changes and in time.
    pub fn refresh(&mut self, now: BootTime) {
        self.connection.link_is(now, self.path.wan_link());
        if self.connection.counts(now) {
            self.connection.packets_are(now, self.path.packets());
        }
        self.connection.pass(now);
        self.permit();
    }

    /// Has packets transit, or not: "no packets are transiting the gateway" while Disconnected
    /// (WANIPConnection:2, section 2.3.5.6).
    fn permit(&mut self) {
        let transits = self.connection.transits();
        if self.permitted != Some(transits) {
            self.path.permit(transits);
            self.permitted = Some(transits);
        }
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The operator's command to run now, once.
    pub fn take_errand(&mut self) -> Option<Errand> {
        self.connection.take_errand()
    }

    /// An operator's command has ended, well or not.
    pub fn errand_ended(&mut self, errand: Errand, well: bool) {
        self.connection.errand_ended(errand, well);
        self.permit();
    }

    /// The address that remote hosts see; `None` while there is no connection.
    pub fn external_address(&self) -> Option<Ipv4Addr> {
        let own = self.path.external_address();
        let address = self.outside.upstream.unwrap_or(own);
        address.filter(|_| own.is_some() && self.connection.transits())
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

    /// What PCP's PEER has asked for.
    pub fn peers(&self) -> &Peers {
        &self.peers
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

    fn run(&mut self, action: Action, call: &Call<'_>) -> Result<Vec<Value>, ActionError> {
        match action {
            Action::SetConnectionType => self.set_connection_type(call),
            Action::RequestConnection => self.request_connection(call),
            Action::RequestTermination => self.request_termination(call),
            Action::ForceTermination => self.force_termination(call),
            Action::SetAutoDisconnectTime => self.set_auto_disconnect(call),
            Action::SetIdleDisconnectTime => self.set_idle_disconnect(call),
            Action::SetWarnDisconnectDelay => self.set_warn_delay(call),
            Action::GetAutoDisconnectTime => Ok(vec![Value::Ui4(self.connection.times().0)]),
            Action::GetIdleDisconnectTime => Ok(vec![Value::Ui4(self.connection.times().1)]),
            Action::GetWarnDisconnectDelay => Ok(vec![Value::Ui4(self.connection.times().2)]),
            Action::SetEnabledForInternet => self.set_enabled_for_internet(call),
            Action::GetEnabledForInternet => Ok(vec![Value::Boolean(self.connection.is_enabled())]),
            Action::GetWanAccessProvider => Ok(vec![Value::text(&self.access_provider)]),
            Action::GetMaximumActiveConnections => Ok(vec![Value::Ui2(1)]),
            Action::GetActiveConnections => self.active_connection(call),
            Action::GetConnectionTypeInfo => Ok(self.connection_type_info()),
            Action::GetStatusInfo => Ok(self.status_info(call.now)),
            Action::GetNatRsipStatus => Ok(self.nat_rsip_status()),
            Action::GetExternalIpAddress => Ok(self.external_ip_address()),
            Action::GetGenericPortMappingEntry => self.generic_entry(call),
            Action::GetSpecificPortMappingEntry => self.specific_entry(call),
            Action::GetListOfPortMappings => self.list_mappings(call),
            Action::AddPortMapping => self.add_mapping(call),
            Action::AddAnyPortMapping => self.add_any_mapping(call),
            Action::DeletePortMapping => self.delete_mapping(call),
            Action::DeletePortMappingRange => self.delete_range(call),
            Action::GetCommonLinkProperties => Ok(self.common_link_properties()),
            Action::GetTotalBytesSent => Ok(total(self.traffic.bytes_sent)),
            Action::GetTotalBytesReceived => Ok(total(self.traffic.bytes_received)),
            Action::GetTotalPacketsSent => Ok(total(self.traffic.packets_sent)),
            Action::GetTotalPacketsReceived => Ok(total(self.traffic.packets_received)),
            Action::SetDefaultConnectionService => self.set_default_connection(call),
            Action::GetDefaultConnectionService => Ok(self.default_connection(call)),
        }
    }
}

/// The traffic counters are ui4 and run over, as the standard's authors left it.
fn total(count: u64) -> Vec<Value> {
    vec![Value::Ui4(count as u32)]
}
