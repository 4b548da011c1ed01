//! How services, actions and state variables are described.
//!
//! The tables of this kind are the only place that names actions, arguments and variables: the
//! SCPD, the check of arguments and the dispatch all read them.

use super::device::Tree;
use super::error::ErrorCode;

macro_rules! paths {
    ($tree:literal, $name:literal) => {
        Paths {
            scpd: concat!($tree, "/scpd/", $name, ".xml"),
            control: concat!($tree, "/control/", $name),
            event: concat!($tree, "/event/", $name),
        }
    };
}

/// A service that the gateway has: one of a tree, at URLs of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceKind {
    /// Layer3Forwarding:1, in the root device.
    Layer3Forwarding(Tree),
    /// WANCommonInterfaceConfig:1, in the WANDevice.
    WanCommonInterfaceConfig(Tree),
    /// WANIPConnection in the tree's version, in the WANConnectionDevice.
    WanIpConnection(Tree),
}

impl ServiceKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Layer3Forwarding(Tree::Igd2),
        Self::WanCommonInterfaceConfig(Tree::Igd2),
        Self::WanIpConnection(Tree::Igd2),
        Self::Layer3Forwarding(Tree::Igd1),
        Self::WanCommonInterfaceConfig(Tree::Igd1),
        Self::WanIpConnection(Tree::Igd1),
    ];

    /// The tree that it belongs to.
    pub const fn tree(self) -> Tree {
        match self {
            Self::Layer3Forwarding(tree)
            | Self::WanCommonInterfaceConfig(tree)
            | Self::WanIpConnection(tree) => tree,
        }
    }

    /// The service's table.
    pub const fn spec(self) -> &'static ServiceSpec {
        match self {
            Self::Layer3Forwarding(_) => &super::layer3_forwarding::SERVICE,
            Self::WanCommonInterfaceConfig(_) => &super::wan_common::SERVICE,
            Self::WanIpConnection(Tree::Igd1) => &super::wan_ip_connection::v1::SERVICE,
            Self::WanIpConnection(Tree::Igd2) => &super::wan_ip_connection::v2::SERVICE,
        }
    }

    /// Where it is reached.
    pub const fn paths(self) -> Paths {
        match self {
            Self::Layer3Forwarding(Tree::Igd1) => paths!("/igd1", "Layer3Forwarding"),
            Self::Layer3Forwarding(Tree::Igd2) => paths!("/igd2", "Layer3Forwarding"),
            Self::WanCommonInterfaceConfig(Tree::Igd1) => {
                paths!("/igd1", "WANCommonInterfaceConfig")
            }
            Self::WanCommonInterfaceConfig(Tree::Igd2) => {
                paths!("/igd2", "WANCommonInterfaceConfig")
            }
            Self::WanIpConnection(Tree::Igd1) => paths!("/igd1", "WANIPConnection"),
            Self::WanIpConnection(Tree::Igd2) => paths!("/igd2", "WANIPConnection"),
        }
    }

    /// The services of a tree.
    pub fn of(tree: Tree) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |kind| kind.tree() == tree)
    }

    /// The service whose SCPD is served at `path`.
    pub fn by_scpd_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.paths().scpd == path)
    }

    /// The service that is controlled at `path`.
    pub fn by_control_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.paths().control == path)
    }

    /// The service whose events are subscribed at `path`.
    pub fn by_event_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.paths().event == path)
    }
}

/// Where a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Where the SCPD is served.
    pub scpd: &'static str,
    /// Where actions are sent.
    pub control: &'static str,
    /// Where events are subscribed.
    pub event: &'static str,
}

/// A service.
#[derive(Debug)]
pub struct ServiceSpec {
    /// Name in the service type, as in `urn:schemas-upnp-org:service:NAME:VERSION`.
    pub name: &'static str,
    /// Version in the service type; older versions are answered too.
    pub version: u16,
    /// serviceId.
    pub id: &'static str,
    /// Every action of the standard, implemented or not.
    pub actions: &'static [&'static ActionSpec],
    /// Every state variable.
    pub variables: &'static [&'static VariableSpec],
}

impl ServiceSpec {
    /// The service type in a version.
    pub fn urn(&self, version: u16) -> String {
        format!("{SERVICE_URN}{}:{version}", self.name)
    }

    /// Whether `urn` is this service's type, in its version or an older one.
    pub fn answers_to(&self, urn: &str) -> bool {
        let versioned = urn.strip_prefix(SERVICE_URN).and_then(|rest| rest.strip_prefix(self.name));
        versioned
            .and_then(|rest| rest.strip_prefix(':'))
            .and_then(parse_version)
            .is_some_and(|version| (1..=self.version).contains(&version))
    }

    /// The action of a name (case counts).
    pub fn action(&self, name: &str) -> Option<&'static ActionSpec> {
        self.actions.iter().copied().find(|action| action.name == name)
    }

    /// The actions that the SCPD lists.
    pub fn implemented(&self) -> impl Iterator<Item = &'static ActionSpec> + use<> {
        self.actions.iter().copied().filter(|action| action.run.is_some())
    }

    /// The variables that the SCPD lists: those that are evented or that an implemented action uses.
    pub fn listed_variables(&self) -> impl Iterator<Item = &'static VariableSpec> + '_ {
        self.variables.iter().copied().filter(|variable| {
            let mut used = self.implemented().flat_map(|action| action.arguments);
            variable.evented || used.any(|argument| argument.related.name == variable.name)
        })
    }
}

/// What standard service types begin with.
pub const SERVICE_URN: &str = "urn:schemas-upnp-org:service:";

/// A version number: decimal digits, without a leading zero.
pub fn parse_version(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok()).flatten()
}

/// An action.
#[derive(Debug)]
pub struct ActionSpec {
    /// Name.
    pub name: &'static str,
    /// Whether the standard leaves it to the vendor.
    pub optional: bool,
    /// Arguments in the order of the standard, `in` before `out`.
    pub arguments: &'static [ArgumentSpec],
    /// What carries it out; `None` while nothing does.
    pub run: Option<Action>,
}

impl ActionSpec {
    /// A required action.
    pub(super) const fn required(
        name: &'static str,
        run: Option<Action>,
        arguments: &'static [ArgumentSpec],
    ) -> Self {
        Self { name, optional: false, arguments, run }
    }

    /// An optional action.
    pub(super) const fn optional(
        name: &'static str,
        run: Option<Action>,
        arguments: &'static [ArgumentSpec],
    ) -> Self {
        Self { name, optional: true, arguments, run }
    }

    /// The arguments of one direction.
    pub fn arguments_of(
        &self,
        direction: Direction,
    ) -> impl Iterator<Item = &'static ArgumentSpec> + use<> {
        self.arguments.iter().filter(move |argument| argument.direction == direction)
    }
}

/// The actions that are implemented, of all services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standards' own")]
pub enum Action {
    SetConnectionType,
    GetConnectionTypeInfo,
    RequestConnection,
    RequestTermination,
    ForceTermination,
    SetAutoDisconnectTime,
    SetIdleDisconnectTime,
    SetWarnDisconnectDelay,
    GetAutoDisconnectTime,
    GetIdleDisconnectTime,
    GetWarnDisconnectDelay,
    GetStatusInfo,
    GetNatRsipStatus,
    GetGenericPortMappingEntry,
    GetSpecificPortMappingEntry,
    AddPortMapping,
    AddAnyPortMapping,
    DeletePortMapping,
    DeletePortMappingRange,
    GetExternalIpAddress,
    GetListOfPortMappings,
    SetEnabledForInternet,
    GetEnabledForInternet,
    GetCommonLinkProperties,
    GetWanAccessProvider,
    GetMaximumActiveConnections,
    GetActiveConnections,
    GetTotalBytesSent,
    GetTotalBytesReceived,
    GetTotalPacketsSent,
    GetTotalPacketsReceived,
    SetDefaultConnectionService,
    GetDefaultConnectionService,
}

/// An argument of an action.
#[derive(Debug)]
pub struct ArgumentSpec {
    /// Name.
    pub name: &'static str,
    /// In or out.
    pub direction: Direction,
    /// The variable that gives its type and values.
    pub related: &'static VariableSpec,
    /// Another name, which is accepted as well.
    pub alias: Option<&'static str>,
    /// What it is when it is left out; `None` where it must not be.
    pub absent: Option<&'static str>,
}

impl ArgumentSpec {
    /// An argument of the request.
    pub(super) const fn input(name: &'static str, related: &'static VariableSpec) -> Self {
        Self { name, direction: Direction::In, related, alias: None, absent: None }
    }

    /// With another name.
    pub(super) const fn or_called(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }

    /// That may be left out.
    pub(super) const fn or(self, absent: &'static str) -> Self {
        Self { absent: Some(absent), ..self }
    }

    /// An argument of the response.
    pub(super) const fn output(name: &'static str, related: &'static VariableSpec) -> Self {
        Self { name, direction: Direction::Out, related, alias: None, absent: None }
    }
}

/// Which way an argument goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// In the request.
    In,
    /// In the response.
    Out,
}

impl Direction {
    /// As the SCPD says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// A state variable.
#[derive(Debug)]
pub struct VariableSpec {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub data_type: DataType,
    /// Whether changes are sent to subscribers.
    pub evented: bool,
    /// The default, as the SCPD says it.
    pub default: Option<&'static str>,
    /// What values are allowed.
    pub allowed: Allowed,
}

impl VariableSpec {
    /// A variable of any value that is not evented and has no default.
    pub(super) const fn new(name: &'static str, data_type: DataType) -> Self {
        Self { name, data_type, evented: false, default: None, allowed: Allowed::Any }
    }

    pub(super) const fn evented(self) -> Self {
        Self { evented: true, ..self }
    }

    pub(super) const fn default(self, value: &'static str) -> Self {
        Self { default: Some(value), ..self }
    }

    pub(super) const fn list(self, values: &'static [&'static str]) -> Self {
        Self { allowed: Allowed::List(values), ..self }
    }

    pub(super) const fn range(self, minimum: u32, maximum: u32, too_low: ErrorCode) -> Self {
        Self { allowed: Allowed::Range { minimum, maximum, too_low }, ..self }
    }
}

/// A data type of the UPnP Device Architecture (section 2.3 in 1.0, 2.5 in 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// Unsigned, two bytes.
    Ui2,
    /// Unsigned, four bytes.
    Ui4,
    /// 0 or 1.
    Boolean,
    /// Text.
    String,
}

impl DataType {
    /// As the SCPD says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ui2 => "ui2",
            Self::Ui4 => "ui4",
            Self::Boolean => "boolean",
            Self::String => "string",
        }
    }
}

/// Values that a variable may have.
#[derive(Debug)]
pub enum Allowed {
    /// All of its type.
    Any,
    /// One of these strings.
    List(&'static [&'static str]),
    /// A number between these, both included.
    Range {
        /// Smallest.
        minimum: u32,
        /// Largest.
        maximum: u32,
        /// What a smaller one is answered with: 601 unless a standard knows better.
        too_low: ErrorCode,
    },
}
