//! A NAT as plain as it can be, to compare the pipeline with: hash maps, whole packets, and nothing
//! taken from the pipeline. What it does follows from the RFCs and from what the documents promise.
//!
//! Which port a new mapping gets is left to the pipeline, within rules that are checked.

mod filter;
mod limits;
mod ports;
mod tcp;
mod track;

use filter::{Filter, Pair};
use limits::Clients;
use nat_ebpf::host::packet::{Body, Packet, Peer, flags, icmp, protocol};
use ports::{PortTable, Range};
pub use ports::{RemoteFilter, Terms};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use tcp::Connection;

pub use filter::{Mode, Modes};
pub use limits::Limits;

/// Parts of a second.
pub type Ticks = u64;
/// Ticks in a second.
pub const SECOND: Ticks = 256;

/// On which side a packet is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Lan,
    Wan,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Pass,
    /// Left to the kernel like this.
    PassAs(Box<Packet>),
    Drop,
    Send(Box<Packet>),
    /// Sent to everybody in every LAN.
    Broadcast(Box<Packet>),
}

/// Idle times in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub udp: u64,
    pub icmp: u64,
    pub tcp_established: u64,
    pub tcp_transitory: u64,
}

/// Who is who.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// External addresses; port forwards are on the first.
    pub externals: [Ipv4Addr; 3],
    /// The router's address in each LAN; the first three octets are the LAN's.
    pub routers: [Ipv4Addr; 2],
}

impl Addresses {
    pub fn is_external(&self, addr: Ipv4Addr) -> bool {
        self.externals.contains(&addr)
    }

    pub fn is_internal(&self, addr: Ipv4Addr) -> bool {
        self.routers.iter().any(|router| router.octets()[..3] == addr.octets()[..3])
    }
}

/// A flow as seen on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    side: Side,
    protocol: u8,
    src: Peer,
    dst: Peer,
}

/// How the packets of one direction of a session are translated.
#[derive(Clone, Copy, Debug)]
struct Half {
    new_src: Peer,
    new_dst: Peer,
    /// The key of the other direction.
    other: Key,
    deadline: Ticks,
    hairpin: bool,
    /// The packets of the one that was called, if that is an internal client.
    answering: bool,
    opened_outside: bool,
    /// Bound to the port forward that let it in.
    bound: bool,
    /// In which generation it was made.
    generation: u32,
    connection: Connection,
}

/// The NAT.
#[derive(Debug)]
pub struct Reference {
    pub now: Ticks,
    pub connected: bool,
    pub nat_generation: u32,
    pub ports: PortTable,
    forward_generation: u32,
    addresses: Addresses,
    timeouts: Timeouts,
    halves: HashMap<Key, Half>,
    filter: Filter,
    clients: Clients,
}

/// What a new session is to be.
struct Opening {
    key: Key,
    /// Whom an internal client is called through the external address, or by the outside.
    called: Option<Peer>,
    /// Until when a port forward lets the caller in, if one does.
    lease: Option<Ticks>,
    /// That forward is the one of every port that is not otherwise mapped.
    by_wildcard: bool,
}

impl Opening {
    fn calls_everybody(&self) -> bool {
        self.called.is_some_and(|(addr, _)| addr.is_broadcast())
    }
}

impl Opening {
    fn is_query(&self) -> bool {
        self.key.side == Side::Lan && self.key.protocol == protocol::ICMP
    }

    /// The external endpoint that is called.
    fn called_endpoint(&self) -> Peer {
        let port = if self.is_query() { self.key.src.1 } else { self.key.dst.1 };
        (self.key.dst.0, port)
    }
}

impl Reference {
    pub fn new(
        addresses: Addresses,
        timeouts: Timeouts,
        range: (u16, u16),
        modes: Modes,
        limits: Limits,
    ) -> Self {
        Self {
            now: 0,
            connected: true,
            nat_generation: 0,
            ports: PortTable::new(Range { first: range.0, last: range.1 }),
            forward_generation: 0,
            addresses,
            timeouts,
            halves: HashMap::new(),
            filter: Filter::new(modes),
            clients: Clients::new(limits),
        }
    }

    /// A packet for the router's MAC address comes in. `observed` is the external
    /// endpoint that the pipeline says its source has, if it has one.
    ///
    /// # Errors
    /// What the pipeline must not have done.
    pub fn receive(
        &mut self,
        side: Side,
        packet: &Packet,
        observed: Option<Peer>,
    ) -> Result<Fate, String> {
        let key = Key {
            side,
            protocol: packet.protocol(),
            src: packet.source(),
            dst: packet.destination(),
        };
        if side == Side::Lan && is_answer(packet) && (key.dst.1 == 0 || !self.is_live(&key)) {
            return Ok(self.without_session(packet));
        }
        if !self.is_live(&key) {
            match self.plan(key, packet) {
                Ok(opening) if opening.calls_everybody() => {
                    return self.deliver(&opening, packet, observed);
                }
                Ok(opening) => {
                    if let Some(fate) = self.open(&opening, packet, observed)? {
                        return Ok(fate);
                    }
                }
                Err(fate) => return Ok(fate),
            }
        }
        Ok(self.translate(&key, packet))
    }

    /// Until when flows of the wildcard may hold a port that a forward takes over: only established
    /// connections hold one for longer.
    pub fn yielding(&self, protocol: u8) -> Ticks {
        match protocol {
            protocol::TCP => {
                let idle = self.timeouts.tcp_transitory * SECOND;
                self.now + idle + idle / 16
            }
            _ => Ticks::MAX,
        }
    }

    /// Closes a port forward.
    pub fn close_forward(&mut self, protocol: u8, port: u16, client: Peer) {
        let external = (self.addresses.externals[0], port);
        self.ports.close_forward(self.now, protocol, external, client);
        self.forward_generation += 1;
    }

    /// What becomes of a LAN packet that can have no session.
    fn without_session(&self, packet: &Packet) -> Fate {
        let stays =
            self.addresses.is_external(packet.dst) || self.addresses.is_internal(packet.dst);
        if stays { Fate::Pass } else { Fate::Drop }
    }

    /// Decides whether there will be a session.
    fn plan(&self, key: Key, packet: &Packet) -> Result<Opening, Fate> {
        let mut opening = Opening { key, called: None, lease: None, by_wildcard: false };
        if key.side == Side::Lan {
            if self.addresses.is_external(packet.src) {
                return Err(Fate::Drop);
            }
            if self.addresses.is_internal(packet.dst) {
                return Err(Fate::Pass);
            }
            if self.addresses.is_external(packet.dst) {
                self.admit(&mut opening)?;
            }
        } else {
            if self.addresses.is_internal(packet.dst) {
                return Err(Fate::Drop);
            }
            self.admit(&mut opening)?;
            if self.addresses.is_external(packet.src) || self.addresses.is_internal(packet.src) {
                return Err(Fate::Drop);
            }
        }
        let is_reset = flags_of(packet) & flags::RST != 0;
        if !self.connected || is_reset { Err(Fate::Drop) } else { Ok(opening) }
    }

    /// Whether somebody may call an external port by himself.
    fn admit(&self, opening: &mut Opening) -> Result<(), Fate> {
        let Key { protocol, src: remote, .. } = opening.key;
        let external = opening.called_endpoint();
        if protocol != protocol::ICMP {
            if external.1 == 0 {
                return Err(Fate::Pass);
            }
            if let Some((client, until)) =
                self.ports.by_wildcard(self.now, protocol, external, remote)
            {
                opening.called = Some(client);
                opening.lease = Some(until);
                opening.by_wildcard = true;
                return Ok(());
            }
        }
        let Some(held) = self.ports.held(self.now, protocol, external) else {
            let routers = protocol == protocol::ICMP || !self.ports.range.contains(external.1);
            return Err(if routers { Fate::Pass } else { Fate::Drop });
        };
        // A client that pings with its own identifier pings the router.
        if opening.is_query() && held.owner.0 == remote.0 {
            return Err(Fate::Pass);
        }
        opening.called = Some(held.owner);
        if held.is_leased(self.now) {
            let until = held.lets_in(remote);
            opening.lease = Some(until);
            if until > self.now { Ok(()) } else { Err(Fate::Drop) }
        } else {
            let Key { side, protocol, src: other, .. } = opening.key;
            let pair = Pair { protocol, external, holder: held.owner, other, hairpin: false };
            // Who calls from the LAN is known once he has a port.
            let let_in = side == Side::Lan || self.lets_in(&pair);
            if held.opened_inside && let_in { Ok(()) } else { Err(Fate::Drop) }
        }
    }

    /// Delivers a packet to everybody in every LAN, without a session.
    fn deliver(
        &mut self,
        opening: &Opening,
        packet: &Packet,
        observed: Option<Peer>,
    ) -> Result<Fate, String> {
        let Key { side, protocol, src, .. } = opening.key;
        let idle = self.idle_time(protocol, &Connection::default());
        let mut sent = packet.clone();
        if side == Side::Lan {
            let deadline = self.now + idle + idle / 16;
            if !self.may_be_mapped(protocol, src) {
                return Ok(Fate::Drop);
            }
            sent.set_source(self.ports.map(self.now, protocol, src, deadline, observed)?);
        }
        if packet.ttl <= 1 {
            return Ok(Fate::Drop);
        }
        sent.ttl -= 1;
        sent.set_destination(opening.called.unwrap());
        Ok(Fate::Broadcast(Box::new(sent)))
    }

    /// Makes both halves of a session, or tells why not.
    fn open(
        &mut self,
        opening: &Opening,
        packet: &Packet,
        observed: Option<Peer>,
    ) -> Result<Option<Fate>, String> {
        let Key { side, protocol, src, dst } = opening.key;
        let charged = match (side, opening.called) {
            (Side::Wan, Some(called)) => called.0,
            _ => src.0,
        };
        if !self.clients.may_have_a_session(self.now, charged, side == Side::Lan) {
            return Ok(Some(Fate::Drop));
        }
        // Before that is mapped: the opener's own port might become the one that is called.
        if let (Side::Lan, Some(called)) = (side, opening.called)
            && !opening.is_query()
        {
            let moment = self.now + SECOND;
            if opening.by_wildcard {
                self.ports.hold_by_wildcard(self.now, protocol, dst, called, moment);
            } else {
                self.ports.extend(self.now, protocol, dst, called, moment);
            }
        }
        let idle = self.idle_time(protocol, &Connection::default());
        let mut deadline = self.now + idle + idle / 16;
        let bound = opening.lease.is_some() && protocol == protocol::UDP;
        let opener_seen = if side == Side::Lan {
            if !self.may_be_mapped(protocol, src) {
                return Ok(Some(Fate::Drop));
            }
            self.ports.map(self.now, protocol, src, deadline, observed)?
        } else {
            src
        };
        let hairpin = side == Side::Lan && opening.called.is_some();
        if side == Side::Lan {
            let external = opener_seen;
            self.meets(&Pair { protocol, external, holder: src, other: dst, hairpin }, deadline);
        }
        let is_query = hairpin && protocol == protocol::ICMP;
        if let (true, Some(holder), None) = (hairpin, opening.called, opening.lease) {
            let other = if is_query { (opener_seen.0, 0) } else { opener_seen };
            let pair =
                Pair { protocol, external: opening.called_endpoint(), holder, other, hairpin };
            if !self.lets_in(&pair) {
                return Ok(Some(if is_query { Fate::Pass } else { Fate::Drop }));
            }
        }
        if is_query && opener_seen.1 == 0 {
            return Ok(Some(Fate::Pass));
        }
        if let (true, Some(lease)) = (bound, opening.lease) {
            deadline = deadline.min(lease);
        }
        let holds = |ports: &mut PortTable, called| {
            if opening.by_wildcard {
                ports.hold_by_wildcard(self.now, protocol, dst, called, deadline)
            } else {
                ports.extend(self.now, protocol, dst, called, deadline)
            }
        };
        if let (false, Some(called)) = (is_query, opening.called)
            && !holds(&mut self.ports, called)
        {
            return Err(format!("{dst:?} is not {called:?}'s any more"));
        }
        let opened_outside = side == Side::Wan;
        let called = match opening.called {
            // One identifier is all that a packet has, and it is the caller's.
            Some((addr, _)) if is_query => (addr, 0),
            Some(called) => called,
            None => dst,
        };
        let called_side = if opening.called.is_some() { Side::Lan } else { Side::Wan };
        let answer = Key { side: called_side, protocol, src: called, dst: opener_seen };
        let mut connection = Connection::default();
        if protocol == protocol::TCP {
            connection.note(flags_of(packet), opened_outside, opened_outside);
        }
        let generation = if bound { self.forward_generation } else { self.nat_generation };
        let half = Half {
            new_src: opener_seen,
            new_dst: called,
            other: answer,
            deadline,
            hairpin,
            answering: false,
            opened_outside,
            bound,
            generation,
            connection,
        };
        let answering =
            Half { new_src: dst, new_dst: src, other: opening.key, answering: true, ..half };
        self.clients.of(charged).sessions += 1;
        self.halves.insert(answer, answering);
        self.halves.insert(opening.key, half);
        Ok(None)
    }

    /// Sends a packet of a session on.
    fn translate(&mut self, key: &Key, packet: &Packet) -> Fate {
        let half = self.halves[key];
        let outbound = key.side == Side::Lan && !half.hairpin;
        if !self.connected {
            return Fate::Drop;
        }
        if packet.ttl <= 1 {
            return match (outbound, half.hairpin) {
                (true, _) => Fate::Pass,
                (false, true) => Fate::Drop,
                // The kernel answers, about the packet that it would have forwarded.
                (false, false) => {
                    let mut left = packet.clone();
                    left.set_source(half.new_src);
                    left.set_destination(half.new_dst);
                    Fate::PassAs(Box::new(left))
                }
            };
        }
        if !self.follow(key, flags_of(packet)) {
            return Fate::Drop;
        }
        let mut sent = packet.clone();
        sent.set_source(half.new_src);
        sent.set_destination(half.new_dst);
        sent.ttl -= 1;
        Fate::Send(Box::new(sent))
    }

    fn idle_time(&self, protocol: u8, connection: &Connection) -> Ticks {
        let seconds = match protocol {
            protocol::UDP => self.timeouts.udp,
            protocol::ICMP => self.timeouts.icmp,
            _ if connection.is_established() => self.timeouts.tcp_established,
            _ => self.timeouts.tcp_transitory,
        };
        seconds * SECOND
    }
}

/// The answer to a ping.
fn is_answer(packet: &Packet) -> bool {
    matches!(packet.body, Body::Icmp { kind: icmp::ECHO_REPLY, .. })
}

fn flags_of(packet: &Packet) -> u8 {
    match &packet.body {
        Body::Tcp { flags, .. } => *flags,
        _ => 0,
    }
}
