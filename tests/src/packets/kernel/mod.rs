//! The XDP program, run by the kernel on one frame at a time (`BPF_PROG_RUN`).
//!
//! It needs interfaces, routes and neighbours for `bpf_fib_lookup`, and sockets for the socket lookups:
//! [`Router`] is a namespace that has them. The kernel's clock cannot be set: when time is to pass, all
//! deadlines in the maps are brought forward instead.

mod clients;
mod maps;
mod oracle;
mod race;
mod router;
mod slot;

pub use race::{Racer, Shared};
pub use router::Router;

use super::machine::{
    Action, Change, MAX_ADDRESSES, MAX_CLIENTS, MAX_CONTACTS, MAX_ENDPOINTS, MAX_SESSION_ENTRIES,
    Machine, Outcome, check_peer,
};
use super::topology::{self, EGRESS, side};
use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::ProgramArray;
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, TestRunResult, Xdp};
use aya::{Ebpf, EbpfLoader};
use maps::Maps;
use nat_common::Protocol;
use nat_common::counters::COUNTERS;
use nat_common::link::{DOT1AD, DOT1Q, Tags};
use nat_common::maps::{
    CLIENTS, CLIENTS_ENDED, CONTACTS, ENDPOINTS, FRAGMENTS, HINTS, PORTS, PROGRAM_GUARD,
    PROGRAM_LAN, PROGRAM_PEER, PROGRAM_TRUNK, PROGRAM_TRUNK_LAN, PROGRAM_TRUNK_WAN, PROGRAM_WAN,
    REMOTES, SESSIONS, TRUNK,
};
use nat_common::ports::SLOTS_PER_ADDRESS;
use nat_common::session::Side;
use std::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use std::{env, fs};

/// The XDP program and its maps. To be made and used on a thread inside the [`Router`].
pub struct KernelMachine<'a> {
    router: &'a Router,
    ebpf: Ebpf,
    maps: Maps,
    sockets: Vec<OwnedFd>,
    verified: Vec<Verified>,
    /// When the oracle has it begin anew.
    begun: Instant,
}

/// How many entries fit.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Session entries: two for each session.
    pub sessions: u32,
    /// Internal endpoints.
    pub endpoints: u32,
    /// Contacts.
    pub contacts: u32,
}

/// How hard a program was for the kernel's verifier, which gives up after a million instructions.
#[derive(Clone, Copy, Debug)]
pub struct Verified {
    /// The program.
    pub name: &'static str,
    /// The instructions that the verifier walked, each as often as it had to; not on old kernels.
    pub instructions: Option<u32>,
    /// How long loading took.
    pub time: Duration,
}

impl Display for Verified {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { name, time, .. } = self;
        match self.instructions {
            Some(count) => write!(f, "{name}: verified {count} instructions in {time:.1?}"),
            None => write!(f, "{name}: verified in {time:.1?}"),
        }
    }
}

/// The environment variable that names the compiled program; `.cargo/config.toml` sets it.
const OBJECT: &str = "IGD_XDP_OBJECT";

/// The program that `cargo xtask build` has compiled.
///
/// # Errors
/// When there is none.
pub fn object() -> Result<Vec<u8>> {
    let path =
        env::var_os(OBJECT).with_context(|| format!("{OBJECT} is not set: run this by cargo"))?;
    fs::read(&path).with_context(|| {
        format!("no compiled XDP program {}: run `cargo xtask build`", path.display())
    })
}

/// `BPF_PROG_RUN` takes no frame without an Ethernet header.
const SHORTEST_FRAME: usize = 14;

/// Entries of the maps that no row fills. To look through a map takes the longer the larger it is.
const ENTRIES: u32 = 1024;

/// Room for what the program puts before a frame.
const HEADROOM: usize = 256;

/// What the program puts before a frame that the kernel is to send: room, and in the last bytes of it a
/// mark and the interface's index.
const HAND_OVER_ROOM: usize = 24;
const HAND_OVER_LEN: usize = 8;
/// The mark.
const HAND_OVER: u32 = 0x4e41_5401;

/// In the place of the interface's index: every LAN's.
const EVERY_LAN: u32 = 0;

/// The kernel's `enum xdp_action`.
mod xdp_action {
    pub(super) const DROP: u32 = 1;
    pub(super) const PASS: u32 = 2;
    pub(super) const REDIRECT: u32 = 4;
}

/// Actions of traffic-control programs.
mod tc_action {
    pub(super) const UNSPEC: i32 = -1;
    pub(super) const SHOT: i32 = 2;
}

impl<'a> KernelMachine<'a> {
    /// Loads the program that `cargo xtask build` has compiled.
    ///
    /// # Errors
    /// When there is none, or the kernel refuses it.
    pub fn load(router: &'a Router) -> Result<Self> {
        Self::load_object(router, &object()?)
    }

    /// Loads another program.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn load_object(router: &'a Router, object: &[u8]) -> Result<Self> {
        let room = Room {
            sessions: MAX_SESSION_ENTRIES,
            endpoints: MAX_ENDPOINTS,
            contacts: MAX_CONTACTS,
        };
        Self::with_room(router, object, room)
    }

    /// Loads a program with room for so much.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn with_room(router: &'a Router, object: &[u8], room: Room) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(SESSIONS, room.sessions)
            .map_max_entries(ENDPOINTS, room.endpoints)
            .map_max_entries(CLIENTS, MAX_CLIENTS)
            .map_max_entries(CLIENTS_ENDED, MAX_CLIENTS)
            .map_max_entries(CONTACTS, room.contacts)
            .map_max_entries(REMOTES, ENTRIES)
            .map_max_entries(FRAGMENTS, ENTRIES)
            .map_max_entries(PORTS, MAX_ADDRESSES * SLOTS_PER_ADDRESS)
            .map_max_entries(HINTS, MAX_ADDRESSES * Protocol::COUNT)
            .load(object)
            .context("the kernel does not take the XDP program's maps")?;
        let mut verified = Vec::new();
        for name in [
            PROGRAM_LAN,
            PROGRAM_WAN,
            PROGRAM_TRUNK,
            PROGRAM_TRUNK_LAN,
            PROGRAM_TRUNK_WAN,
            PROGRAM_PEER,
        ] {
            let program: &mut Xdp = ebpf.program_mut(name).context(name)?.try_into()?;
            let start = Instant::now();
            program.load().with_context(|| format!("the kernel refuses the program {name}"))?;
            let instructions = program.info()?.verified_instruction_count();
            verified.push(Verified { name, instructions, time: start.elapsed() });
        }
        for (name, side) in [(PROGRAM_TRUNK_LAN, Side::Lan), (PROGRAM_TRUNK_WAN, Side::Wan)] {
            let program: &Xdp = ebpf.program(name).context(name)?.try_into()?;
            let fd = program.fd()?.try_clone()?;
            let trunk = ebpf.map_mut(TRUNK).context(TRUNK)?;
            ProgramArray::try_from(trunk)?.set(side as u32, &fd, 0)?;
        }
        let guard: &mut SchedClassifier =
            ebpf.program_mut(PROGRAM_GUARD).context(PROGRAM_GUARD)?.try_into()?;
        guard.load().context("the kernel refuses the guard")?;
        let maps = Maps::take(&mut ebpf, router)?;
        Ok(Self { router, ebpf, maps, sockets: Vec::new(), verified, begun: Instant::now() })
    }

    /// What the verifier had to do.
    pub fn verified(&self) -> &[Verified] {
        &self.verified
    }

    fn run(&self, link: u8, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        if link == EGRESS {
            return self.run_guard(frame);
        }
        let (device, tags) = topology::tags(link);
        let name = match side(link) {
            _ if tags != Tags::NONE => PROGRAM_TRUNK,
            Side::Lan => PROGRAM_LAN,
            Side::Wan => PROGRAM_WAN,
        };
        let program: &Xdp = self.ebpf.program(name).context(name)?.try_into()?;
        let ifindex = self.router.ifindex(device).context("no such link")?;
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, u32::try_from(frame.len())?, 0, ifindex, 0, 0];
        play(program, frame, Some(bytemuck::bytes_of(&context)))
    }

    /// Runs the program for PCP's PEER, which is on no interface.
    fn run_peer(&self, frame: &[u8]) -> Result<u32> {
        let program: &Xdp = self.ebpf.program(PROGRAM_PEER).context(PROGRAM_PEER)?.try_into()?;
        Ok(play(program, frame, None)?.0)
    }

    /// Has the kernel send a frame by the WAN: whether the guard lets it, as an XDP action.
    fn run_guard(&self, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        let program: &SchedClassifier =
            self.ebpf.program(PROGRAM_GUARD).context(PROGRAM_GUARD)?.try_into()?;
        let (returned, out) = play(program, frame, None)?;
        let action = match returned.cast_signed() {
            tc_action::UNSPEC => xdp_action::PASS,
            tc_action::SHOT => xdp_action::DROP,
            other => bail!("the guard returned {other}"),
        };
        Ok((action, out))
    }

    fn open_socket(&mut self, protocol: Protocol, addr: Ipv4Addr, port: u16) -> Result<()> {
        let socket = match protocol {
            Protocol::Udp => OwnedFd::from(UdpSocket::bind((addr, port))?),
            Protocol::Tcp => OwnedFd::from(TcpListener::bind((addr, port))?),
            Protocol::Icmp => bail!("ICMP has no ports"),
        };
        self.sockets.push(socket);
        Ok(())
    }
}

impl Machine for KernelMachine<'_> {
    fn name(&self) -> &'static str {
        "the kernel"
    }

    fn shortest_frame(&self) -> usize {
        SHORTEST_FRAME
    }

    fn reset(&mut self) -> Result<()> {
        self.sockets.clear();
        self.maps.clear()
    }

    fn change(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Wait(seconds) => {
                self.maps.bring_deadlines_forward(Duration::from_secs(*seconds))
            }
            Change::Settings(change) => self.maps.change_settings(change),
            Change::OpenForward(forward) => {
                let opened = self.maps.open_forward(forward)?;
                ensure!(opened, "port {} is in use", forward.port);
                Ok(())
            }
            Change::CloseForward(forward) => self.maps.close_forward(forward),
            Change::MarkForward(forward) => self.maps.mark_forward(forward),
            Change::OpenSocket(protocol, addr, port) => self.open_socket(*protocol, *addr, *port),
            Change::Peer(..) | Change::PeerRefused(..) => match change.peer(maps::now()?) {
                Some((frame, wanted)) => check_peer(change, self.run_peer(&frame)?, wanted),
                None => Ok(()),
            },
            Change::TakePort(protocol, port, owner, seconds) => {
                self.maps.take_port(*protocol, *port, *owner, *seconds)
            }
            Change::TakePorts(protocol, ports, but, owner, seconds) => ports
                .clone()
                .filter(|port| Some(*port) != *but)
                .try_for_each(|port| self.maps.take_port(*protocol, port, *owner, *seconds)),
            Change::Pool(pool) => self.maps.set_pool(pool),
            Change::FillHints(protocol) => self.maps.fill_hints(*protocol),
            Change::FillSessions => self.maps.fill_sessions(),
            Change::FillEndpoints => self.maps.fill_endpoints(),
            Change::FillContacts => self.maps.fill_contacts(),
            Change::FillClients => self.maps.clients.fill(),
            Change::Sweep => self.maps.sweep_clients(),
        }
    }

    fn receive(&mut self, link: u8, frame: &[u8]) -> Result<Outcome> {
        let before = self.maps.counters()?;
        let mut outcome = self.judge(link, frame)?;
        outcome.counted = self.maps.counters()?;
        for (after, before) in outcome.counted.iter_mut().zip(before) {
            *after -= before;
        }
        Ok(outcome)
    }
}

impl KernelMachine<'_> {
    /// Has a frame come in, and does not look at the counters.
    fn judge(&self, link: u8, frame: &[u8]) -> Result<Outcome> {
        let ingress = link;
        let tagged = with_tags(link, frame);
        let (action, mut out) = self.run(link, &tagged)?;
        let (action, link) = match action {
            xdp_action::DROP => (Action::Drop, None),
            xdp_action::PASS if out.len() == tagged.len() => (Action::Pass, None),
            xdp_action::PASS => {
                let link = self.handed_over(&out)?;
                out.drain(..HAND_OVER_ROOM);
                (if link.is_some() { Action::Resolve } else { Action::Broadcast }, link)
            }
            xdp_action::REDIRECT => (Action::Send, None),
            other => bail!("the program returned {other}"),
        };
        let most = if action == Action::Pass { topology::tags(ingress).1.count() } else { 2 };
        let tags = take_tags(&mut out, most);
        Ok(Outcome { action, link, frame: out, tags, counted: [0; COUNTERS] })
    }

    /// Reads what stands before a frame that the kernel is to send; tells the link, `None`: every LAN's.
    fn handed_over(&self, out: &[u8]) -> Result<Option<u8>> {
        let room = out.get(..HAND_OVER_ROOM).context("the frame has become shorter")?;
        let note: [u8; HAND_OVER_LEN] = *room.last_chunk().context("no room for a note")?;
        let [mark, ifindex]: [u32; 2] = bytemuck::cast(note);
        ensure!(mark == HAND_OVER, "the mark before the frame is {mark:#x}");
        if ifindex == EVERY_LAN {
            return Ok(None);
        }
        self.router.link(ifindex).context("handed over to an interface that is no link").map(Some)
    }
}

/// Bytes before the tags, or the EtherType.
const MACS: usize = 12;

/// A frame with the tags of a link.
fn with_tags(link: u8, frame: &[u8]) -> Vec<u8> {
    let tags = topology::words(topology::arrival(link).words());
    let mut tagged = frame.to_vec();
    tagged.splice(MACS..MACS, tags.into_iter().flat_map(u16::to_ne_bytes));
    tagged
}

/// Takes so many tags off a frame at most.
fn take_tags(frame: &mut Vec<u8>, most: usize) -> Vec<u16> {
    let mut tags = Vec::new();
    let word = |frame: &[u8], at: usize| {
        frame.get(at..at + 2).and_then(|word| word.try_into().ok()).map(u16::from_ne_bytes)
    };
    while let (Some(protocol), Some(rest)) = (word(frame, MACS), word(frame, MACS + 2))
        && [DOT1Q, DOT1AD].contains(&u16::from_be(protocol))
        && tags.len() < 2 * most
    {
        tags.extend([protocol, rest]);
        frame.drain(MACS..MACS + 4);
    }
    tags
}

/// Runs a program on a frame: what it returns, and what has become of the frame.
fn play(
    program: &impl for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
    frame: &[u8],
    context: Option<&[u8]>,
) -> Result<(u32, Vec<u8>)> {
    let mut out = vec![0; frame.len() + HEADROOM];
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: context,
            ..TestRunOptions::default()
        })
        .context("BPF_PROG_RUN")?;
    out.truncate(usize::try_from(result.data_size_out)?);
    Ok((result.return_value, out))
}
