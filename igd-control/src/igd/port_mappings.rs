//! Actions about port mappings (WANIPConnection:2, sections 2.5.14 to 2.5.19 and 2.5.21).

use super::arguments::{Arguments, Value};
use super::device::Tree;
use super::error::{ActionError, ErrorCode};
use super::gateway::{Call, Gateway};
use super::outside::Touched;
use super::policy::denied;
use super::wan_ip_connection::MAX_LEASE;
use crate::mapping::{MapError, MappingKey, MappingRequest, Origin, PacketPath, PortMapping};
use crate::wire::port_listing::PortListing;
use nat_common::Protocol;
use nat_common::ports::WILDCARD_PORT;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Longest description that is kept, bytes.
const MAX_DESCRIPTION: usize = 256;

/// Long lists that may be on their way at the same time.
const LISTINGS: usize = 4;

/// Ipv4Addr::BROADCAST as it is written.
const BROADCAST: &str = "255.255.255.255";

type Answer = Result<Vec<Value>, ActionError>;

impl<P: PacketPath> Gateway<P> {
    /// AddPortMapping.
    pub(super) fn add_mapping(&mut self, call: &Call<'_>) -> Answer {
        let request = self.mapping_request(call)?;
        self.policy.check_add(call.peer, &request)?;
        self.check_wildcard(&request.key)?;
        self.table.add(&mut self.path, call.now, &request)?;
        self.touched = Some(Touched::Made { key: request.key, any: false });
        Ok(Vec::new())
    }

    /// AddAnyPortMapping.
    pub(super) fn add_any_mapping(&mut self, call: &Call<'_>) -> Answer {
        let request = self.mapping_request(call)?;
        self.policy.check_add(call.peer, &request)?;
        self.check_wildcard(&request.key)?;
        let random = &mut self.random;
        let mut random = || random.next_u32();
        let fits = |port| self.policy.fits(call.peer, &request, port);
        let port = self.table.add_any(&mut self.path, call.now, &request, &mut random, &fits)?;
        let key = MappingKey { external_port: port, ..request.key };
        self.touched = Some(Touched::Made { key, any: true });
        Ok(vec![Value::Ui2(port)])
    }

    /// DeletePortMapping.
    pub(super) fn delete_mapping(&mut self, call: &Call<'_>) -> Answer {
        let mapping = self.visible(call)?;
        if mapping.is_static() {
            return Err(denied("the mapping is static: only the gateway's operator removes it"));
        }
        let key = mapping.key;
        self.table.remove(&mut self.path, call.now, &key);
        Ok(Vec::new())
    }

    /// DeletePortMappingRange.
    pub(super) fn delete_range(&mut self, call: &Call<'_>) -> Answer {
        let (protocol, ports) = self.port_range(call)?;
        let (policy, manage) = (&self.policy, call.arguments.boolean("NewManage")?);
        let meant = |mapping: &PortMapping| {
            !mapping.is_static() && policy.manages(call.peer, manage, mapping)
        };
        let removed = self.table.remove_range(&mut self.path, call.now, protocol, ports, meant);
        if removed.is_empty() { Err(ErrorCode::PortMappingNotFound.into()) } else { Ok(Vec::new()) }
    }

    /// GetGenericPortMappingEntry; see [`Self::visible_nth`] for what the index counts.
    pub(super) fn generic_entry(&self, call: &Call<'_>) -> Answer {
        let index = call.arguments.ui2("NewPortMappingIndex")?;
        let mapping = self
            .visible_nth(call.peer, index.into())
            .ok_or(ErrorCode::SpecifiedArrayIndexInvalid)?;
        let remote = mapping.key.remote.map(|remote| remote.to_string()).unwrap_or_default();
        let mut values = vec![
            Value::Text(remote),
            Value::Ui2(mapping.key.external_port),
            Value::text(mapping.key.protocol.name()),
        ];
        values.extend(details(mapping, call));
        Ok(values)
    }

    /// GetSpecificPortMappingEntry.
    pub(super) fn specific_entry(&mut self, call: &Call<'_>) -> Answer {
        let found = self.visible(call).map(|mapping| details(mapping, call));
        if found.as_ref().is_err_and(|error| error.code == ErrorCode::NoSuchEntryInArray) {
            self.touched = Some(Touched::Missing(mapping_key(call.arguments)?));
        }
        found
    }

    /// GetListOfPortMappings.
    pub(super) fn list_mappings(&self, call: &Call<'_>) -> Answer {
        let (protocol, ports) = self.port_range(call)?;
        let manage = call.arguments.boolean("NewManage")?;
        let most = match call.arguments.ui2("NewNumberOfPorts")? {
            0 => usize::MAX,
            most => most.into(),
        };
        let meant = |mapping: &&PortMapping| self.policy.manages(call.peer, manage, mapping);
        let found = self.table.range(protocol, ports).filter(meant).take(most);
        let listing = PortListing::new(call.now, found, Arc::clone(&self.listings));
        if listing.is_empty() {
            return Err(ErrorCode::PortMappingNotFound.into());
        }
        // The rows are in memory until they are sent, however slowly they are taken.
        if !listing.is_short() && Arc::strong_count(&self.listings) > 1 + LISTINGS {
            return Err(ErrorCode::OutOfMemory.into());
        }
        Ok(vec![Value::Listing(listing)])
    }

    /// What AddPortMapping and AddAnyPortMapping are asked for.
    fn mapping_request(&self, call: &Call<'_>) -> Result<MappingRequest, ActionError> {
        let arguments = call.arguments;
        let key = mapping_key(arguments)?;
        let client = internal_client(arguments.text("NewInternalClient")?, &key)?;
        let lease = self.lease(call.tree, arguments.ui4("NewLeaseDuration")?);
        Ok(MappingRequest {
            key,
            internal: SocketAddrV4::new(client, arguments.ui2("NewInternalPort")?),
            enabled: arguments.boolean("NewEnabled")?,
            description: cut(arguments.text("NewPortMappingDescription")?).to_owned(),
            deadline: call.now.plus_secs(lease.into()),
            origin: Origin::Upnp,
            filters: Vec::new(),
        })
    }

    /// The lease that is given to who asks for `wanted` seconds. Static mappings cannot be made by
    /// UPnP: in version 2, 0 stands for the longest lease (section 2.5.16.2). In version 1 it asks for
    /// a lease without end, and gets the longest that there is; so does whoever asks for more.
    fn lease(&self, tree: Tree, wanted: u32) -> u32 {
        match (tree, wanted) {
            (Tree::Igd1, 0) => self.longest_lease,
            (Tree::Igd1, wanted) => wanted.min(self.longest_lease),
            (Tree::Igd2, 0) => MAX_LEASE,
            (Tree::Igd2, wanted) => wanted,
        }
    }

    /// The mapping that the arguments name, if the control point may touch it.
    fn visible(&self, call: &Call<'_>) -> Result<&PortMapping, ActionError> {
        let key = mapping_key(call.arguments)?;
        self.policy.check_port(call.peer, key.external_port)?;
        let mapping = self.table.get(&key).ok_or(ErrorCode::NoSuchEntryInArray)?;
        if !self.policy.may_reach(call.peer, mapping) {
            return Err(denied("the mapping is another client's"));
        }
        Ok(mapping)
    }

    /// The range that an action is about.
    fn port_range(&self, call: &Call<'_>) -> Result<(Protocol, RangeInclusive<u16>), ActionError> {
        let arguments = call.arguments;
        let (first, last) = (arguments.ui2("NewStartPort")?, arguments.ui2("NewEndPort")?);
        if first > last {
            let detail = "NewStartPort is greater than NewEndPort";
            return Err(ActionError::new(ErrorCode::InconsistentParameters, detail));
        }
        self.policy.check_port(call.peer, first)?;
        Ok((protocol(arguments)?, first..=last))
    }
}

impl From<MapError> for ActionError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::Conflict | MapError::EndpointMapped => ErrorCode::ConflictInMappingEntry,
            MapError::HeldByRouter => ErrorCode::ConflictWithOtherMechanisms,
            MapError::NoPortMaps | MapError::Quota => ErrorCode::NoPortMapsAvailable,
            MapError::NeedsNat | MapError::Failed => ErrorCode::ActionFailed,
        }
        .into()
    }
}

/// The arguments that describe a mapping, from NewInternalPort on, in the order of the standard.
fn details(mapping: &PortMapping, call: &Call<'_>) -> Vec<Value> {
    let left = mapping.lease_left(call.now);
    vec![
        Value::Ui2(mapping.internal.port()),
        Value::text(mapping.internal.ip().to_string()),
        Value::Boolean(mapping.enabled),
        Value::text(mapping.description.as_str()),
        Value::Ui4(match call.tree {
            Tree::Igd1 => left,
            // One that was made by version 1 may be longer than the variable's range.
            Tree::Igd2 => left.min(MAX_LEASE),
        }),
    ]
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
        .map_err(|_| invalid("must be an IPv4 address, or the name of a host that has one"))?;
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
