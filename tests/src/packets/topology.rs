//! Where the rows play: a router with a WAN, two LANs and an interface that is not the NAT's.
//!
//! Every station's MAC address follows from its link and its address.

use nat_common::link::{DOT1AD, DOT1Q, Link, Tag, Tags};
use nat_common::session::Side;
use nat_ebpf::host::{Network, NextHop};
use nat_ebpf::vlan::Arrival;
use std::net::Ipv4Addr;

/// Index of the WAN link.
pub const WAN: u8 = 0;
/// Index of the LAN link.
pub const LAN: u8 = 1;
/// Index of the second LAN's link.
pub const LAN1: u8 = 2;

/// Index of a LAN link that is a VLAN on the first LAN's device.
pub const VLAN: u8 = 3;
/// Index of a LAN link that is a VLAN within a provider's, on the second LAN's device.
pub const QINQ: u8 = 4;
/// Index of a WAN link that is a VLAN on the first LAN's device: one arm.
pub const VLAN_WAN: u8 = 5;

/// Stands for the way out of the WAN interface, by which the kernel itself sends.
pub const EGRESS: u8 = 0xf0;

/// The external address.
pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 1);
/// Another address of the router on the WAN, which is not the NAT's.
pub const OTHER_EXTERNAL: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 2);
/// The next hop towards the Internet.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 9);
/// A remote host on the WAN's own network.
pub const ON_LINK: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 10);
/// A remote host.
pub const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// Another one.
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
/// The router's address in the LAN.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// A LAN client.
pub const A: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
/// Another LAN client.
pub const B: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 3);
/// The router's address in the second LAN.
pub const ROUTER1: Ipv4Addr = Ipv4Addr::new(192, 168, 78, 1);
/// A client in the second LAN.
pub const C: Ipv4Addr = Ipv4Addr::new(192, 168, 78, 2);
/// The router's address in the VLAN.
pub const ROUTER_VLAN: Ipv4Addr = Ipv4Addr::new(192, 168, 79, 1);
/// A client in the VLAN.
pub const V: Ipv4Addr = Ipv4Addr::new(192, 168, 79, 2);
/// The router's address in the VLAN within a provider's.
pub const ROUTER_QINQ: Ipv4Addr = Ipv4Addr::new(192, 168, 80, 1);
/// A client there.
pub const Q: Ipv4Addr = Ipv4Addr::new(192, 168, 80, 2);
/// The router's address in the VLAN that leads outside.
pub const ROUTER_VLAN_WAN: Ipv4Addr = Ipv4Addr::new(11, 22, 44, 1);
/// A remote host there.
pub const VLAN_REMOTE: Ipv4Addr = Ipv4Addr::new(11, 22, 44, 9);
/// A LAN client whose MAC address the router does not know.
pub const SILENT: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 99);
/// A remote host on the WAN's own network whose MAC address the router does not know.
pub const SILENT_REMOTE: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 99);
/// The router's address beyond the NAT's links.
pub const ROUTER_ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// A host beyond the NAT's links.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// A host that no route leads to.
pub const UNREACHABLE: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);

/// MTU of all links.
pub const MTU: u16 = 1500;

/// An interface of the router.
#[derive(Clone, Copy, Debug)]
pub struct Interface {
    /// Its name.
    pub name: &'static str,
    /// Index among the NAT's links, and side; `None`: not the NAT's.
    pub link: Option<(u8, Side)>,
    /// The router's addresses, each with 24 bits of prefix.
    pub addresses: &'static [Ipv4Addr],
    /// Hosts whose MAC addresses the router knows.
    pub neighbours: &'static [Ipv4Addr],
    /// Of a VLAN, the link on whose device its frames are, and their tags there.
    pub on: Option<(u8, Tags)>,
}

/// The router's interfaces.
pub const INTERFACES: [Interface; 7] = [
    Interface {
        name: "wan0",
        link: Some((WAN, Side::Wan)),
        addresses: &[EXTERNAL, OTHER_EXTERNAL],
        neighbours: &[GATEWAY, ON_LINK],
        on: None,
    },
    Interface {
        name: "lan0",
        link: Some((LAN, Side::Lan)),
        addresses: &[ROUTER],
        neighbours: &[A, B],
        on: None,
    },
    Interface {
        name: "lan1",
        link: Some((LAN1, Side::Lan)),
        addresses: &[ROUTER1],
        neighbours: &[C],
        on: None,
    },
    Interface {
        name: "other0",
        link: None,
        addresses: &[ROUTER_ELSEWHERE],
        neighbours: &[ELSEWHERE],
        on: None,
    },
    Interface {
        name: "vlan0",
        link: Some((VLAN, Side::Lan)),
        addresses: &[ROUTER_VLAN],
        neighbours: &[V],
        on: Some((LAN, Tags { outer: Tag::new(DOT1Q, 10), inner: Tag::NONE })),
    },
    Interface {
        name: "qinq0",
        link: Some((QINQ, Side::Lan)),
        addresses: &[ROUTER_QINQ],
        neighbours: &[Q],
        on: Some((LAN1, Tags { outer: Tag::new(DOT1AD, 100), inner: Tag::new(DOT1Q, 20) })),
    },
    Interface {
        name: "vlanwan0",
        link: Some((VLAN_WAN, Side::Wan)),
        addresses: &[ROUTER_VLAN_WAN],
        neighbours: &[VLAN_REMOTE],
        on: Some((LAN, Tags { outer: Tag::new(DOT1Q, 7), inner: Tag::NONE })),
    },
];

/// Length of the prefix of every network, bits.
pub const PREFIX_LEN: u32 = 24;

/// MAC address of the router's interface.
pub const fn router_mac(link: u8) -> [u8; 6] {
    [2, 0, 0, link, 0xff, 1]
}

/// MAC address of a host on a link.
pub const fn host_mac(link: u8, addr: Ipv4Addr) -> [u8; 6] {
    [2, 0, 0, link, 0, addr.octets()[3]]
}

/// MAC address from which the packets of `src` come in by a link.
pub fn sender_mac(link: u8, src: Ipv4Addr) -> [u8; 6] {
    let on_link = INTERFACES.iter().any(|interface| {
        interface.link.is_some_and(|(index, _)| index == link) && interface.contains(src)
    });
    host_mac(link, if on_link { src } else { GATEWAY })
}

/// The link and the next hop by which a translated packet leaves.
pub fn next_hop(dst: Ipv4Addr) -> (u8, Ipv4Addr) {
    let direct = INTERFACES.iter().find(|interface| interface.contains(dst));
    match direct.and_then(|interface| interface.link) {
        Some((link, _)) => (link, dst),
        None => (WAN, GATEWAY),
    }
}

/// The side on which a link lies.
pub fn side(link: u8) -> Side {
    if matches!(link, WAN | VLAN_WAN) { Side::Wan } else { Side::Lan }
}

/// The tags of a link's frames, and the link on whose device they are.
pub fn tags(link: u8) -> (u8, Tags) {
    let of = |interface: &&Interface| interface.link.is_some_and(|(index, _)| index == link);
    INTERFACES.iter().find(of).and_then(|found| found.on).unwrap_or((link, Tags::NONE))
}

/// The tags that stand in a frame, of two words each.
pub fn words(tags: [u16; 4]) -> Vec<u16> {
    let [outer, _, inner, _] = tags;
    let count = usize::from(outer != 0) + usize::from(inner != 0);
    tags.into_iter().take(2 * count).collect()
}

/// How frames come in by a link: with a priority, where they are tagged.
pub fn arrival(link: u8) -> Arrival {
    let (_, tags) = tags(link);
    let priority = if tags == Tags::NONE { 0 } else { 0xa000_u16.to_be() };
    Arrival { tags, priority, inner_priority: priority, ..Arrival::default() }
}

impl Interface {
    fn contains(&self, addr: Ipv4Addr) -> bool {
        self.addresses.iter().any(|own| own.octets()[..3] == addr.octets()[..3])
    }
}

/// The topology as [`Network`]; interface indices count from 1.
pub fn network() -> Network {
    let mut network = Network::default();
    for (ifindex, interface) in (1..).zip(INTERFACES) {
        for own in interface.addresses {
            let [a, b, c, _] = own.octets();
            network.add_route(*own, 32, NextHop::Local);
            network.add_route(Ipv4Addr::new(a, b, c, 255), 32, NextHop::Local);
            let hop = match interface.link {
                Some((link, _)) => NextHop::OnLink(link),
                None => NextHop::Elsewhere,
            };
            network.add_route(Ipv4Addr::new(a, b, c, 0), PREFIX_LEN, hop);
        }
        if let Some((index, side)) = interface.link {
            network.set_link(index, Link::new(ifindex, router_mac(index), MTU, side));
            for neighbour in interface.neighbours {
                network.add_neighbour(index, *neighbour, host_mac(index, *neighbour));
            }
        }
    }
    network.add_route(UNREACHABLE, 32, NextHop::Unreachable);
    network.add_route(Ipv4Addr::UNSPECIFIED, 0, NextHop::Gateway(WAN, GATEWAY.into()));
    network
}
