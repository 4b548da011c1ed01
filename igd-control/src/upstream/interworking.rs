//! The gateway's table, mirrored at the server upstream (RFC 6970; the draft's sections 5.4 to 5.9).
//!
//! A mapping keeps one number: the external port of our NAT is that of the NAT upstream. Towards the
//! server our own address stands for the internal client, and the port of our NAT for its port (section
//! 5.6). Where the server chooses another number for a mapping whose port was ours to choose, the mapping
//! moves there.

use super::{Client, ClientConfig, EndReason, Event, Key, Service, Wanted};
use crate::igd::{Gateway, Outside};
use crate::mapping::{MappingKey, MappingRequest, PacketPath, PortMapping, Remembered};
use crate::policy::{Question, Via};
use crate::wire::pcp::{ResultCode, SERVER_PORT};
use nat_common::{BootTime, Protocol};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use uuid::Uuid;

/// Seconds of the mapping that is held for its address alone, and tells with each renewal whether the
/// server still knows us.
const HEARTBEAT: u32 = 120;
/// The port of that one: Discard, where nobody listens (RFC 6887 11.6).
const DISCARD: u16 = 9;
/// Seconds for which a port is asked for to see whether it is free (section 4.2).
const PROBE: u64 = 60;
/// Ports that are asked about at the same time.
const PROBES: usize = 32;

/// An external port, which our NAT and the one upstream call by the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Its number.
    pub number: u16,
}

impl From<&MappingKey> for Port {
    fn from(key: &MappingKey) -> Self {
        Self { protocol: key.protocol, number: key.external_port }
    }
}

/// What has become of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has granted it.
    Granted,
    /// The mapping has moved to this one, about which the server is still to be heard.
    Moved(Port),
    /// The server has refused it, and its mappings are gone.
    Refused(ResultCode),
    /// It has answered no renewal, and its mappings are gone.
    Lost,
    /// Nobody has it: what [`Interworking::probe`] wanted to know.
    Free,
}

/// What an operator is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The server, if it is known where it is.
    pub server: Option<SocketAddrV4>,
    /// What it is like; `None` while there is no address of our own.
    pub service: Option<Service>,
    /// Whether it is in service.
    pub in_service: bool,
    /// The external address that it has given last.
    pub address: Option<Ipv4Addr>,
    /// Mappings of the table in force there.
    pub held: usize,
    /// Mappings of the table wanted there.
    pub wanted: usize,
    /// How often it has lost its state.
    pub losses: u64,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(server) = self.server else { return f.write_str("no server is known") };
        write!(f, "{server}: ")?;
        match self.service {
            None => f.write_str("no address of our own to ask it from"),
            Some(Service::Unknown) => f.write_str("has not answered yet"),
            Some(Service::Silent) => f.write_str("does not answer"),
            Some(Service::NatPmp) => f.write_str("speaks NAT-PMP only, which is not used"),
            Some(Service::OtherVersion(version)) => write!(f, "speaks version {version} only"),
            Some(Service::Pcp) => {
                write!(f, "{} of {} mappings in force", self.held, self.wanted)
            }
        }
    }
}

/// The mirror.
#[derive(Clone, Debug)]
pub struct Interworking {
    client: Option<Client>,
    secret: Uuid,
    seed: u64,
    server: Option<SocketAddrV4>,
    /// Somebody has looked where the server is.
    looked: bool,
    address: Option<Ipv4Addr>,
    /// The table's count of changes when it was mirrored last.
    mirrored: Option<u32>,
    /// Ports that may be others, since nobody has been told of them yet.
    movable: HashSet<Port>,
    /// Ports that take the place of others upstream.
    moved: HashMap<Port, Port>,
    probes: HashSet<Port>,
    losses: u64,
    hides_private: bool,
}

impl Interworking {
    /// One that knows no server yet. Nonces are made of `secret`.
    pub fn new(secret: Uuid, seed: u64, hides_private: bool) -> Self {
        Self {
            client: None,
            secret,
            seed,
            server: None,
            looked: false,
            address: None,
            mirrored: None,
            movable: HashSet::new(),
            moved: HashMap::new(),
            probes: HashSet::new(),
            losses: 0,
            hides_private,
        }
    }

    /// The server is there from now on, or nowhere.
    pub fn server_is(&mut self, server: Option<Ipv4Addr>) {
        self.looked = true;
        self.server = server.map(|address| SocketAddrV4::new(address, SERVER_PORT));
    }

    /// The client of the server, with the address that it has to send from.
    pub fn client_mut(&mut self) -> Option<&mut Client> {
        self.client.as_mut()
    }

    /// Whether the server is in service: else the gateway is as if there were none (section 5.1).
    pub fn is_in_service(&self) -> bool {
        let Some(client) = &self.client else { return false };
        match client.service() {
            Service::Pcp => true,
            Service::Silent => client.lease(&heartbeat(client.config().own)).is_some(),
            Service::Unknown | Service::NatPmp | Service::OtherVersion(_) => false,
        }
    }

    /// Whether the answer about a port is worth waiting for: it is still to come, from a server that
    /// answers.
    pub fn is_pending(&self, port: Port) -> bool {
        self.client.as_ref().is_some_and(|client| {
            matches!(client.service(), Service::Unknown | Service::Pcp)
                && client.is_pending(&key(client.config().own, port))
        })
    }

    /// Seconds for which the server has granted a port.
    pub fn granted_for(&self, now: BootTime, port: Port) -> Option<u32> {
        let client = self.client.as_ref()?;
        let lease = client.lease(&key(client.config().own, port))?;
        u32::try_from(lease.until.secs_from(now)).ok()
    }

    /// A mapping was made whose port is ours to choose.
    pub fn may_move(&mut self, port: Port) {
        let granted = |client: &Client| client.lease(&key(client.config().own, port)).is_some();
        if !self.client.as_ref().is_some_and(granted) {
            self.movable.insert(port);
        }
    }

    /// Asks whether a port is free upstream; tells whether an answer will come.
    pub fn probe(&mut self, now: BootTime, port: Port) -> bool {
        if !self.is_in_service() || port.number == 0 || self.probes.len() >= PROBES {
            return false;
        }
        let Some(client) = &mut self.client else { return false };
        let key = key(client.config().own, port);
        if client.wants(&key) {
            return self.probes.contains(&port);
        }
        client.want(now, key, Wanted::exactly(port.number, now.plus_secs(PROBE)));
        self.probes.insert(port);
        true
    }

    /// What an operator is told.
    pub fn state(&self) -> State {
        let figures = |client: &Client| {
            let (held, wanted) = client.figures();
            let heartbeat = heartbeat(client.config().own);
            let alive = usize::from(client.lease(&heartbeat).is_some());
            let beats = usize::from(client.wants(&heartbeat));
            (held.saturating_sub(alive), wanted.saturating_sub(beats))
        };
        let (held, wanted) = self.client.as_ref().map_or((0, 0), figures);
        State {
            server: self.server,
            service: self.client.as_ref().map(Client::service),
            in_service: self.is_in_service(),
            address: self.address.filter(|_| self.is_in_service()),
            held,
            wanted,
            losses: self.losses,
        }
    }

    /// Brings table and server together: to be called when either may have changed, and when the client
    /// says that it is time.
    pub fn follow<P: PacketPath>(
        &mut self,
        now: BootTime,
        gateway: &mut Gateway<P>,
    ) -> Vec<(Port, Outcome)> {
        self.attach(gateway.path().external_address());
        let mut outcomes = Vec::new();
        loop {
            self.mirror(now, gateway);
            let Some(client) = &mut self.client else { break };
            client.tick(now);
            let events = client.take_events();
            if events.is_empty() {
                break;
            }
            for event in events {
                self.apply(now, gateway, event, &mut outcomes);
            }
        }
        gateway
            .set_outside(Outside { upstream: self.outside(), hides_private: self.hides_private });
        outcomes
    }

    /// The external address, as far as the server has a say in it. As long as it may still answer for the
    /// first time there is none: our own, told meanwhile, would soon be another one.
    fn outside(&self) -> Option<Option<Ipv4Addr>> {
        let unknown = match &self.client {
            Some(client) => client.service() == Service::Unknown,
            None => !self.looked,
        };
        match self.is_in_service() {
            true => Some(self.address),
            false => unknown.then_some(None),
        }
    }

    /// Begins anew where we, or the server, have another address: nothing that was is reached from here
    /// any more.
    fn attach(&mut self, own: Option<Ipv4Addr>) {
        let ends = own.zip(self.server);
        let current =
            self.client.as_ref().map(|client| (client.config().own, client.config().server));
        if ends == current {
            return;
        }
        self.seed = self.seed.wrapping_add(1);
        let (secret, seed) = (self.secret, self.seed);
        self.client =
            ends.map(|(own, server)| Client::new(ClientConfig { own, server, secret, seed }));
        self.address = None;
        self.mirrored = None;
        self.moved.clear();
        self.probes.clear();
    }

    /// Has the client want what the table holds.
    fn mirror<P: PacketPath>(&mut self, now: BootTime, gateway: &Gateway<P>) {
        let Some(client) = &mut self.client else { return };
        let changes = gateway.table().changes();
        if self.mirrored.replace(changes) == Some(changes) {
            return;
        }
        let own = client.config().own;
        let mut wanted: HashMap<Port, BootTime> = HashMap::new();
        for mapping in gateway.table().iter().filter(|mapping| mapping.key.external_port != 0) {
            let until = wanted.entry(Port::from(&mapping.key)).or_default();
            *until = mapping.deadline.max(*until);
        }
        let heartbeat = heartbeat(own);
        let probes = &self.probes;
        let gone = |key: &Key| {
            let port = port(key);
            *key != heartbeat && !wanted.contains_key(&port) && !probes.contains(&port)
        };
        let gone: Vec<Key> = client.keys().filter(gone).collect();
        for key in &gone {
            client.forget(now, key);
        }
        self.movable.retain(|port| wanted.contains_key(port));
        self.moved.retain(|port, _| wanted.contains_key(port));
        self.probes.retain(|port| !wanted.contains_key(port));
        for (port, until) in wanted {
            let exactly = !self.movable.contains(&port);
            let wanted = Wanted { exactly, ..Wanted::about(port.number, until) };
            let after = self.moved.get(&port).map(|from| key(own, *from));
            let key = key(own, port);
            if key != heartbeat {
                client.want_after(now, key, wanted, after);
            }
        }
        let alive = Wanted::about(0, BootTime::NEVER);
        client.want(now, heartbeat, Wanted { longest: HEARTBEAT, ..alive });
    }

    fn apply<P: PacketPath>(
        &mut self,
        now: BootTime,
        gateway: &mut Gateway<P>,
        event: Event,
        outcomes: &mut Vec<(Port, Outcome)>,
    ) {
        let Some(client) = &mut self.client else { return };
        let heartbeat = heartbeat(client.config().own);
        match event {
            Event::StateLost => {
                self.losses += 1;
                tracing::warn!("the NAT upstream has lost its mappings: they are made again");
            }
            Event::Granted(key, lease) => {
                if self.address.replace(lease.address) != Some(lease.address) {
                    tracing::info!(address = %lease.address, "external address of the NAT upstream");
                }
                let port = port(&key);
                if key == heartbeat {
                } else if self.probes.remove(&port) {
                    client.forget(now, &key);
                    outcomes.push((port, Outcome::Free));
                } else if lease.port == port.number {
                    self.movable.remove(&port);
                    outcomes.push((port, Outcome::Granted));
                } else {
                    let to = Port { number: lease.port, ..port };
                    outcomes.push((port, self.move_to(now, gateway, port, to)));
                }
            }
            Event::Refused(key, _) | Event::Ended(key, _) if key == heartbeat => {}
            Event::Refused(key, code) => {
                let port = port(&key);
                if self.probes.remove(&port) {
                    client.forget(now, &key);
                } else {
                    gateway.drop_leased(now, port.protocol, port.number);
                    let (number, protocol) = (port.number, port.protocol.name());
                    tracing::info!(port = number, protocol, "refused by the NAT upstream: {code}");
                }
                outcomes.push((port, Outcome::Refused(code)));
            }
            Event::Ended(key, why) => {
                let port = port(&key);
                gateway.drop_leased(now, port.protocol, port.number);
                let (number, protocol) = (port.number, port.protocol.name());
                let (outcome, why) = match why {
                    EndReason::Unanswered => (Outcome::Lost, "no answer".to_owned()),
                    EndReason::Refused(code) => (Outcome::Refused(code), code.to_string()),
                };
                tracing::warn!(port = number, protocol, "ended by the NAT upstream: {why}");
                outcomes.push((port, outcome));
            }
        }
    }

    /// The server has given another port: the mapping moves there, if it can have that one here, too.
    fn move_to<P: PacketPath>(
        &mut self,
        now: BootTime,
        gateway: &mut Gateway<P>,
        from: Port,
        to: Port,
    ) -> Outcome {
        let parts = gateway.parts(now);
        let ports = from.number..=from.number;
        let there: Vec<MappingRequest> = parts
            .table
            .range(from.protocol, ports)
            .filter(|mapping| !mapping.is_static())
            .map(|mapping| Remembered::from(mapping).mapping)
            .collect();
        let policy = parts.policy;
        let mut possible = self.movable.remove(&from) && !there.is_empty();
        let mut added = Vec::new();
        for request in &there {
            let key = MappingKey { external_port: to.number, ..request.key };
            let asked = Question {
                requester: (*request.internal.ip()).into(),
                client: (*request.internal.ip()).into(),
                protocol: to.protocol,
                external_port: to.number,
                internal_port: request.internal.port(),
                remote: request.key.remote.map(Into::into),
                via: Via::Upnp,
            };
            let fits = |_| policy.decide(&asked).allowed;
            let request = MappingRequest { key, ..request.clone() };
            possible = possible && parts.table.add_wanted(parts.path, now, &request, &fits).is_ok();
            if possible {
                added.push(key);
            }
        }
        let leased = |mapping: &PortMapping| !mapping.is_static();
        let ports = from.number..=from.number;
        parts.table.remove_range(parts.path, now, from.protocol, ports, leased);
        if possible {
            self.moved.insert(to, from);
            return Outcome::Moved(to);
        }
        for key in added {
            parts.table.remove(parts.path, now, &key);
        }
        Outcome::Refused(ResultCode::CannotProvideExternal)
    }
}

const fn key(own: Ipv4Addr, port: Port) -> Key {
    Key { protocol: port.protocol, internal: SocketAddrV4::new(own, port.number) }
}

const fn port(key: &Key) -> Port {
    Port { protocol: key.protocol, number: key.internal.port() }
}

const fn heartbeat(own: Ipv4Addr) -> Key {
    key(own, Port { protocol: Protocol::Udp, number: DISCARD })
}
