//! The interfaces as the kernel has them, and the changes that concern the packet path.

use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, TryStreamExt as _};
use nat_common::link::Link;
use nat_common::session::Side;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkXdp, XdpAttached};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use tokio::task::JoinHandle;

/// An interface that the NAT serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its side of the NAT.
    pub side: Side,
    /// Its index.
    pub index: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Largest IP packet, bytes.
    pub mtu: u32,
    /// Whether it is up and has a carrier.
    pub running: bool,
    /// How XDP is attached: `native`, `generic` or `none`.
    pub xdp: &'static str,
    /// Its IPv4 addresses with their prefix lengths, the primary first.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

impl Interface {
    /// As the packet path needs it.
    pub fn link(&self) -> Link {
        let mtu = u16::try_from(self.mtu).unwrap_or(u16::MAX);
        Link::new(self.index, self.mac, mtu, self.side)
    }
}

/// Reads the kernel's view and hears of its changes.
pub struct Network {
    handle: Handle,
    names: Vec<(String, Side)>,
}

/// A stream of the kernel's announcements.
pub type Announcements =
    futures_util::stream::BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>;

impl Network {
    /// Opens a netlink socket that hears of links, addresses, routes, rules and neighbours.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(names: Vec<(String, Side)>) -> Result<(Self, Announcements, JoinHandle<()>)> {
        let (connection, handle, messages) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Neigh,
        ])
        .context("cannot open a netlink socket")?;
        let task = tokio::spawn(connection);
        Ok((Self { handle, names }, messages.map(|(message, _)| message).boxed(), task))
    }

    /// The interfaces, in the order of the names; `None` for one that does not exist.
    ///
    /// # Errors
    /// When the kernel refuses, or an interface is no Ethernet.
    pub async fn interfaces(&self) -> Result<Vec<Option<Interface>>> {
        let mut found: HashMap<u32, Interface> = HashMap::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await.context("cannot list interfaces")? {
            let name = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            });
            let Some(name) = name else { continue };
            let Some((_, side)) = self.names.iter().find(|(wanted, _)| *wanted == name) else {
                continue;
            };
            let mut interface = Interface {
                name,
                side: *side,
                index: link.header.index,
                mac: [0; 6],
                mtu: 1500,
                running: link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
                xdp: "none",
                addresses: Vec::new(),
            };
            for attribute in &link.attributes {
                match attribute {
                    LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                    LinkAttribute::Address(mac) => match mac.as_slice().try_into() {
                        Ok(mac) => interface.mac = mac,
                        Err(_) => bail!("{} is no Ethernet interface", interface.name),
                    },
                    LinkAttribute::Xdp(xdp) => interface.xdp = xdp_mode(xdp),
                    _ => {}
                }
            }
            found.insert(interface.index, interface);
        }
        let mut addresses = self.handle.address().get().execute();
        while let Some(address) = addresses.try_next().await.context("cannot list addresses")? {
            let Some(interface) = found.get_mut(&address.header.index) else {
                continue;
            };
            // On a point-to-point link `Address` is the other end's.
            let own = address.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(own)) => Some(*own),
                _ => None,
            });
            interface.addresses.extend(own.map(|own| (own, address.header.prefix_len)));
        }
        let by_name = |name: &String| found.values().find(|found| found.name == *name).cloned();
        Ok(self.names.iter().map(|(name, _)| by_name(name)).collect())
    }
}

fn xdp_mode(attributes: &[LinkXdp]) -> &'static str {
    for attribute in attributes {
        if let LinkXdp::Attached(attached) = attribute {
            return match attached {
                XdpAttached::Driver | XdpAttached::Hardware => "native",
                XdpAttached::SocketBuffer => "generic",
                _ => "none",
            };
        }
    }
    "none"
}

/// What an announcement means to the packet path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Next hops may be others now.
    NextHops,
    /// Interfaces or addresses may be others now, and next hops with them.
    Interfaces,
}

/// Remembers neighbours' MAC addresses, since most announcements about neighbours change nothing.
#[derive(Debug, Default)]
pub struct Watcher {
    neighbours: HashMap<(u32, Ipv4Addr), [u8; 6]>,
}

/// Most neighbours to remember; beyond that every announcement counts as a change.
const MAX_NEIGHBOURS: usize = 65_536;

impl Watcher {
    /// What an announcement means.
    pub fn judge(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) -> Change {
        use RouteNetlinkMessage::{
            DelAddress, DelLink, DelNeighbour, DelRoute, DelRule, NewAddress, NewLink,
            NewNeighbour, NewRoute, NewRule,
        };
        match &message.payload {
            NetlinkPayload::InnerMessage(message) => match message {
                NewLink(_) | DelLink(_) | NewAddress(_) | DelAddress(_) => Change::Interfaces,
                NewRoute(_) | DelRoute(_) | NewRule(_) | DelRule(_) => Change::NextHops,
                NewNeighbour(neighbour) => self.neighbour(neighbour, true),
                DelNeighbour(neighbour) => self.neighbour(neighbour, false),
                _ => Change::None,
            },
            // Announcements were lost.
            NetlinkPayload::Overrun(_) => Change::Interfaces,
            _ => Change::None,
        }
    }

    fn neighbour(&mut self, message: &NeighbourMessage, present: bool) -> Change {
        let mut address = None;
        let mut mac = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(*v4),
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = <[u8; 6]>::try_from(bytes.as_slice()).ok();
                }
                _ => {}
            }
        }
        let Some(address) = address else {
            return Change::None;
        };
        let key = (message.header.ifindex, address);
        // A neighbour that goes away takes no session with it: what is sent to its old MAC address is
        // what the kernel would have sent. One that comes back elsewhere does.
        let (Some(mac), true) = (mac, present) else {
            return Change::None;
        };
        let known = self.neighbours.get(&key);
        if known == Some(&mac) {
            return Change::None;
        }
        if known.is_some() || self.neighbours.len() < MAX_NEIGHBOURS {
            self.neighbours.insert(key, mac);
        }
        Change::NextHops
    }
}
