//! The interfaces as the kernel has them, and the changes that concern the packet path.

use super::neighbours::Wish;
use super::vlan::{Known, device, vlan};
use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, TryStreamExt as _};
use nat_common::link::{Link, Tags};
use nat_common::session::Side;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkXdp, XdpAttached};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
    NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use tokio::sync::Mutex;
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
    /// Index of the interface that has its frames: of a VLAN the one below, else itself.
    pub device: u32,
    /// That one's name.
    pub device_name: String,
    /// The tags of its frames there.
    pub tags: Tags,
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
        Link::new(self.index, self.mac, mtu, self.side).on(self.device, self.tags)
    }

    /// Its index; 0 while nothing can be sent on it.
    pub fn index_if_running(&self) -> u32 {
        if self.running { self.index } else { 0 }
    }
}

/// A station on a link: the interface's index, and an address that ARP asks for there.
pub type Station = (u32, Ipv4Addr);

/// An entry of the kernel's neighbour table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Whose it is.
    pub station: Station,
    /// How sure the kernel is of it.
    pub state: NeighbourState,
    /// Whether the kernel keeps it resolved.
    pub managed: bool,
    /// The MAC address, if it is known.
    pub mac: Option<[u8; 6]>,
}

impl Neighbour {
    /// Reads a message; `None` when it is not about an IPv4 neighbour.
    pub fn read(message: &NeighbourMessage) -> Option<Self> {
        let (mut address, mut managed, mut mac) = (None, false, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(*v4),
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = <[u8; 6]>::try_from(bytes.as_slice()).ok();
                }
                NeighbourAttribute::ExtFlags(flags) => {
                    managed = flags.contains(NeighbourExtFlags::Managed);
                }
                _ => {}
            }
        }
        let station = (message.header.ifindex, address?);
        Some(Self { station, state: message.header.state, managed, mac })
    }

    /// Whether somebody has fixed it.
    pub const fn is_fixed(&self) -> bool {
        matches!(self.state, NeighbourState::Permanent | NeighbourState::Noarp)
    }

    /// Whether the kernel is sure of it, or is just seeing to it.
    pub const fn is_fresh(&self) -> bool {
        use NeighbourState::{Delay, Incomplete, Probe, Reachable};
        matches!(self.state, Reachable | Delay | Probe | Incomplete)
    }
}

/// Which interfaces will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Those that have MAC addresses.
    Ethernet,
    /// Tunnels too.
    Any,
}

/// Reads the kernel's view and hears of its changes.
pub struct Network {
    handle: Handle,
    kind: Kind,
    names: Vec<(String, Side)>,
    /// Held while the kernel lists something: it refuses to list two things at once to one socket.
    listing: Mutex<()>,
}

/// A stream of the kernel's announcements.
pub type Announcements =
    futures_util::stream::BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>;

impl Network {
    /// Opens a netlink socket that hears of links, addresses, routes, rules and neighbours.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(
        names: Vec<(String, Side)>,
        kind: Kind,
    ) -> Result<(Self, Announcements, JoinHandle<()>)> {
        let (connection, handle, messages) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Neigh,
        ])
        .context("cannot open a netlink socket")?;
        let task = tokio::spawn(connection);
        Ok((
            Self { handle, kind, names, listing: Mutex::new(()) },
            messages.map(|(message, _)| message).boxed(),
            task,
        ))
    }

    /// The interfaces, in the order of the names; `None` for one that does not exist.
    ///
    /// # Errors
    /// When the kernel refuses, or an interface is of no kind that will do.
    pub async fn interfaces(&self) -> Result<Vec<Option<Interface>>> {
        let _listing = self.listing.lock().await;
        let mut found: HashMap<u32, Interface> = HashMap::new();
        let mut all: HashMap<u32, Known> = HashMap::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await.context("cannot list interfaces")? {
            let name = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            });
            let Some(name) = name else { continue };
            let xdp = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::Xdp(xdp) => Some(xdp_mode(xdp)),
                _ => None,
            });
            let xdp = xdp.unwrap_or("none");
            all.insert(link.header.index, Known { name: name.clone(), xdp, vlan: vlan(&link) });
            let Some((_, side)) = self.names.iter().find(|(wanted, _)| *wanted == name) else {
                continue;
            };
            let mut interface = Interface {
                name,
                side: *side,
                index: link.header.index,
                device: link.header.index,
                device_name: String::new(),
                tags: Tags::NONE,
                mac: [0; 6],
                mtu: 1500,
                running: link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
                xdp,
                addresses: Vec::new(),
            };
            for attribute in &link.attributes {
                match attribute {
                    LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                    LinkAttribute::Address(mac) => match mac.as_slice().try_into() {
                        Ok(mac) => interface.mac = mac,
                        Err(_) if self.kind == Kind::Any => {}
                        Err(_) => bail!("{} is no Ethernet interface", interface.name),
                    },
                    _ => {}
                }
            }
            found.insert(interface.index, interface);
        }
        for interface in found.values_mut() {
            (interface.device, interface.tags) = device(&all, interface.index)?;
            if let Some(known) = all.get(&interface.device) {
                interface.device_name.clone_from(&known.name);
                interface.xdp = known.xdp;
            }
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

    /// The index of the interface that an announcement tells of, if it has one of the names.
    pub fn announced(&self, message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<u32> {
        let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = &message.payload
        else {
            return None;
        };
        let is_named = link.attributes.iter().any(|attribute| match attribute {
            LinkAttribute::IfName(name) => self.names.iter().any(|(wanted, _)| wanted == name),
            _ => false,
        });
        is_named.then_some(link.header.index)
    }

    /// The gateways of all IPv4 routes, of every table.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn gateways(&self) -> Result<BTreeSet<Station>> {
        let _listing = self.listing.lock().await;
        let mut wanted = RouteMessage::default();
        wanted.header.address_family = AddressFamily::Inet;
        let mut found = BTreeSet::new();
        let mut routes = self.handle.route().get(wanted).execute();
        while let Some(route) = routes.try_next().await.context("cannot list routes")? {
            if route.header.kind != RouteType::Unicast {
                continue;
            }
            let oif = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            });
            found.extend(oif.zip(gateway(&route.attributes)));
            for attribute in &route.attributes {
                let RouteAttribute::MultiPath(hops) = attribute else { continue };
                found.extend(
                    hops.iter()
                        .filter_map(|hop| Some((hop.interface_index, gateway(&hop.attributes)?))),
                );
            }
        }
        Ok(found)
    }

    /// Whether a route leads out of an interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn is_routed(&self, interface: u32) -> Result<bool> {
        let _listing = self.listing.lock().await;
        let mut wanted = RouteMessage::default();
        wanted.header.address_family = AddressFamily::Inet;
        let mut found = false;
        let mut routes = self.handle.route().get(wanted).execute();
        // Read to its end: what is left of an answer would be waited for by nobody.
        while let Some(route) = routes.try_next().await.context("cannot list routes")? {
            found |= route.header.kind == RouteType::Unicast
                && route.attributes.iter().any(|attribute| match attribute {
                    RouteAttribute::Oif(index) => *index == interface,
                    RouteAttribute::MultiPath(hops) => {
                        hops.iter().any(|hop| hop.interface_index == interface)
                    }
                    _ => false,
                });
        }
        Ok(found)
    }

    /// The kernel's IPv4 neighbours.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn neighbours(&self) -> Result<Vec<Neighbour>> {
        let _listing = self.listing.lock().await;
        let inet = self.handle.neighbours().get().set_address_family(AddressFamily::Inet);
        let mut found = Vec::new();
        let mut neighbours = inet.execute();
        while let Some(message) = neighbours.try_next().await.context("cannot list neighbours")? {
            found.extend(Neighbour::read(&message));
        }
        Ok(found)
    }

    /// Tells the kernel what to do about a neighbour.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn ask_neighbour(&self, (index, address): Station, wish: Wish) -> Result<()> {
        // "Use" has the kernel begin to resolve or confirm, and leave the rest of the entry alone. A
        // kernel that does not know the other flags sees only that one.
        let mut request = self
            .handle
            .neighbours()
            .add(index, IpAddr::V4(address))
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace();
        if wish == Wish::Manage {
            let managed = NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed);
            request.message_mut().attributes.push(managed);
        }
        Ok(request.execute().await?)
    }
}

fn gateway(attributes: &[RouteAttribute]) -> Option<Ipv4Addr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => Some(*gateway),
        _ => None,
    })
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
