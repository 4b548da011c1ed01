//! A NAT as plain as it can be, to compare the pipeline with: hash maps, whole packets, and nothing
//! taken from the pipeline. What it does follows from the RFCs and from what the documents promise.
//!
//! Which port a new mapping gets is left to the pipeline, within rules that are checked.

mod ports;
mod tcp;
mod track;

use nat_ebpf::host::packet::{Body, Packet, Peer, flags, protocol};
use ports::{PortTable, Range};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use tcp::Connection;

/// Sixteenths of a second.
pub type Ticks = u64;
/// Ticks in a second.
pub const SECOND: Ticks = 16;

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
    Drop,
    Send(Box<Packet>),
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
}

/// What a new session is to be.
struct Opening {
    key: Key,
    /// Whom an internal client is called through the external address, or by the outside.
    called: Option<Peer>,
    /// Until when a port forward lets the caller in, if one does.
    lease: Option<Ticks>,
}

impl Reference {
    pub fn new(addresses: Addresses, timeouts: Timeouts, range: (u16, u16)) -> Self {
        Self {
            now: 0,
            connected: true,
            nat_generation: 0,
            ports: PortTable::new(Range { first: range.0, last: range.1 }),
            forward_generation: 0,
            addresses,
            timeouts,
            halves: HashMap::new(),
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
        if !self.is_live(&key) {
            match self.plan(key, packet) {
                Ok(opening) => self.open(&opening, packet, observed)?,
                Err(fate) => return Ok(fate),
            }
        }
        Ok(self.translate(&key, packet))
    }

    /// Closes a port forward.
    pub fn close_forward(&mut self, protocol: u8, port: u16, client: Peer) {
        let external = (self.addresses.externals[0], port);
        self.ports.close_forward(self.now, protocol, external, client);
        self.forward_generation += 1;
    }

    /// Decides whether there will be a session.
    fn plan(&self, key: Key, packet: &Packet) -> Result<Opening, Fate> {
        let mut opening = Opening { key, called: None, lease: None };
        if key.side == Side::Lan {
            if self.addresses.is_external(packet.src) {
                return Err(Fate::Drop);
            }
            if self.addresses.is_internal(packet.dst) {
                return Err(Fate::Pass);
            }
            if self.addresses.is_external(packet.dst) {
                if key.protocol == protocol::ICMP {
                    return Err(Fate::Pass);
                }
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
        let Key { protocol, dst: external, src: (remote, _), .. } = opening.key;
        let Some(held) = self.ports.held(self.now, protocol, external) else {
            let routers = protocol == protocol::ICMP || !self.ports.range.contains(external.1);
            return Err(if routers { Fate::Pass } else { Fate::Drop });
        };
        opening.called = Some(held.owner);
        if held.is_leased(self.now) {
            let until = held.lets_in(remote);
            opening.lease = Some(until);
            if until > self.now { Ok(()) } else { Err(Fate::Drop) }
        } else if held.opened_inside {
            Ok(())
        } else {
            Err(Fate::Drop)
        }
    }

    /// Makes both halves of a session.
    fn open(
        &mut self,
        opening: &Opening,
        packet: &Packet,
        observed: Option<Peer>,
    ) -> Result<(), String> {
        let Key { side, protocol, src, dst } = opening.key;
        let idle = self.idle_time(protocol, &Connection::default());
        let mut deadline = self.now + idle + idle / 16;
        let bound = opening.lease.is_some() && protocol == protocol::UDP;
        // First of all the opener's own port.
        let opener_seen = if side == Side::Lan {
            self.ports.map(self.now, protocol, src, deadline, observed)?
        } else {
            src
        };
        if let (true, Some(lease)) = (bound, opening.lease) {
            deadline = deadline.min(lease);
        }
        if let Some(called) = opening.called
            && !self.ports.extend(self.now, protocol, dst, called, deadline)
        {
            return Err(format!("{dst:?} is not {called:?}'s any more"));
        }
        let hairpin = side == Side::Lan && opening.called.is_some();
        let opened_outside = side == Side::Wan;
        let called = opening.called.unwrap_or(dst);
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
        self.halves.insert(answer, answering);
        self.halves.insert(opening.key, half);
        Ok(())
    }

    /// Sends a packet of a session on.
    fn translate(&mut self, key: &Key, packet: &Packet) -> Fate {
        let half = self.halves[key];
        let outbound = key.side == Side::Lan && !half.hairpin;
        if !self.connected {
            return Fate::Drop;
        }
        if packet.ttl <= 1 {
            return if outbound { Fate::Pass } else { Fate::Drop };
        }
        self.follow(key, flags_of(packet));
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

fn flags_of(packet: &Packet) -> u8 {
    match &packet.body {
        Body::Tcp { flags, .. } => *flags,
        _ => 0,
    }
}
