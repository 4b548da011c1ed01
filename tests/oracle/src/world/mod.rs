//! A machine and the reference side by side, and what happens to them.

mod compare;
mod event;
mod rules;
pub(crate) mod topology;

pub use event::{Event, event};
pub use rules::{Rules, rules};

use crate::machine::{HostMachine, Machine, Outcome};
use crate::reference::{Reference, RemoteFilter, SECOND, Side, Terms};
use compare::{judge, pieces};
use event::{LetsIn, PortPick};
use nat_common::filters;
use nat_common::ports::Endpoint;
use nat_common::session::EndpointKey;
use nat_common::settings::Settings;
use nat_common::time::NANOS_PER_SEC;
use nat_common::{Counter, NetAddr, NetPort, Protocol};
use nat_ebpf::Decision;
use nat_ebpf::host::Forward;
use nat_ebpf::host::packet::{Body, Packet, Peer, icmp, protocol};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;
use topology::{EXTERNALS, TIMEOUTS, WAN};

/// What is counted here may be left to the kernel translated.
const LEFT_TRANSLATED: [u32; 2] = [Counter::PassTtl as u32, Counter::PassTooBig as u32];

/// Packets that can still be answered.
const REMEMBERED: usize = 24;

/// So many times may pass beside the seconds of waits; together they stay well below a second.
const WAITS_BESIDE: u64 = 150;

/// Both NATs.
pub struct World<'m, M> {
    machine: &'m mut M,
    reference: Reference,
    /// What was sent last, as it came out, with its link.
    sent: Vec<(u8, Packet)>,
    forwards: Vec<Forward>,
    waits: u64,
    packets: u64,
}

impl<'m, M: Machine> World<'m, M> {
    /// Both without state.
    ///
    /// # Errors
    /// When the machine cannot be reset.
    pub fn new(machine: &'m mut M, rules: Rules) -> Result<Self, String> {
        let Rules { modes, limits } = rules;
        let range = topology::PORTS;
        machine.reset(topology::settings(&rules)).map_err(failed)?;
        Ok(Self {
            machine,
            reference: Reference::new(topology::ADDRESSES, TIMEOUTS, range, modes, limits),
            sent: Vec::new(),
            forwards: Vec::new(),
            waits: 0,
            packets: 0,
        })
    }

    /// Whether the machine has taken too long for what comes of anything to be compared.
    pub fn is_late(&self) -> bool {
        self.machine.is_late()
    }

    /// How many packets came in so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// The packet that an event consists of, if it does, and the link by which it comes in.
    pub fn packet(&self, event: &Event) -> Option<(u8, Packet)> {
        let (link, shape, src, dst) = match event {
            Event::Out { client, to, shape } => {
                let src = topology::client(*client);
                (topology::link_of(src.0), *shape, src, topology::server(*to))
            }
            Event::In { from, to, shape } => {
                let dst = self.port(shape.protocol, *to);
                (WAN, *shape, topology::server(*from), dst)
            }
            Event::Call { client, to, shape } => {
                let src = topology::client(*client);
                let dst = self.port(shape.protocol, *to);
                (topology::link_of(src.0), *shape, src, dst)
            }
            Event::Answer { to, shape } => {
                let (link, packet) = self.sent(*to)?;
                let shape = shape.of(packet.protocol());
                (*link, shape, packet.destination(), packet.source())
            }
            Event::Spoof { link, src, to, shape } => {
                let dst = match *link {
                    WAN => self.port(shape.protocol, *to),
                    _ => topology::server(1),
                };
                (*link, *shape, topology::spoofed(*src), dst)
            }
            Event::Inwards { from, client, shape } => {
                (WAN, *shape, topology::server(*from), topology::client(*client))
            }
            _ => return None,
        };
        let answers = link == WAN || matches!(event, Event::Answer { to, .. } if self.asks(*to));
        Some((link, addressed(link, shape.packet(answers, src, dst))))
    }

    /// An ICMP error about a packet that was sent, with so many bytes of it.
    pub fn icmp_error(&self, about: usize, len: usize) -> Option<(u8, Packet)> {
        let (link, packet) = self.sent(about)?;
        let error = Packet::icmp_error(packet.dst, packet.src, icmp::UNREACHABLE, packet, len);
        Some((*link, addressed(*link, error)))
    }

    /// Whether a packet that was sent is a ping.
    fn asks(&self, number: usize) -> bool {
        let ping = |(_, packet): &(u8, Packet)| {
            matches!(packet.body, Body::Icmp { kind: icmp::ECHO_REQUEST, .. })
        };
        self.sent(number).is_some_and(ping)
    }

    fn sent(&self, number: usize) -> Option<&(u8, Packet)> {
        self.sent.get(number.checked_rem(self.sent.len())?)
    }

    /// Has something happen to both.
    ///
    /// # Errors
    /// Where they differ.
    pub fn play(&mut self, event: &Event) -> Result<(), String> {
        if let Some((link, packet)) = self.packet(event) {
            return self.receive(link, &packet);
        }
        match event {
            Event::Open { protocol, port, client, lets_in } => {
                let may_be_everybody = *protocol == protocol::UDP && *port != 0;
                let client = topology::forwarded(*client, may_be_everybody);
                self.open(*protocol, *port, client, *lets_in)
            }
            Event::Close(which) => {
                if !self.forwards.is_empty() {
                    let forward = self.forwards.swap_remove(which % self.forwards.len());
                    self.close(&forward)?;
                }
                Ok(())
            }
            Event::Wait(seconds) => self.wait(*seconds),
            Event::Connect(connected) => {
                self.reference.connected = *connected;
                self.settings(&|settings| settings.connected = u16::from(*connected))
            }
            Event::Sweep => {
                self.reference.sweep();
                self.machine.sweep().map_err(failed)
            }
            Event::VoidSessions => {
                self.reference.nat_generation += 1;
                self.settings(&|settings| settings.nat_generation += 1)
            }
            Event::ChangeRoutes => self.settings(&|settings| settings.route_generation += 1),
            // An answer while there is nothing to answer.
            _ => Ok(()),
        }
    }

    fn settings(&mut self, change: &dyn Fn(&mut Settings)) -> Result<(), String> {
        self.machine.settings(change).map_err(failed)
    }

    fn wait(&mut self, seconds: u64) -> Result<(), String> {
        if M::BESIDE > 0 && self.waits == WAITS_BESIDE {
            return Ok(());
        }
        self.waits += 1;
        let beside = Duration::from_nanos(M::BESIDE * NANOS_PER_SEC / SECOND);
        self.machine.wait(Duration::from_secs(seconds) + beside).map_err(failed)?;
        self.reference.now += seconds * SECOND + M::BESIDE;
        Ok(())
    }

    /// One of the external endpoints that anybody ever had.
    fn port(&self, protocol: u8, pick: PortPick) -> Peer {
        let known = self.reference.ports.known(protocol);
        match pick {
            PortPick::Known(number) if !known.is_empty() => known[number % known.len()],
            PortPick::Known(_) => (EXTERNALS[0], 5000),
            PortPick::Any(port) => (EXTERNALS[usize::from(port) % 3], port),
        }
    }

    /// Has a packet come in, in fragments if it may be fragmented, and compares.
    fn receive(&mut self, link: u8, packet: &Packet) -> Result<(), String> {
        let mut packet = packet.clone();
        // Two packets of one flow may be in fragments at one time.
        packet.id = packet.id.wrapping_add(self.packets as u16);
        let pieces = pieces(&packet);
        let (first, later) = pieces.split_first().ok_or("a packet without pieces")?;
        let Some((by, sent)) = self.compare(link, &packet, first)? else { return Ok(()) };
        // Those that follow are packets of the same flow, in which no flags are seen. What becomes of them
        // when the first was not sent, the reference does not say.
        if let Body::Tcp { flags, .. } = &mut packet.body {
            *flags = 0;
        }
        for piece in later {
            self.compare(link, &packet, piece)?;
        }
        self.sent.insert(0, (by, sent));
        self.sent.truncate(REMEMBERED);
        Ok(())
    }

    /// Has a packet or a fragment of it come in. Tells what was sent by which link, whole.
    fn compare(
        &mut self,
        link: u8,
        packet: &Packet,
        piece: &Packet,
    ) -> Result<Option<(u8, Packet)>, String> {
        let outcome = self.come(link, piece)?;
        let side = if link == WAN { Side::Wan } else { Side::Lan };
        let observed = match side {
            Side::Lan => self.mapped(packet.protocol(), packet.source())?,
            Side::Wan => None,
        };
        let fate = self.reference.receive(side, packet, observed)?;
        judge(&fate, &outcome, piece)
    }

    fn come(&mut self, link: u8, packet: &Packet) -> Result<Outcome, String> {
        self.packets += 1;
        self.machine.receive(link, &packet.to_bytes()).map_err(failed)
    }

    /// The external endpoint that the machine says an internal one has.
    fn mapped(&self, number: u8, endpoint: Peer) -> Result<Option<Peer>, String> {
        let Some(protocol) = Protocol::from_ip(number) else { return Ok(None) };
        let key = EndpointKey::new(protocol, endpoint.0.into(), NetPort::new(endpoint.1));
        let external = self.machine.external(&key).map_err(failed)?;
        Ok(external.and_then(|external| {
            let addr = EXTERNALS.get(usize::from(external.pool_index))?;
            Some((*addr, external.port.get()))
        }))
    }

    fn open(
        &mut self,
        number: u8,
        port: u16,
        client: Peer,
        LetsIn { any, filter, remote, disabled }: LetsIn,
    ) -> Result<(), String> {
        let protocol = Protocol::from_ip(number).unwrap();
        // One at a time: to change a forward is to close it and to open it.
        let here = |forward: &Forward| forward.protocol == protocol && forward.port == port;
        while let Some(place) = self.forwards.iter().position(here) {
            let forward = self.forwards.swap_remove(place);
            self.close(&forward)?;
        }
        let remote = remote.map(|(server, seconds)| (topology::server(server).0, seconds));
        // The wildcard has none.
        let filter = filter.filter(|_| port != 0).map(|(server, prefix, by_port)| {
            let (network, port) = topology::server(server);
            RemoteFilter { network, prefix, port: if by_port { port } else { 0 } }
        });
        let forward = Forward {
            protocol,
            port,
            filters: filter.iter().map(encode).collect(),
            client: Endpoint { addr: client.0.into(), port: NetPort::new(client.1) },
            any_remote: any,
            remotes: remote.iter().map(|(addr, secs)| (NetAddr::from(*addr), *secs)).collect(),
            disabled,
        };
        let now = self.reference.now;
        let leases: HashMap<_, _> = any
            .map(|seconds| (Ipv4Addr::UNSPECIFIED, now + seconds * SECOND))
            .into_iter()
            .chain(remote.map(|(addr, seconds)| (addr, now + seconds * SECOND)))
            .collect();
        let reserved = disabled.map(|seconds| now + seconds * SECOND);
        let yielding = self.reference.yielding(number);
        let filters = filter.into_iter().collect();
        let terms = Terms { leases, filters, reserved, yielding };
        let external = (EXTERNALS[0], port);
        let wanted = self.reference.ports.open_forward(now, number, external, client, terms);
        let found = self.machine.open_forward(&forward).map_err(failed)?;
        if found != wanted {
            return Err(format!("opening {forward:?} told {found}, not {wanted}"));
        }
        if found {
            self.forwards.push(forward);
        }
        Ok(())
    }

    fn close(&mut self, forward: &Forward) -> Result<(), String> {
        self.machine.close_forward(forward).map_err(failed)?;
        let client = (forward.client.addr.into(), forward.client.port.get());
        let number = match forward.protocol {
            Protocol::Tcp => protocol::TCP,
            _ => protocol::UDP,
        };
        self.reference.close_forward(number, forward.port, client);
        Ok(())
    }
}

/// A filter as the packet path has it.
fn encode(filter: &RemoteFilter) -> filters::Filter {
    let mask = u32::MAX.checked_shl(32 - u32::from(filter.prefix)).unwrap_or(0);
    let network = Ipv4Addr::from_bits(filter.network.to_bits() & mask);
    filters::Filter::new(
        network.into(),
        Ipv4Addr::from_bits(mask).into(),
        NetPort::new(filter.port),
    )
}

impl World<'_, HostMachine> {
    /// Has any frame come in, and checks what must hold for all frames. The reference hears nothing of
    /// it.
    ///
    /// # Errors
    /// What does not hold.
    pub fn throw(&mut self, link: u8, bytes: &[u8]) -> Result<(), String> {
        let (verdict, found) = self.machine.process(link, bytes);
        let link = match verdict.decision() {
            Decision::Pass(_) | Decision::Drop(_) | Decision::Keep { .. } if found == bytes => {
                return Ok(());
            }
            Decision::Send { link } | Decision::Resolve { link } => link,
            Decision::Broadcast => topology::LAN,
            // The kernel answers or fragments it.
            Decision::Pass(counter) if LEFT_TRANSLATED.contains(&counter) => topology::LAN,
            _ => return Err(format!("{verdict:?}, and yet changed: {bytes:02x?}")),
        };
        let (Some(before), Some(after)) = (Packet::parse(bytes), Packet::parse(&found)) else {
            return Err(format!("{verdict:?} for no packet: {bytes:02x?}"));
        };
        if link == WAN && !EXTERNALS.contains(&after.src) {
            return Err(format!("a source of its own on the WAN: {after:?}"));
        }
        if before.ip_len() != after.ip_len() || found.len() != bytes.len() {
            return Err(format!("{before:?} has become {after:?}"));
        }
        // A right checksum stays right, and a wrong one wrong.
        if before.body.has_right_checksum() != after.body.has_right_checksum() {
            return Err(format!("{before:?} has become {after:?}"));
        }
        Ok(())
    }
}

/// What a machine could not do.
#[allow(clippy::needless_pass_by_value, reason = "as `map_err` wants it")]
fn failed(error: anyhow::Error) -> String {
    format!("the machine: {error:#}")
}

/// With the MAC addresses of whoever sends it in by a link.
fn addressed(link: u8, packet: Packet) -> Packet {
    let dst_mac = topology::router_mac(link);
    Packet { dst_mac, src_mac: topology::neighbour_mac(link, packet.src), ..packet }
}
