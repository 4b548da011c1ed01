//! Actions about port mappings (WANIPConnection:2, sections 2.5.14 to 2.5.19 and 2.5.21).

use super::arguments::{Arguments, Value};
use super::error::{ActionError, ErrorCode};
use super::gateway::Gateway;
use super::policy::denied;
use super::wan_ip_connection::MAX_LEASE;
use crate::mapping::{MapError, MappingKey, MappingRequest, PacketPath, PortMapping};
use crate::wire::port_listing::port_listing;
use nat_common::ports::WILDCARD_PORT;
use nat_common::{BootTime, Protocol};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

/// Longest description that is kept, bytes.
const MAX_DESCRIPTION: usize = 256;

/// Ipv4Addr::BROADCAST as it is written.
const BROADCAST: &str = "255.255.255.255";

type Answer = Result<Vec<Value>, ActionError>;

impl<P: PacketPath> Gateway<P> {
    /// AddPortMapping.
    pub(super) fn add_mapping(
        &mut self,
        now: BootTime,
        peer: Ipv4Addr,
        arguments: &Arguments,
    ) -> Answer {
        let request = mapping_request(now, arguments)?;
        self.policy.check_add(peer, &request)?;
        self.table.add(&mut self.path, now, &request)?;
        Ok(Vec::new())
    }

    /// AddAnyPortMapping.
    pub(super) fn add_any_mapping(
        &mut self,
        now: BootTime,
        peer: Ipv4Addr,
        arguments: &Arguments,
    ) -> Answer {
        let request = mapping_request(now, arguments)?;
        self.policy.check_add(peer, &request)?;
        let random = &mut self.random;
        let mut random = || random.next_u32();
        let fits = |port| self.policy.fits(peer, &request, port);
        let port = self.table.add_any(&mut self.path, now, &request, &mut random, &fits)?;
        Ok(vec![Value::Ui2(port)])
    }

    /// DeletePortMapping.
    pub(super) fn delete_mapping(
        &mut self,
        now: BootTime,
        peer: Ipv4Addr,
        arguments: &Arguments,
    ) -> Answer {
        let mapping = self.visible(peer, arguments)?;
        if mapping.is_static() {
            return Err(denied("the mapping is static: only the gateway's operator removes it"));
        }
        let key = mapping.key;
        self.table.remove(&mut self.path, now, &key);
        Ok(Vec::new())
    }

    /// DeletePortMappingRange.
    pub(super) fn delete_range(
        &mut self,
        now: BootTime,
        peer: Ipv4Addr,
        arguments: &Arguments,
    ) -> Answer {
        let (protocol, ports) = self.port_range(peer, arguments)?;
        let (policy, manage) = (&self.policy, arguments.boolean("NewManage")?);
        let meant =
            |mapping: &PortMapping| !mapping.is_static() && policy.manages(peer, manage, mapping);
        let removed = self.table.remove_range(&mut self.path, now, protocol, ports, meant);
        if removed.is_empty() { Err(ErrorCode::PortMappingNotFound.into()) } else { Ok(Vec::new()) }
    }

    /// GetGenericPortMappingEntry; see [`Self::visible_nth`] for what the index counts.
    pub(super) fn generic_entry(
        &self,
        now: BootTime,
        peer: Ipv4Addr,
        arguments: &Arguments,
    ) -> Answer {
        let index = arguments.ui2("NewPortMappingIndex")?;
        let mapping =
            self.visible_nth(peer, index.into()).ok_or(ErrorCode::SpecifiedArrayIndexInvalid)?;
        let remote = mapping.key.remote.map(|remote| remote.to_string()).unwrap_or_default();
        let mut values = vec![
            Value::Text(remote),
            Value::Ui2(mapping.key.external_port),
            Value::text(mapping.key.protocol.name()),
        ];
        values.extend(details(mapping, now));
        Ok(values)
    }

    /// GetSpecificPortMappingEntry.
    pub(super) fn specific_entry(
        &self,
        now: BootTime,
        peer: Ipv4Addr,
        arguments: &Arguments,
    ) -> Answer {
        Ok(details(self.visible(peer, arguments)?, now))
    }

    /// GetListOfPortMappings.
    pub(super) fn list_mappings(
        &self,
        now: BootTime,
        peer: Ipv4Addr,
        arguments: &Arguments,
    ) -> Answer {
        let (protocol, ports) = self.port_range(peer, arguments)?;
        let manage = arguments.boolean("NewManage")?;
        let most = match arguments.ui2("NewNumberOfPorts")? {
            0 => usize::MAX,
            most => most.into(),
        };
        let meant = |mapping: &&PortMapping| self.policy.manages(peer, manage, mapping);
        let mut found = self.table.range(protocol, ports).filter(meant).take(most).peekable();
        if found.peek().is_none() {
            return Err(ErrorCode::PortMappingNotFound.into());
        }
        Ok(vec![Value::Text(port_listing(now, found))])
    }

    /// The mapping that the arguments name, if the control point may touch it.
    fn visible(&self, peer: Ipv4Addr, arguments: &Arguments) -> Result<&PortMapping, ActionError> {
        let key = mapping_key(arguments)?;
        self.policy.check_port(peer, key.external_port)?;
        let mapping = self.table.get(&key).ok_or(ErrorCode::NoSuchEntryInArray)?;
        if !self.policy.may_reach(peer, mapping) {
            return Err(denied("the mapping is another client's"));
        }
        Ok(mapping)
    }

    /// The range that an action is about.
    fn port_range(
        &self,
        peer: Ipv4Addr,
        arguments: &Arguments,
    ) -> Result<(Protocol, RangeInclusive<u16>), ActionError> {
        let (first, last) = (arguments.ui2("NewStartPort")?, arguments.ui2("NewEndPort")?);
        if first > last {
            let detail = "NewStartPort is greater than NewEndPort";
            return Err(ActionError::new(ErrorCode::InconsistentParameters, detail));
        }
        self.policy.check_port(peer, first)?;
        Ok((protocol(arguments)?, first..=last))
    }
}

impl From<MapError> for ActionError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::Conflict => ErrorCode::ConflictInMappingEntry,
            MapError::HeldByRouter => ErrorCode::ConflictWithOtherMechanisms,
            MapError::NoPortMaps => ErrorCode::NoPortMapsAvailable,
            MapError::Failed => ErrorCode::ActionFailed,
        }
        .into()
    }
}

/// The arguments that describe a mapping, from NewInternalPort on, in the order of the standard.
fn details(mapping: &PortMapping, now: BootTime) -> Vec<Value> {
    vec![
        Value::Ui2(mapping.internal.port()),
        Value::text(mapping.internal.ip().to_string()),
        Value::Boolean(mapping.enabled),
        Value::text(&mapping.description),
        Value::Ui4(mapping.lease_left(now)),
    ]
}

/// What AddPortMapping and AddAnyPortMapping are asked for.
fn mapping_request(now: BootTime, arguments: &Arguments) -> Result<MappingRequest, ActionError> {
    let key = mapping_key(arguments)?;
    let client = internal_client(arguments.text("NewInternalClient")?, &key)?;
    // Static mappings cannot be made by UPnP: 0 stands for the longest lease (section 2.5.16.2).
    let lease = match arguments.ui4("NewLeaseDuration")? {
        0 => MAX_LEASE,
        lease => lease,
    };
    Ok(MappingRequest {
        key,
        internal: SocketAddrV4::new(client, arguments.ui2("NewInternalPort")?),
        enabled: arguments.boolean("NewEnabled")?,
        description: cut(arguments.text("NewPortMappingDescription")?).to_owned(),
        deadline: now.plus_secs(lease.into()),
    })
}

fn mapping_key(arguments: &Arguments) -> Result<MappingKey, ActionError> {
    Ok(MappingKey {
        protocol: protocol(arguments)?,
        external_port: arguments.ui2("NewExternalPort")?,
        remote: remote_host(arguments.text("NewRemoteHost")?)?,
    })
}

fn protocol(arguments: &Arguments) -> Result<Protocol, ActionError> {
    match arguments.text("NewProtocol")? {
        "TCP" => Ok(Protocol::Tcp),
        "UDP" => Ok(Protocol::Udp),
        _ => Err(ErrorCode::ArgumentValueOutOfRange.into()),
    }
}

/// RemoteHost: empty for any (section 2.3.17).
fn remote_host(text: &str) -> Result<Option<Ipv4Addr>, ActionError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    host_address("RemoteHost", text).map(Some)
}

/// InternalClient: never empty; the broadcast address for UDP (section 2.3.21), yet not with every
/// port: that would have the Internet's background noise delivered to every host.
fn internal_client(text: &str, key: &MappingKey) -> Result<Ipv4Addr, ActionError> {
    if text.trim().is_empty() {
        return Err(ErrorCode::WildCardNotPermittedInSrcIp.into());
    }
    if text.trim() != BROADCAST {
        return host_address("InternalClient", text);
    }
    if key.protocol != Protocol::Udp {
        let detail = "InternalClient may be the broadcast address for UDP only";
        return Err(ActionError::new(ErrorCode::ArgumentValueInvalid, detail));
    }
    if key.external_port == WILDCARD_PORT {
        let detail = "not with the broadcast address as InternalClient";
        return Err(ActionError::new(ErrorCode::WildCardNotPermittedInExtPort, detail));
    }
    Ok(Ipv4Addr::BROADCAST)
}

/// The address of one host.
fn host_address(variable: &str, text: &str) -> Result<Ipv4Addr, ActionError> {
    let invalid = |what: &str| {
        ActionError::new(ErrorCode::ArgumentValueInvalid, format!("{variable} {what}"))
    };
    let address: Ipv4Addr = text
        .trim()
        .parse()
        .map_err(|_| invalid("must be an IPv4 address; host names are not supported"))?;
    if address.is_unspecified() || address.is_loopback() || address.octets()[0] >= 224 {
        return Err(invalid("must be the address of a host"));
    }
    Ok(address)
}

/// The beginning of a text, up to [`MAX_DESCRIPTION`] bytes of whole characters.
fn cut(text: &str) -> &str {
    let end = text.floor_char_boundary(MAX_DESCRIPTION);
    text.get(..end).unwrap_or(text)
}
