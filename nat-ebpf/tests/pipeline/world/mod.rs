//! The pipeline and the reference side by side, and what happens to them.

mod event;
mod rules;
mod topology;

pub use event::{Event, event};
pub use rules::{Rules, rules};

use crate::reference::{Fate, Reference, SECOND, Side, Terms};
use event::{LetsIn, PortPick};
use nat_common::ports::Endpoint;
use nat_common::session::{EndpointKey, ExternalEndpoint};
use nat_common::{Counter, NetAddr, NetPort, Protocol};
use nat_ebpf::host::packet::{Body, Packet, Peer, icmp, protocol};
use nat_ebpf::host::{Forward, HostFrame, HostTables};
use nat_ebpf::{Decision, Tables, process};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use topology::{EXTERNALS, TIMEOUTS, WAN};

/// What is counted here may be left to the kernel translated.
const LEFT_TRANSLATED: [u32; 2] = [Counter::PassTtl as u32, Counter::PassTooBig as u32];

/// Packets that can still be answered.
const REMEMBERED: usize = 24;

/// Both NATs.
pub struct World {
    tables: HostTables,
    reference: Reference,
    /// What was sent last, as it came out, with its link.
    sent: Vec<(u8, Packet)>,
    forwards: Vec<Forward>,
}

impl World {
    pub fn new(seed: u64, rules: Rules) -> Self {
        let Rules { modes, limits } = rules;
        let range = topology::PORTS;
        Self {
            tables: topology::tables(seed, &rules),
            reference: Reference::new(topology::ADDRESSES, TIMEOUTS, range, modes, limits),
            sent: Vec::new(),
            forwards: Vec::new(),
        }
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

    /// Has any frame come in, and checks what must hold for all frames. The reference hears nothing of
    /// it.
    pub fn throw(&mut self, link: u8, bytes: &[u8]) -> Result<(), String> {
        let mut frame = HostFrame::new(bytes);
        self.tables.set_ingress(link);
        let verdict = process(&mut frame, &self.tables, topology::side_of(link));
        let found = frame.to_bytes();
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

    /// Has something happen to both.
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
                    self.close(&forward);
                }
                Ok(())
            }
            Event::Wait(seconds) => {
                self.tables.advance(*seconds);
                self.reference.now += seconds * SECOND;
                Ok(())
            }
            Event::Connect(connected) => {
                self.settings(|settings| settings.connected = u16::from(*connected));
                self.reference.connected = *connected;
                Ok(())
            }
            Event::Sweep => {
                self.tables.sweep_clients();
                self.reference.sweep();
                Ok(())
            }
            Event::VoidSessions => {
                self.settings(|settings| settings.nat_generation += 1);
                self.reference.nat_generation += 1;
                Ok(())
            }
            Event::ChangeRoutes => {
                self.settings(|settings| settings.route_generation += 1);
                Ok(())
            }
            // An answer while there is nothing to answer.
            _ => Ok(()),
        }
    }

    fn settings(&mut self, change: impl FnOnce(&mut nat_common::settings::Settings)) {
        change(self.tables.settings.as_mut().unwrap());
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

    /// Has a packet come in, and compares.
    fn receive(&mut self, link: u8, packet: &Packet) -> Result<(), String> {
        let bytes = packet.to_bytes();
        let mut frame = HostFrame::new(&bytes);
        self.tables.set_ingress(link);
        let verdict = process(&mut frame, &self.tables, topology::side_of(link));
        let found = frame.to_bytes();

        let side = if link == WAN { Side::Wan } else { Side::Lan };
        let observed = self.mapped(packet.protocol(), packet.source());
        let fate = self.reference.receive(side, packet, observed)?;
        match (&fate, verdict.decision()) {
            (Fate::Pass, Decision::Pass(_)) | (Fate::Drop, Decision::Drop(_)) => {
                if found != bytes {
                    return Err(format!("{verdict:?}, and yet changed: {packet:?}"));
                }
            }
            (Fate::PassAs(wanted), Decision::Pass(_)) => {
                if found != wanted.to_bytes() {
                    let found = Packet::parse(&found);
                    return Err(format!("left as {found:?}, not as {wanted:?}"));
                }
            }
            (Fate::Send(wanted), Decision::Send { link: by }) => {
                let mut wanted = Packet::clone(wanted);
                let (link, next_hop) = topology::next_hop(wanted.dst);
                wanted.dst_mac = topology::neighbour_mac(link, next_hop);
                wanted.src_mac = topology::router_mac(link);
                if by != link || found != wanted.to_bytes() {
                    let found = Packet::parse(&found);
                    return Err(format!("sent by {by} is {found:?}, not by {link} {wanted:?}"));
                }
                if link == WAN && !EXTERNALS.contains(&wanted.src) {
                    return Err(format!("a source of its own on the WAN: {wanted:?}"));
                }
                self.sent.insert(0, (link, wanted));
                self.sent.truncate(REMEMBERED);
            }
            (Fate::Broadcast(wanted), Decision::Broadcast) => {
                // The kernel writes the MAC addresses, one copy after the other.
                if found != wanted.to_bytes() {
                    let found = Packet::parse(&found);
                    return Err(format!("sent to everybody is {found:?}, not {wanted:?}"));
                }
            }
            _ => return Err(format!("{verdict:?}, not {fate:?}, for {packet:?}")),
        }
        Ok(())
    }

    /// The external endpoint that the pipeline says an internal one has.
    fn mapped(&self, number: u8, endpoint: Peer) -> Option<Peer> {
        let protocol = Protocol::from_ip(number)?;
        let key = EndpointKey::new(protocol, endpoint.0.into(), NetPort::new(endpoint.1));
        let word = self.tables.endpoint(&key)?;
        let external = ExternalEndpoint::unpack(word.get());
        let addr = self.tables.pool_address(u32::from(external.pool_index))?;
        Some((addr.into(), external.port.get()))
    }

    fn open(
        &mut self,
        number: u8,
        port: u16,
        client: Peer,
        LetsIn { any, remote, disabled }: LetsIn,
    ) -> Result<(), String> {
        let protocol = Protocol::from_ip(number).unwrap();
        // One at a time: to change a forward is to close it and to open it.
        let here = |forward: &Forward| forward.protocol == protocol && forward.port == port;
        while let Some(place) = self.forwards.iter().position(here) {
            let forward = self.forwards.swap_remove(place);
            self.close(&forward);
        }
        let remote = remote.map(|(server, seconds)| (topology::server(server).0, seconds));
        let forward = Forward {
            protocol,
            port,
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
        let terms = Terms { leases, reserved, yielding };
        let external = (EXTERNALS[0], port);
        let wanted = self.reference.ports.open_forward(now, number, external, client, terms);
        let found = self.tables.open_forward(&forward).is_ok();
        if found != wanted {
            return Err(format!("opening {forward:?} told {found}, not {wanted}"));
        }
        if found {
            self.forwards.push(forward);
        }
        Ok(())
    }

    fn close(&mut self, forward: &Forward) {
        self.tables.close_forward(forward);
        let client = (forward.client.addr.into(), forward.client.port.get());
        let number = match forward.protocol {
            Protocol::Tcp => protocol::TCP,
            _ => protocol::UDP,
        };
        self.reference.close_forward(number, forward.port, client);
    }
}

/// With the MAC addresses of whoever sends it in by a link.
fn addressed(link: u8, packet: Packet) -> Packet {
    let dst_mac = topology::router_mac(link);
    Packet { dst_mac, src_mac: topology::neighbour_mac(link, packet.src), ..packet }
}
