//! The router that the kernel sees.

use crate::lab::{Namespace, unique_prefix};
use crate::packets::topology::{
    GATEWAY, INTERFACES, PREFIX_LEN, UNREACHABLE, host_mac, router_mac,
};
use anyhow::{Context as _, Result};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// The number that stands for the interface which is no link in MAC addresses.
const NO_LINK: u8 = 0xee;

/// A network namespace with the interfaces, routes and neighbours of the
/// [`topology`](crate::packets::topology). Nothing is ever sent in it.
#[derive(Debug)]
pub struct Router {
    namespace: Namespace,
    ifindices: HashMap<u8, u32>,
}

impl Router {
    /// Makes it.
    ///
    /// # Errors
    /// Without root, or when `ip` fails.
    pub fn new() -> Result<Self> {
        let namespace = Namespace::new(format!("{}-packets", unique_prefix()))?;
        namespace.sysctl("net/ipv4/ip_forward", "1")?;
        let mut ifindices = HashMap::new();
        for interface in INTERFACES {
            let name = interface.name;
            let number = interface.link.map_or(NO_LINK, |(link, _)| link);
            let mac = text(router_mac(number));
            let peer = format!("{name}-peer");
            let ip = |args: &str| {
                let args: Vec<&str> = args.split_whitespace().collect();
                namespace.ip(&args)
            };
            ip(&format!("link add {name} address {mac} type veth peer name {peer}"))?;
            ip(&format!("link set {name} up"))?;
            ip(&format!("link set {peer} up"))?;
            for address in interface.addresses {
                ip(&format!("address add {address}/{PREFIX_LEN} dev {name}"))?;
            }
            for neighbour in interface.neighbours {
                let mac = text(host_mac(number, *neighbour));
                ip(&format!("neighbour add {neighbour} lladdr {mac} dev {name} nud permanent"))?;
            }
            if let Some((link, _)) = interface.link {
                let index = namespace.run("cat", &[&format!("/sys/class/net/{name}/ifindex")])?;
                ifindices.insert(link, index.trim().parse().context("an interface's index")?);
            }
        }
        route(&namespace, &["add", "default", "via"], GATEWAY)?;
        route(&namespace, &["add", "unreachable"], UNREACHABLE)?;
        Ok(Self { namespace, ifindices })
    }

    /// Runs `action` on a thread inside.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or `action` panics.
    pub fn enter<T: Send>(&self, action: impl FnOnce() -> T + Send) -> Result<T> {
        self.namespace.enter(action)
    }

    /// The interface index of a link.
    pub(super) fn ifindex(&self, link: u8) -> Option<u32> {
        self.ifindices.get(&link).copied()
    }

    /// The link of an interface index.
    pub(super) fn link(&self, ifindex: u32) -> Option<u8> {
        self.ifindices.iter().find(|(_, known)| **known == ifindex).map(|(link, _)| *link)
    }
}

fn route(namespace: &Namespace, words: &[&str], addr: Ipv4Addr) -> Result<()> {
    namespace.ip(&[&["route"], words, &[addr.to_string().as_str()]].concat())?;
    Ok(())
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
