//! Interfaces of the box, lent to the lab: taken out of where they are, and put back as they were.

use super::home::{Home, refusal};
use anyhow::{Context as _, Result, bail, ensure};
use nat_tests::lab::{EXTERNAL, Lab, Namespace, ROUTER_LAN, WAN_HOST, command, wait_until};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The interfaces that the operator names.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Wires {
    /// The interface by which pktgen sends.
    #[arg(long, required_unless_present = "veth", requires = "lan")]
    pub from: Option<String>,
    /// The router's LAN interface: the other end of that one's cable.
    #[arg(long, required_unless_present = "veth", requires = "from")]
    pub lan: Option<String>,
    /// The router's WAN interface; by default a virtual one.
    #[arg(long, requires = "sink", requires = "lan")]
    pub wan: Option<String>,
    /// The other end of its cable, where packets are counted and dropped.
    #[arg(long, requires = "wan")]
    pub sink: Option<String>,
    /// Takes them although the box's default route goes out by one of them.
    #[arg(long)]
    pub even_default_route: bool,
    /// Virtual interfaces everywhere, and none of the box's.
    #[arg(long, conflicts_with_all = ["from", "lan", "wan", "sink"])]
    pub veth: bool,
}

/// What an interface becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    From,
    Lan,
    Wan,
    Sink,
}

impl Role {
    /// Its place in the lab, and its name there.
    const fn place(self, lab: &Lab) -> (&Namespace, &'static str) {
        match self {
            Self::From => (&lab.lan, "eth0"),
            Self::Lan => (&lab.router, "lan0"),
            Self::Wan => (&lab.router, "wan0"),
            Self::Sink => (&lab.wan, "eth0"),
        }
    }

    const fn task(self) -> &'static str {
        match self {
            Self::From => "sends",
            Self::Lan => "the router's LAN",
            Self::Wan => "the router's WAN",
            Self::Sink => "counts and drops",
        }
    }
}

/// A link comes up within this time, also when its driver begins anew for an XDP program.
const CARRIER_TIMEOUT: Duration = Duration::from_secs(20);

impl Wires {
    fn named(&self) -> Vec<(&str, Role)> {
        let all = [
            (&self.from, Role::From),
            (&self.lan, Role::Lan),
            (&self.wan, Role::Wan),
            (&self.sink, Role::Sink),
        ];
        all.into_iter().filter_map(|(name, role)| Some((name.as_deref()?, role))).collect()
    }

    /// How each is now. Nothing is changed.
    ///
    /// # Errors
    /// When one is not there, or may not be taken.
    pub(super) fn look(&self) -> Result<Vec<Home>> {
        let named = self.named();
        for (place, (name, _)) in named.iter().enumerate() {
            let before = named.iter().take(place).any(|(other, _)| other == name);
            ensure!(!before, "{name} is named twice");
        }
        let default = |family| ask(&["-j", family, "route", "show", "default", "table", "all"]);
        let routes = [default("-4")?, default("-6")?];
        let default: &[Value] = if self.even_default_route { &[] } else { &routes };
        let look = |(name, _): (&str, Role)| {
            let link = ask(&["-j", "-d", "link", "show", "dev", name])?;
            if let Some(why) = refusal(name, &link, default, &uppers(name)) {
                bail!("{why}");
            }
            let addresses = ask(&["-j", "address", "show", "dev", name])?;
            let routes = |family| {
                let all = ["-o", family, "route", "show", "dev", name, "table", "all"];
                command("ip", &all)
            };
            Ok(Home::new(name, &link, &addresses, &(routes("-4")? + &routes("-6")?)))
        };
        named.into_iter().map(look).collect()
    }

    /// What will be changed on the box, and how it can be put back by hand.
    pub(super) fn changes(&self, lab: &str, homes: &[Home], module: bool) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "What changes on this box until the benchmark ends:");
        if !module {
            let _ = writeln!(text, "- the kernel gets the module pktgen (modprobe pktgen)");
        }
        let _ = writeln!(
            text,
            "- there are network namespaces {lab}; in them: addresses, routes, nftables' rules, XDP programs, \
             and this NAT's daemon"
        );
        for (name, role) in self.named() {
            let _ = writeln!(
                text,
                "- {name} ({}) moves into one of them: the box has it no longer, nor its addresses, routes, \
                 neighbours and queueing disciplines; whoever manages the network here may notice",
                role.task()
            );
        }
        let _ = writeln!(
            text,
            "At the end, also after Ctrl-C or an error, all is put back, except queueing disciplines other than \
             the kernel's own, and settings below /proc/sys/net of these interfaces."
        );
        if !homes.is_empty() {
            let _ = writeln!(
                text,
                "Should this program be killed, delete the namespaces (`ip netns del`): the interfaces come back. \
                 Then:"
            );
            for step in homes.iter().flat_map(Home::steps) {
                let _ = writeln!(text, "    ip {}", step.join(" "));
            }
        }
        text
    }

    /// Puts them in the places of the lab's own links.
    ///
    /// # Errors
    /// When that fails; those that were taken are put back.
    pub(super) fn lend<'lab>(&self, lab: &'lab Lab, homes: Vec<Home>) -> Result<Vec<Lent<'lab>>> {
        if self.lan.is_some() {
            lab.unplug("lan0")?;
        }
        if self.wan.is_some() {
            lab.unplug("wan0")?;
        }
        let mut lent = Vec::new();
        for ((_, role), home) in self.named().into_iter().zip(homes) {
            let (at, name) = role.place(lab);
            lent.push(Lent::take(home, at, name)?);
        }
        let give = |interface, address| {
            lab.router.ip(&["address", "add", &format!("{address}/24"), "dev", interface])
        };
        if self.lan.is_some() {
            give("lan0", ROUTER_LAN)?;
        }
        if self.wan.is_some() {
            give("wan0", EXTERNAL)?;
            lab.router.ip(&["route", "replace", "default", "via", &WAN_HOST.to_string()])?;
        }
        Ok(lent)
    }
}

/// An interface in a namespace of the lab's. Dropped, it is back.
pub(super) struct Lent<'lab> {
    home: Home,
    at: &'lab Namespace,
    name: &'static str,
}

impl<'lab> Lent<'lab> {
    fn take(home: Home, at: &'lab Namespace, name: &'static str) -> Result<Self> {
        let own = home.name.clone();
        // From here on it is put back, however far this gets.
        let lent = Self { home, at, name };
        command("ip", &["link", "set", "dev", &own, "down"])?;
        command("ip", &["link", "set", "dev", &own, "netns", at.name(), "name", name])?;
        at.ip(&["link", "set", "dev", name, "up"])?;
        Ok(lent)
    }

    /// Waits until its link is up.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) fn wait_for_carrier(&self) -> Result<()> {
        let file = format!("/sys/class/net/{}/carrier", self.name);
        let what = format!("the link of {}", self.home.name);
        wait_until(&what, CARRIER_TIMEOUT, || {
            Ok(self.at.output("cat", &[&file])?.success().is_ok_and(|text| text.trim() == "1"))
        })
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let Home { name, .. } = &self.home;
        let here = std::process::id().to_string();
        if !is_here(name) {
            let back = ["link", "set", "dev", self.name, "netns", &here, "name", name];
            let back = self
                .at
                .ip(&["link", "set", "dev", self.name, "down"])
                .and_then(|_| self.at.ip(&back));
            if let Err(error) = back {
                eprintln!("{name} is not back: {error:#}");
            }
        }
        for step in self.home.steps() {
            let step: Vec<&str> = step.iter().map(String::as_str).collect();
            if let Err(error) = command("ip", &step) {
                eprintln!("{name} is not quite as it was: {error:#}");
            }
        }
    }
}

fn is_here(name: &str) -> bool {
    command("ip", &["link", "show", "dev", name]).is_ok()
}

fn ask(arguments: &[&str]) -> Result<Value> {
    let text = command("ip", arguments)?;
    // Of nothing it prints nothing, in some versions.
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).with_context(|| format!("what `ip {}` says", arguments.join(" ")))
}

/// Interfaces on top of another one, such as its VLANs.
fn uppers(name: &str) -> Vec<String> {
    let folder = fs::read_dir(Path::new("/sys/class/net").join(name));
    let names = folder.into_iter().flatten().flatten();
    names
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix("upper_").map(str::to_owned)
        })
        .collect()
}
