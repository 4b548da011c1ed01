//! IPv6 between the router and the WAN host, and DS-Lite (RFC 6333) by it: IPv4 goes to the carrier's NAT and
//! back in packets of IPv6 only.
//!
//! That takes no tunnel device: with one segment, the kernel's segment routing makes plain IPv4 in IPv6.

use super::Namespace;
use anyhow::Result;
use std::net::Ipv6Addr;

/// The router's address of IPv6 on the WAN.
pub const ROUTER_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 2);
/// The carrier's.
pub const CARRIER_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
/// Another one of the carrier's.
pub const OTHER_CARRIER_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 5);
/// The carrier's on the link.
pub const CARRIER_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x77, 1);

/// The ends of the softwire. Nobody has them as addresses: those come before routes.
const B4: &str = "fd00:b4::1";
const AFTR: &str = "fd00:af::1";
/// The ends of the way between softwire and NAT, in the carrier's router: what the next hop is called, and
/// its MAC address.
const SOFT: (&str, &str) = ("169.254.9.1", "02:00:00:00:00:01");
const NAT: (&str, &str) = ("169.254.9.2", "02:00:00:00:00:02");

/// Gives the router and the WAN host addresses of IPv6 towards each other.
pub(super) fn address(router: &Namespace, wan: &Namespace) -> Result<()> {
    for (namespace, interface, address) in [
        (router, "wan0", ROUTER_6),
        (wan, "eth0", CARRIER_6),
        (wan, "eth0", OTHER_CARRIER_6),
        (wan, "eth0", CARRIER_LINK),
    ] {
        namespace.ip(&["address", "add", &format!("{address}/64"), "dev", interface])?;
    }
    Ok(())
}

/// Has the router's packets of IPv4, and those to the network `lan`, go by the softwire.
pub(super) fn lay(router: &Namespace, wan: &Namespace, lan: &str) -> Result<()> {
    let ends = [
        (router, "wan0", B4, AFTR, CARRIER_6, ["default", "main"]),
        (wan, "eth0", AFTR, B4, ROUTER_6, [lan, "101"]),
    ];
    for (namespace, interface, here, there, next, [network, table]) in ends {
        namespace.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        let out = ["encap", "seg6local", "action", "End.DX4", "nh4", "0.0.0.0"];
        let end = ["-6", "route", "add", here];
        namespace.ip(&[end.as_slice(), &out, &["dev", interface]].concat())?;
        namespace.ip(&["-6", "route", "add", there, "via", &next.to_string()])?;
        let into = ["encap", "seg6", "mode", "encap.red", "segs", there, "dev", interface];
        let route = ["route", "replace", network, "table", table];
        namespace.ip(&[route.as_slice(), &into].concat())?;
    }
    // Neither what leaves a softwire nor what enters one passes all hooks of netfilter's, as a NAT needs
    // it: both go by a pair of interfaces between.
    let pair = ["link", "add", "soft0", "type", "veth", "peer", "name", "nat0"];
    wan.ip(&pair)?;
    for (interface, mac) in [("soft0", SOFT.1), ("nat0", NAT.1)] {
        wan.ip(&["link", "set", interface, "address", mac, "up"])?;
    }
    for (interface, (next, mac), from, network) in
        [("soft0", NAT, "eth0", "default"), ("nat0", SOFT, "all", lan)]
    {
        let route = ["route", "add", network, "via", next, "dev", interface, "onlink"];
        let table: &[&str] = if from == "all" { &[] } else { &["table", "100"] };
        wan.ip(&["neighbour", "add", next, "lladdr", mac, "dev", interface])?;
        wan.ip(&[route.as_slice(), table].concat())?;
    }
    for interface in ["all", "eth0", "soft0", "nat0"] {
        wan.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")?;
    }
    for (interface, table) in [("eth0", "100"), ("soft0", "101")] {
        wan.ip(&["rule", "add", "iif", interface, "lookup", table])?;
    }
    Ok(())
}
