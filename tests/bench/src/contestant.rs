//! Who takes part.

use crate::case::{Case, Direction, FIRST_FORWARDED, FORWARDED};
use crate::generator::{End, interface};
use crate::plan::FIRST_CLIENT;
use crate::trunk::{Port, carry_tags, tags};
use anyhow::{Context as _, Result, bail};
use aya::maps::Array;
use aya::programs::{Xdp, loaded_programs, xdp::XdpMode};
use aya::sys::{Stats, enable_stats};
use aya::{Ebpf, EbpfLoader};
use clap::ValueEnum;
use nat_bench_programs::{
    CLIENTS, FIRST_PORT, HOP, Hop, PROGRAM_CEILING_FIB, PROGRAM_SINK, PROGRAMS_CEILING,
};
use nat_tests::daemon::{Daemon, DaemonBuilder};
use nat_tests::lab::{BpfFs, Lab, WAN_HOST, command};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;

/// What routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing: frames are dropped at the router's door. Tells what the generator costs.
    Door,
    /// The least that an XDP router can do: MAC addresses, TTL, redirect.
    Ceiling,
    /// The same with a lookup in the kernel's routing table for each packet.
    CeilingFib,
    /// This NAT.
    Nat,
    /// The kernel's routing, without NAT.
    Routing,
    /// The kernel's NAT: nftables' masquerade.
    Nftables,
    /// The same, with established flows past most of it: nftables' flowtable. Not every kernel has it.
    Flowtable,
}

impl Kind {
    /// All of them, in the order in which they take turns.
    pub const ALL: [Self; 7] = [
        Self::Door,
        Self::Ceiling,
        Self::CeilingFib,
        Self::Nat,
        Self::Routing,
        Self::Nftables,
        Self::Flowtable,
    ];

    /// As a reader knows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Door => "generator alone",
            Self::Ceiling => "XDP ceiling",
            Self::CeilingFib => "XDP ceiling with FIB lookup",
            Self::Nat => "this NAT",
            Self::Routing => "kernel routing",
            Self::Nftables => "nftables masquerade",
            Self::Flowtable => "the same with a flowtable",
        }
    }

    /// Whether it can do what a case asks. Without NAT nothing comes back from the external address, and
    /// nftables hairpins only with rules for each port. What the kernel does with tags it does with VLAN devices,
    /// which the labs do not have.
    pub const fn can(self, case: &Case) -> bool {
        if case.tags > 0 && !matches!(self, Self::Door | Self::Ceiling | Self::Nat) {
            return false;
        }
        match case.direction {
            Direction::Outbound => true,
            Direction::Inbound => !matches!(self, Self::Routing | Self::CeilingFib),
            Direction::Hairpin => matches!(self, Self::Door | Self::Ceiling | Self::Nat),
        }
    }
}

/// A contestant in its lab.
pub(crate) struct Contestant<'lab> {
    pub(crate) kind: Kind,
    lab: &'lab Lab,
    lan: End<'lab>,
    wan: End<'lab>,
    /// MAC addresses of the router's interfaces.
    router: Macs,
    /// Their indices, that of the LAN first.
    devices: [u32; 2],
    /// Detached, or ended, when they go.
    programs: Vec<Ebpf>,
    daemon: Option<Daemon<'lab>>,
    /// Unmounted after it has ended.
    _bpffs: Option<BpfFs<'lab>>,
}

struct Macs {
    lan: [u8; 6],
    wan: [u8; 6],
}

impl<'lab> Contestant<'lab> {
    /// Makes `kind` the router of `lab`, for so many sessions at most. `object`: the programs.
    pub(crate) fn new(kind: Kind, lab: &'lab Lab, object: &[u8], sessions: u32) -> Result<Self> {
        Self::with(kind, lab, object, 0, || nat(lab, sessions)?.start())
    }

    /// The same for frames with so many VLAN tags.
    pub(crate) fn tagged(
        kind: Kind,
        lab: &'lab Lab,
        object: &[u8],
        sessions: u32,
        tags: usize,
    ) -> Result<Self> {
        if tags == 0 || kind != Kind::Nat {
            return Self::with(kind, lab, object, tags, || nat(lab, sessions)?.start());
        }
        let bpffs = lab.bpffs()?;
        let mut contestant =
            Self::with(kind, lab, object, tags, || nat(lab, sessions)?.pinned(&bpffs).start())?;
        let devices = [(Port::Lan, contestant.devices[0]), (Port::Wan, contestant.devices[1])];
        contestant.programs.push(carry_tags(&bpffs, devices, tags)?);
        contestant._bpffs = Some(bpffs);
        Ok(contestant)
    }

    /// The same, with this NAT started by `nat`.
    pub(crate) fn with(
        kind: Kind,
        lab: &'lab Lab,
        object: &[u8],
        count: usize,
        nat: impl FnOnce() -> Result<Daemon<'lab>>,
    ) -> Result<Self> {
        let (lan, wan) = (End::new(&lab.lan, object, count)?, End::new(&lab.wan, object, count)?);
        let ((lan0, lan_mac), (wan0, wan_mac)) =
            (interface(&lab.router, "lan0")?, interface(&lab.router, "wan0")?);
        neighbours(lab, lan.mac(), wan.mac())?;
        let to_wan = Hop { tags: tags(Port::Wan, count), ..hop(wan0, wan.mac(), wan_mac) };
        let to_lan = Hop { tags: tags(Port::Lan, count), ..hop(lan0, lan.mac(), lan_mac) };
        let attach = |name: &str, sides: [(u32, Hop); 2]| -> Result<Vec<Ebpf>> {
            sides
                .into_iter()
                .map(|(device, hop)| lab.router.enter(|| attached(object, name, device, hop))?)
                .collect()
        };
        let sides = [(lan0, to_wan), (wan0, to_lan)];
        let (mut programs, mut daemon) = (Vec::new(), None);
        match kind {
            Kind::Door => programs = attach(PROGRAM_SINK, sides)?,
            Kind::Ceiling => {
                let program = PROGRAMS_CEILING.get(count).context("too many tags")?;
                programs = attach(program, sides)?;
            }
            Kind::CeilingFib => programs = attach(PROGRAM_CEILING_FIB, sides)?,
            Kind::Nat => daemon = Some(nat()?),
            Kind::Routing => kernel(lab)?,
            Kind::Nftables => {
                kernel(lab)?;
                masquerade(lab)?;
                redirect(lab)?;
            }
            Kind::Flowtable => {
                kernel(lab)?;
                masquerade(lab)?;
                redirect(lab)?;
                flowtable(lab)?;
            }
        }
        let router = Macs { lan: lan_mac, wan: wan_mac };
        let devices = [lan0, wan0];
        Ok(Self { kind, lab, lan, wan, router, devices, programs, daemon, _bpffs: None })
    }

    /// How many frames have come out of the WAN.
    pub(crate) fn arrived(&self) -> Result<u64> {
        self.wan.swallowed()
    }

    /// The MAC address to which LAN hosts send.
    pub(crate) const fn mac(&self) -> [u8; 6] {
        self.router.lan
    }

    /// The daemon of this NAT.
    pub(crate) const fn daemon(&self) -> Option<&Daemon<'lab>> {
        self.daemon.as_ref()
    }

    /// Ends.
    pub(crate) fn finish(self) -> Result<()> {
        self.daemon.map_or(Ok(()), |daemon| daemon.stop().map(drop))
    }

    /// Opens the sessions of a case.
    pub(crate) fn warm_up(&mut self, case: &Case) -> Result<()> {
        if case.direction != Direction::Outbound && !case.forwarded {
            let outbound = Case { direction: Direction::Outbound, fragments: false, ..*case };
            self.prepare(&outbound)?;
            self.send(&outbound, 2 * case.count().max(1_024))?;
        }
        self.prepare(case)?;
        self.send(case, 2 * case.count().max(1_024))?;
        self.prepare(case)
    }

    /// Begins a case with its first flow.
    pub(crate) fn prepare(&mut self, case: &Case) -> Result<()> {
        match case.direction {
            Direction::Inbound => self.wan.prepare(case, self.router.wan),
            _ => self.lan.prepare(case, self.router.lan),
        }
    }

    /// Sends so many frames of the case that was prepared: nanoseconds for each, and how many of them were
    /// lost.
    pub(crate) fn send(&self, case: &Case, frames: u32) -> Result<(f64, u64)> {
        let (from, to) = match case.direction {
            Direction::Outbound => (&self.lan, &self.wan),
            Direction::Inbound => (&self.wan, &self.lan),
            // The ceiling knows no addresses: it sends on whatever comes.
            Direction::Hairpin if self.kind == Kind::Ceiling => (&self.lan, &self.wan),
            Direction::Hairpin => (&self.lan, &self.lan),
        };
        let before = to.swallowed()?;
        let time = from.send(frames)?;
        let arrived = to.swallowed()? - before;
        let lost = u64::from(frames).saturating_sub(arrived);
        let lost = if self.kind == Kind::Door { 0 } else { lost };
        Ok((time.as_nanos() as f64 / f64::from(frames), lost))
    }

    /// Sends so many frames on each of `cpus` CPUs at once, outbound: nanoseconds until all were dealt with, for
    /// each of one CPU's.
    pub(crate) fn send_on(&self, cpus: usize, frames: u32) -> Result<f64> {
        let times = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..cpus)
                .map(|place| scope.spawn(move || self.lan.send_on(place, frames)))
                .collect();
            let times = senders.into_iter().map(|sender| match sender.join() {
                Ok(time) => time,
                Err(_) => bail!("a sending thread panicked"),
            });
            times.collect::<Result<Vec<_>>>()
        })?;
        let longest = times.into_iter().max().context("no CPU takes part")?;
        Ok(longest.as_nanos() as f64 / f64::from(frames))
    }

    /// What the kernel says of the router's program while so many frames are sent: nanoseconds for each run.
    /// `None` when the kernel itself routes. Reading the clock twice a run is in it.
    pub(crate) fn program_nanos(&self, case: &Case, frames: u32) -> Result<Option<f64>> {
        if !matches!(self.kind, Kind::Ceiling | Kind::CeilingFib | Kind::Nat) {
            return Ok(None);
        }
        let interface = if case.direction == Direction::Inbound { "wan0" } else { "lan0" };
        let text = self.lab.router.run("ip", &["-j", "link", "show", "dev", interface])?;
        let links: Value = serde_json::from_str(&text)?;
        let id =
            links.pointer("/0/xdp/prog/id").and_then(Value::as_u64).context("no XDP program")?;
        let used = || -> Result<(u64, u64)> {
            for program in loaded_programs() {
                let program = program?;
                if u64::from(program.id()) == id {
                    return Ok((program.run_time().as_nanos() as u64, program.run_count()));
                }
            }
            bail!("program {id} is gone")
        };
        let _counting = enable_stats(Stats::RunTime)?;
        let (time, runs) = used()?;
        self.send(case, frames)?;
        let (new_time, new_runs) = used()?;
        Ok(Some((new_time - time) as f64 / (new_runs - runs).max(1) as f64))
    }
}

/// This NAT on the router of a lab.
pub(crate) fn nat(lab: &Lab, sessions: u32) -> Result<DaemonBuilder<'_>> {
    let config = lab.directory().join("config.toml");
    let mut text = format!(
        "[nat]\nmax-sessions = {sessions}\nmax-sessions-per-client = 0\n\
         max-ports-per-client = 0\n"
    );
    for (client, port) in forwards() {
        writeln!(
            text,
            "[[mapping]]\nprotocol = \"udp\"\nexternal-port = {port}\nclient = \"{client}\""
        )?;
    }
    fs::write(&config, text)?;
    Ok(Daemon::builder(lab).argument("--config").argument(&config.to_string_lossy()))
}

/// Internal clients and ports that have port forwards.
fn forwards() -> impl Iterator<Item = (Ipv4Addr, u32)> {
    (FIRST_FORWARDED..FIRST_FORWARDED + FORWARDED).map(|number| {
        let client = u32::from(FIRST_CLIENT) + number % CLIENTS;
        (client.into(), FIRST_PORT + number)
    })
}

/// The same port forwards in nftables: one lookup in a map.
fn redirect(lab: &Lab) -> Result<()> {
    let hook = "{ type nat hook prerouting priority -100 ; }";
    lab.router.run("nft", &["add", "chain", "ip", "bench", "in", hook])?;
    let places: Vec<_> = forwards().map(|(client, port)| format!("{port} : {client}")).collect();
    let rule = format!(
        "add rule ip bench in iifname \"wan0\" dnat to udp dport map {{ {} }}",
        places.join(", ")
    );
    let file = lab.directory().join("forwards");
    fs::write(&file, rule)?;
    lab.router.run("nft", &["-f", &file.to_string_lossy()]).map(drop)
}

/// The kernel's NAT on it.
pub(crate) fn masquerade(lab: &Lab) -> Result<()> {
    lab.router.run("nft", &["add", "table", "ip", "bench"])?;
    let hook = "{ type nat hook postrouting priority 100 ; }";
    lab.router.run("nft", &["add", "chain", "ip", "bench", "out", hook])?;
    let rule = ["add", "rule", "ip", "bench", "out", "oifname", "wan0", "masquerade"];
    lab.router.run("nft", &rule).map(drop)
}

/// Flows that have begun go from interface to interface past the hooks.
fn flowtable(lab: &Lab) -> Result<()> {
    let rules = "add flowtable ip bench fast { hook ingress priority 0 ; devices = { lan0, wan0 } ; }\n\
                 add chain ip bench forward { type filter hook forward priority 0 ; }\n\
                 add rule ip bench forward ip protocol { tcp, udp } flow add @fast\n";
    let file = lab.directory().join("flowtable");
    fs::write(&file, rules)?;
    lab.router.run("nft", &["-f", &file.to_string_lossy()]).map(drop)
}

/// The kernel itself: its interfaces take frames only with NAPI, which they have without an XDP program only
/// for GRO.
fn kernel(lab: &Lab) -> Result<()> {
    for interface in ["lan0", "wan0"] {
        lab.router.run("ethtool", &["-K", interface, "gro", "on"])?;
    }
    Ok(())
}

/// Everybody's MAC address is known: the ends swallow ARP too.
fn neighbours(lab: &Lab, lan: [u8; 6], wan: [u8; 6]) -> Result<()> {
    let text = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let mut batch = format!("neigh replace {WAN_HOST} lladdr {} dev wan0\n", text(wan));
    for client in 0..CLIENTS {
        let client = Ipv4Addr::from(u32::from(FIRST_CLIENT) + client);
        writeln!(batch, "neigh replace {client} lladdr {} dev lan0", text(lan))?;
    }
    let file = lab.directory().join("neighbours");
    fs::write(&file, batch)?;
    let file = file.to_string_lossy();
    command("ip", &["-n", lab.router.name(), "-batch", &file]).map(drop)
}

fn hop(device: u32, to: [u8; 6], from: [u8; 6]) -> Hop {
    let mut macs = [0; 6];
    for (word, pair) in macs.iter_mut().zip([to, from].as_flattened().as_chunks().0) {
        *word = u16::from_ne_bytes(*pair);
    }
    Hop { device, macs, tags: [0; 4] }
}

/// A program on a device of the namespace that this thread is in, which sends to `hop`.
fn attached(object: &[u8], name: &str, device: u32, hop: Hop) -> Result<Ebpf> {
    let mut ebpf = EbpfLoader::new().load(object)?;
    let map = ebpf.map_mut(HOP).context(HOP)?;
    let words: [u32; size_of::<Hop>() / 4] = bytemuck::cast(hop);
    Array::<_, [u32; size_of::<Hop>() / 4]>::try_from(map)?.set(0, words, 0)?;
    let program: &mut Xdp = ebpf.program_mut(name).context("no such program")?.try_into()?;
    program.load()?;
    program.attach_to_if_index(device, XdpMode::Driver)?;
    Ok(ebpf)
}
