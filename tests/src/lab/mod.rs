//! Topologies of network namespaces.
//!
//! A veth end takes frames that an XDP program redirects into it only while its peer has NAPI: the
//! peers of the router's ends therefore get `gro on`. And the kernel gives its own packets to a veth
//! with half a checksum, as no real network card receives them: all ends get `tx off`.

mod bpffs;
mod capture;
mod carrier;
mod kernel;
mod mtu;
mod namespace;
mod nat_pmp;
pub mod packet;
mod process;
mod server;
mod softwire;
mod stop;

pub use bpffs::BpfFs;
pub use capture::Capture;
pub use carrier::Carrier;
pub use kernel::Feature;
pub use mtu::may_be_fragmented;
pub use namespace::{ANSWER_TIMEOUT, Namespace, command};
pub use nat_pmp::NatPmpServer;
pub use process::{Finished, Process};
pub use server::{Receiver, TcpReflector, UdpReflector, tcp_seen_as, udp_seen_as};
pub use softwire::{CARRIER_6, CARRIER_LINK, OTHER_CARRIER_6, ROUTER_6};
pub(crate) use stop::StoppableThread;

use anyhow::{Result, bail, ensure};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The LAN host.
pub const LAN_HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
/// The router, seen from the LAN.
pub const ROUTER_LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// The network of both.
const LAN: &str = "192.168.77.0/24";
/// The host of the second LAN, which [`LabBuilder::second_lan`] makes.
pub const SECOND_LAN_HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 78, 2);
/// The router, seen from the second LAN.
pub const ROUTER_SECOND_LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 78, 1);
/// The router's external address. From no prefix for documentation: UPnP clients take those for
/// private addresses, and the gateway for one that is not connected.
pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 1);
/// The WAN host, which is also the router's next hop.
pub const WAN_HOST: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 9);
/// Another address of the WAN host: a second remote host.
pub const OTHER_WAN_HOST: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 10);

/// A host beyond the WAN host, which [`LabBuilder::far_host`] makes.
pub const FAR_HOST: Ipv4Addr = Ipv4Addr::new(11, 22, 44, 2);
/// The WAN host, seen from there: with [`LabBuilder::beneath_carrier`] the address of all who are beneath
/// its NAT.
pub const WAN_FAR_SIDE: Ipv4Addr = Ipv4Addr::new(11, 22, 44, 1);
/// Another address that it has there.
pub const OTHER_FAR_SIDE: Ipv4Addr = Ipv4Addr::new(11, 22, 44, 3);
/// With [`LabBuilder::beneath_carrier`]: the router's external address, which the Internet does not route
/// (RFC 6598).
pub const BENEATH: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
/// The WAN host then, seen from the router.
pub const CARRIER: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);

/// A LAN host, the router and a WAN host; the WAN has no way back to the LAN's addresses, so that
/// nothing untranslated can be answered.
///
/// From its start until it is dropped every packet on the WAN is watched: at the first one with a
/// private source the test fails.
#[derive(Debug)]
pub struct Lab {
    watcher: Capture,
    /// The LAN host: `eth0`, [`LAN_HOST`].
    pub lan: Namespace,
    /// The router: `lan0`, `wan0`, and `lan1` where there is a second LAN.
    pub router: Namespace,
    /// The WAN host: `eth0`, [`WAN_HOST`] and [`OTHER_WAN_HOST`].
    pub wan: Namespace,
    second_lan: Option<Namespace>,
    far: Option<Namespace>,
    directory: TempDir,
}

/// How the lab shall look.
#[derive(Clone, Copy, Debug, Default)]
pub struct LabBuilder {
    second_lan: bool,
    far_mtu: Option<u16>,
    unwatched: bool,
    beneath: bool,
    routed: bool,
    ipv6: bool,
    softwire: bool,
}

impl LabBuilder {
    /// With a second LAN on the router's `lan1`, and the host [`SECOND_LAN_HOST`] in it.
    #[must_use]
    pub fn second_lan(mut self) -> Self {
        self.second_lan = true;
        self
    }

    /// With [`FAR_HOST`] one hop behind the WAN host, which sends it IP packets of `mtu` bytes at most
    /// and takes larger ones for too big.
    #[must_use]
    pub fn far_host(mut self, mtu: u16) -> Self {
        self.far_mtu = Some(mtu);
        self
    }

    /// With [`FAR_HOST`] behind the WAN host, which may be a carrier's NAT ([`Carrier`]) then: the router
    /// has the address [`BENEATH`], and `FAR_HOST` no route to it.
    #[must_use]
    pub fn beneath_carrier(mut self) -> Self {
        self.beneath = true;
        self.far_host(1_500)
    }

    /// Beneath a carrier who knows the way to the LAN, whose packets may come with their own addresses.
    #[must_use]
    pub fn routed_beneath_carrier(mut self) -> Self {
        self.routed = true;
        self.unwatched().beneath_carrier()
    }

    /// With addresses of IPv6 between the router and the WAN host.
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// Beneath a carrier to whom packets of IPv4 go in such of IPv6, with the LAN's addresses (DS-Lite). See
    /// [`Feature::Softwire`].
    #[must_use]
    pub fn dual_stack_lite(mut self) -> Self {
        self.softwire = true;
        self.ipv6().unwatched().beneath_carrier()
    }

    /// Without looking at the packets of the WAN, where that would cost what is measured.
    #[must_use]
    pub fn unwatched(mut self) -> Self {
        self.unwatched = true;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// Without root, or when a tool fails; nothing is left behind then.
    pub fn build(self) -> Result<Lab> {
        if !nix::unistd::geteuid().is_root() {
            bail!("the lab makes network namespaces, which takes root: run this as root");
        }
        let prefix = unique_prefix();
        let lan = Namespace::new(format!("{prefix}-lan"))?;
        let router = Namespace::new(format!("{prefix}-router"))?;
        let wan = Namespace::new(format!("{prefix}-wan"))?;
        router.sysctl("net/ipv4/ip_forward", "1")?;
        link(&router, "lan0", ROUTER_LAN, &lan, LAN_HOST)?;
        let (external, next) = if self.beneath { (BENEATH, CARRIER) } else { (EXTERNAL, WAN_HOST) };
        link(&router, "wan0", external, &wan, next)?;
        if !self.beneath {
            wan.ip(&["address", "add", &format!("{OTHER_WAN_HOST}/24"), "dev", "eth0"])?;
        }
        if self.routed {
            wan.ip(&["route", "add", LAN, "via", &BENEATH.to_string()])?;
        }
        lan.ip(&["route", "add", "default", "via", &ROUTER_LAN.to_string()])?;
        router.ip(&["route", "add", "default", "via", &next.to_string()])?;
        if self.ipv6 {
            softwire::address(&router, &wan)?;
        }
        if self.softwire {
            softwire::lay(&router, &wan, LAN)?;
        }
        let second_lan = if self.second_lan {
            let second = Namespace::new(format!("{prefix}-lan2"))?;
            link(&router, "lan1", ROUTER_SECOND_LAN, &second, SECOND_LAN_HOST)?;
            second.ip(&["route", "add", "default", "via", &ROUTER_SECOND_LAN.to_string()])?;
            Some(second)
        } else {
            None
        };
        let far = if let Some(mtu) = self.far_mtu {
            let far = Namespace::new(format!("{prefix}-far"))?;
            wan.sysctl("net/ipv4/ip_forward", "1")?;
            link(&wan, "far0", WAN_FAR_SIDE, &far, FAR_HOST)?;
            wan.ip(&["link", "set", "far0", "mtu", &mtu.to_string()])?;
            if self.beneath {
                let other = format!("{OTHER_FAR_SIDE}/24");
                wan.ip(&["address", "add", &other, "dev", "far0"])?;
            } else {
                far.ip(&["route", "add", "default", "via", &WAN_FAR_SIDE.to_string()])?;
            }
            Some(far)
        } else {
            None
        };
        let watcher = if self.unwatched { Capture::blind(&wan)? } else { Capture::start(&wan)? };
        let directory = tempfile::Builder::new().prefix(&format!("{prefix}-")).tempdir()?;
        Ok(Lab { watcher, lan, router, wan, second_lan, far, directory })
    }
}

impl Lab {
    /// The plain topology.
    ///
    /// # Errors
    /// As for [`LabBuilder::build`].
    pub fn home() -> Result<Self> {
        Self::builder().build()
    }

    /// For more than the plain topology.
    pub fn builder() -> LabBuilder {
        LabBuilder::default()
    }

    /// The host of the second LAN.
    ///
    /// # Errors
    /// When the lab was built without it.
    pub fn second_lan(&self) -> Result<&Namespace> {
        match &self.second_lan {
            Some(namespace) => Ok(namespace),
            None => bail!("this lab has no second LAN"),
        }
    }

    /// The host behind the WAN host.
    ///
    /// # Errors
    /// When the lab was built without it.
    pub fn far(&self) -> Result<&Namespace> {
        match &self.far {
            Some(namespace) => Ok(namespace),
            None => bail!("this lab has no far host"),
        }
    }

    /// The router's LAN interfaces.
    pub fn lan_interfaces(&self) -> &'static [&'static str] {
        if self.second_lan.is_some() { &["lan0", "lan1"] } else { &["lan0"] }
    }

    /// All packets on the WAN since the lab was built.
    pub fn on_wan(&self) -> &Capture {
        &self.watcher
    }

    /// A directory that goes with the lab.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A BPF filesystem of its own, to be dropped before the lab.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn bpffs(&self) -> Result<BpfFs<'_>> {
        BpfFs::mount(self.directory().join("bpf"), &self.watcher)
    }

    /// Takes a link of the router's away, with both its ends, as when an adapter is pulled out: `lan0` or
    /// `wan0`.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn unplug(&self, interface: &str) -> Result<()> {
        self.router.ip(&["link", "del", interface]).map(drop)
    }

    /// Makes it again: new interfaces of the old names, which get their addresses and routes once `seen`
    /// returns.
    ///
    /// # Errors
    /// When `ip` or `seen` fails.
    pub fn plug(&self, interface: &str, seen: impl FnOnce() -> Result<()>) -> Result<()> {
        let (own, host, address) = match interface {
            "lan0" => (ROUTER_LAN, &self.lan, LAN_HOST),
            "wan0" => (EXTERNAL, &self.wan, WAN_HOST),
            _ => bail!("the lab has no such link: {interface}"),
        };
        join(&self.router, interface, host)?;
        seen()?;
        give_addresses(&self.router, interface, own, host, address)?;
        let (user, gateway) =
            if address == LAN_HOST { (host, own) } else { (&self.router, address) };
        user.ip(&["route", "replace", "default", "via", &gateway.to_string()]).map(drop)
    }

    /// The names of its namespaces.
    pub fn namespaces(&self) -> Vec<&str> {
        let plain = [&self.lan, &self.router, &self.wan];
        plain.into_iter().chain(&self.second_lan).map(Namespace::name).collect()
    }

    /// Ends the lab and tells whether anything private was seen on the WAN.
    ///
    /// # Errors
    /// With the first packet of that kind.
    pub fn finish(mut self) -> Result<()> {
        self.verdict()
    }

    /// Leaves namespaces and directory in place when the guard goes.
    pub fn keep(&mut self) {
        self.lan.keep();
        self.router.keep();
        self.wan.keep();
        if let Some(second) = &mut self.second_lan {
            second.keep();
        }
        self.directory.disable_cleanup(true);
    }

    fn verdict(&mut self) -> Result<()> {
        match self.watcher.finish() {
            Some(packet) => bail!("a private address was seen on the WAN: {packet}"),
            None => Ok(()),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.verdict() {
            eprintln!("{error:#}");
            // A second panic while one is under way would abort and leave the namespaces behind.
            assert!(std::thread::panicking(), "{error:#}");
        }
    }
}

/// Waits until `condition` holds, for what tells nobody when it happens. Asks fifty times a second.
///
/// # Errors
/// When it does not hold within `timeout`, or cannot be asked.
pub fn wait_until(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + timeout;
    while !condition()? {
        ensure!(Instant::now() < deadline, "{what}: not within {timeout:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// How names of namespaces begin, that two tests of one process do not have the same.
pub(crate) fn unique_prefix() -> String {
    static LABS: AtomicU32 = AtomicU32::new(0);
    format!("igd{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed))
}

/// Joins the router's `interface` with `eth0` of `host`, both with a /24 of the addresses given.
fn link(
    router: &Namespace,
    interface: &str,
    router_address: Ipv4Addr,
    host: &Namespace,
    host_address: Ipv4Addr,
) -> Result<()> {
    join(router, interface, host)?;
    give_addresses(router, interface, router_address, host, host_address)
}

fn join(router: &Namespace, interface: &str, host: &Namespace) -> Result<()> {
    let pair = ["type", "veth", "peer", "name", "eth0", "netns", host.name()];
    router.ip(&[&["link", "add", interface], pair.as_slice()].concat())?;
    for (namespace, interface) in [(router, interface), (host, "eth0")] {
        namespace.run("ethtool", &["-K", interface, "tx", "off"])?;
    }
    host.run("ethtool", &["-K", "eth0", "gro", "on"])?;
    Ok(())
}

fn give_addresses(
    router: &Namespace,
    interface: &str,
    router_address: Ipv4Addr,
    host: &Namespace,
    host_address: Ipv4Addr,
) -> Result<()> {
    for (namespace, interface, address) in
        [(router, interface, router_address), (host, "eth0", host_address)]
    {
        namespace.ip(&["address", "add", &format!("{address}/24"), "dev", interface])?;
        namespace.ip(&["link", "set", interface, "up"])?;
    }
    Ok(())
}
