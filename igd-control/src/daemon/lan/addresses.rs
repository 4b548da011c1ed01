//! The addresses of the LAN interfaces, as the kernel has them now.

use crate::lan::{LanAddress, Subnet};
use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use netlink_packet_route::{
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::LinkAttribute,
};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};
use tokio::task::JoinHandle;

/// Reads the addresses, and hears of changes.
pub(super) struct Addresses {
    handle: Handle,
    names: Vec<Arc<str>>,
    changes: BoxStream<'static, ()>,
    connection: JoinHandle<()>,
}

impl Addresses {
    /// Those of the interfaces of these names. Must run inside tokio.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn open(names: &[String]) -> Result<Self> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, handle, messages) =
            new_multicast_connection(&groups).context("cannot open a netlink socket")?;
        Ok(Self {
            handle,
            names: names.iter().map(|name| name.as_str().into()).collect(),
            changes: messages.map(|_| ()).boxed(),
            connection: tokio::spawn(connection),
        })
    }

    /// Returns when something may have changed; `None` when that cannot be told any more.
    pub(super) async fn changed(&mut self) -> Option<()> {
        self.changes.next().await
    }

    /// The addresses: in the order of the interfaces' names, and in the kernel's order for each, the
    /// primary first.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) async fn read(&mut self) -> Result<Vec<LanAddress>> {
        let mut names = HashMap::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await.context("cannot list interfaces")? {
            let name = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.as_str()),
                _ => None,
            });
            let ours = self.names.iter().position(|ours| Some(ours.as_ref()) == name);
            names.extend(ours.map(|place| (link.header.index, place)));
        }
        let mut found = Vec::new();
        let mut addresses = self.handle.address().get().execute();
        while let Some(message) = addresses.try_next().await.context("cannot list addresses")? {
            let index = message.header.index;
            if let Some(place) = names.get(&index)
                && let Some(interface) = self.names.get(*place)
                && let Some(subnet) = subnet(&message)
            {
                found
                    .push((*place, LanAddress { interface: Arc::clone(interface), index, subnet }));
            }
        }
        found.sort_by_key(|(place, _)| *place);
        Ok(found.into_iter().map(|(_, address)| address).collect())
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// The address of a message, if UPnP is served there: IPv4, and of IPv6 those that no one outside of the
/// site reaches.
fn subnet(message: &AddressMessage) -> Option<Subnet> {
    let mut peer = None;
    let mut own = None;
    let mut flags = AddressFlags::empty();
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(address) => peer = Some(*address),
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Flags(more) => flags = *more,
            _ => {}
        }
    }
    // On a point-to-point link `Address` is the other end's; IPv6 has no `Local` elsewhere.
    let address = own.or(peer)?;
    // Nobody may be spoken to from one that may yet turn out to be another's.
    let unusable = flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
        && !flags.contains(AddressFlags::Optimistic);
    let served = match address {
        IpAddr::V4(address) => !address.is_loopback(),
        IpAddr::V6(address) => is_of_the_site(address) && !unusable,
    };
    served.then_some(Subnet { address, prefix: message.header.prefix_len })
}

/// Link-local and unique local addresses (RFC 4291 2.5.6, RFC 4193).
fn is_of_the_site(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local() || address.is_unique_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attributes: Vec<AddressAttribute>) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.prefix_len = 64;
        message.attributes = attributes;
        message
    }

    fn address(text: &str) -> AddressAttribute {
        AddressAttribute::Address(text.parse().unwrap())
    }

    #[test]
    fn addresses_of_the_site_are_served() {
        for (text, served) in [
            ("192.168.1.1", true),
            ("127.0.0.1", false),
            ("fe80::1", true),
            ("fd00::1", true),
            ("2001:db8::1", false),
            ("::1", false),
        ] {
            assert_eq!(subnet(&message(vec![address(text)])).is_some(), served, "{text}");
        }
    }

    #[test]
    fn an_address_that_may_be_anothers_is_not_served_yet() {
        let flags = |flags| message(vec![address("fe80::1"), AddressAttribute::Flags(flags)]);
        assert_eq!(subnet(&flags(AddressFlags::Tentative)), None);
        assert_eq!(subnet(&flags(AddressFlags::Permanent | AddressFlags::Dadfailed)), None);
        assert!(subnet(&flags(AddressFlags::Permanent)).is_some());
    }

    #[test]
    fn the_own_end_of_a_point_to_point_link_counts() {
        let local = AddressAttribute::Local("10.0.0.1".parse().unwrap());
        let found = subnet(&message(vec![address("10.0.0.2"), local])).unwrap();
        assert_eq!(found.address.to_string(), "10.0.0.1");
    }
}
