//! The gateway's table, mirrored at the server upstream (RFC 6970; the draft's sections 5.4 to 5.9).
//!
//! A mapping keeps one number: the external port of our NAT is that of the NAT upstream. Towards the
//! server our own address stands for the internal client, and the port of our NAT for its port (section
//! 5.6); without a NAT here it is told the client's own (section 5.5). A server that is asked by IPv6 is
//! told the same, by THIRD_PARTY: the NAT upstream translates packets of IPv4, whose source is the LAN
//! host's address or, with a NAT here, our own, and never the address that the request comes from. Where the server chooses another
//! number for a mapping whose port was ours to choose, the mapping moves there.

mod endpoints;
mod mirror;
mod peers;
mod state;

pub use state::State;

use super::{Client, ClientConfig, Key, ServerPlace, Service, Wanted, Xlat};
use crate::igd::{Gateway, Outside, PrivateAddress};
use crate::mapping::{MappingKey, PacketPath, PeerKey};
use crate::wire::pcp::ResultCode;
use endpoints::Endpoints;
use nat_common::{BootTime, Protocol};
use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use uuid::Uuid;

/// The port of the mapping that is held for its address: Discard, where nobody listens (RFC 6887 11.6).
const DISCARD: u16 = 9;
/// The same for servers that map no privileged ports: one that our NAT gives to no client, since it lies in
/// the router's own range.
const UNPRIVILEGED: u16 = 40_009;
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

/// What the mirror is told at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterworkingConfig {
    /// What the nonces are made of.
    pub secret: Uuid,
    /// Where random pauses begin.
    pub seed: u64,
    /// Whether packets are translated here, too.
    pub nat: bool,
    /// What control points are told of an external address that the Internet does not route.
    pub private_address: PrivateAddress,
    /// How addresses are written to a server that is asked by IPv6, where its NAT is a NAT64.
    pub xlat: Option<Xlat>,
}

/// The mirror.
#[derive(Clone, Debug)]
pub struct Interworking {
    config: InterworkingConfig,
    client: Option<Client>,
    endpoints: Endpoints,
    server: Option<ServerPlace>,
    /// Somebody has looked where the server is.
    looked: bool,
    /// The last one has not answered: another one is not waited for before it does.
    doubted: bool,
    /// The internal port of the mapping for the address.
    heartbeat_port: u16,
    /// With which error that mapping is refused.
    refusal: Option<ResultCode>,
    address: Option<Ipv4Addr>,
    /// The counts of changes, of the table and of what PEER has asked for, when they were mirrored last.
    mirrored: Option<(u32, u32)>,
    /// What is asked for by PEER, as the server knows it.
    peers: HashMap<Key, PeerKey>,
    peer_keys: HashMap<PeerKey, Key>,
    peer_outcomes: Vec<(PeerKey, Outcome)>,
    /// It knows no PEER.
    no_peer: bool,
    /// Ports that may be others, since nobody has been told of them yet.
    movable: HashSet<Port>,
    /// Ports that take the place of others upstream.
    moved: HashMap<Port, Port>,
    probes: HashSet<Port>,
    losses: u64,
}

impl Interworking {
    /// One that knows no server yet.
    pub fn new(config: InterworkingConfig) -> Self {
        Self {
            config,
            client: None,
            endpoints: Endpoints::new(config.nat),
            server: None,
            looked: false,
            doubted: false,
            heartbeat_port: DISCARD,
            refusal: None,
            address: None,
            mirrored: None,
            peers: HashMap::new(),
            peer_keys: HashMap::new(),
            peer_outcomes: Vec::new(),
            no_peer: false,
            movable: HashSet::new(),
            moved: HashMap::new(),
            probes: HashSet::new(),
            losses: 0,
        }
    }

    /// The server is there from now on, or nowhere.
    pub fn server_is(&mut self, server: Option<ServerPlace>) {
        self.looked = true;
        self.server = server;
    }

    /// Whether the server is worth leaving for another one: it does not answer, and holds nothing.
    pub fn is_mute(&self) -> bool {
        self.client.as_ref().is_some_and(|client| {
            client.service() == Service::Silent && client.leases().next().is_none()
        })
    }

    /// The client of the server, with the address that it has to send from.
    pub fn client_mut(&mut self) -> Option<&mut Client> {
        self.client.as_mut()
    }

    /// Whether the server is in service: else the gateway is as if there were none (section 5.1).
    pub fn is_in_service(&self) -> bool {
        let Some(client) = &self.client else { return false };
        match client.service() {
            Service::Pcp | Service::NatPmp => true,
            Service::Silent => client.lease(&self.heartbeat(client)).is_some(),
            Service::Unknown | Service::OtherVersion(_) => false,
        }
    }

    /// Whether the answer about a port is worth waiting for: it is still to come, from a server that
    /// answers.
    pub fn is_pending(&self, port: Port) -> bool {
        self.client.as_ref().is_some_and(|client| {
            let may_answer = match client.service() {
                Service::Pcp | Service::NatPmp => true,
                Service::Unknown => !self.doubted,
                Service::OtherVersion(_) | Service::Silent => false,
            };
            may_answer && client.is_pending(&self.endpoints.key(client, port))
        })
    }

    /// Whether a mapping of the table lets nobody in: there is no NAT here, and the one upstream has not
    /// granted it.
    pub fn is_shut(&self, port: Port) -> bool {
        let granted = |client: &Client| client.lease(&self.endpoints.key(client, port)).is_some();
        !self.config.nat && !self.client.as_ref().is_some_and(granted)
    }

    /// Seconds for which the server has granted a port.
    pub fn granted_for(&self, now: BootTime, port: Port) -> Option<u32> {
        let client = self.client.as_ref()?;
        let lease = client.lease(&self.endpoints.key(client, port))?;
        u32::try_from(lease.until.secs_from(now)).ok()
    }

    /// A mapping was made whose port is ours to choose.
    pub fn may_move(&mut self, port: Port) {
        let granted = |client: &Client| client.lease(&self.endpoints.key(client, port)).is_some();
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
            let (held, wanted) = client.figures(false);
            let heartbeat = self.heartbeat(client);
            let alive = usize::from(client.lease(&heartbeat).is_some());
            let beats = usize::from(client.wants(&heartbeat));
            let unproven = client.leases().filter(|lease| lease.filter_echoed).count();
            (held.saturating_sub(alive), wanted.saturating_sub(beats), unproven)
        };
        let (held, wanted, unproven) = self.client.as_ref().map_or((0, 0, 0), figures);
        State {
            server: self.server.map(|place| place.server()),
            service: self.client.as_ref().map(Client::service),
            in_service: self.is_in_service(),
            address: self.address.filter(|_| self.is_in_service()),
            held,
            wanted,
            unproven,
            peers: self.client.as_ref().map_or(0, |client| client.figures(true).0),
            no_peer: self.no_peer,
            refusal: self.refusal,
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
            self.doubted = match client.service() {
                Service::Silent => true,
                Service::Unknown => self.doubted,
                _ => false,
            };
            let events = client.take_events();
            if events.is_empty() {
                break;
            }
            for event in events {
                self.apply(now, gateway, event, &mut outcomes);
            }
        }
        gateway.set_outside(Outside {
            upstream: self.outside(),
            seen: self.address,
            private_address: self.config.private_address,
        });
        outcomes
    }

    /// The external address, as far as the server has a say in it. As long as it may still answer for the
    /// first time there is none: our own, told meanwhile, would soon be another one.
    fn outside(&self) -> Option<Option<Ipv4Addr>> {
        let unknown = match &self.client {
            Some(client) => client.service() == Service::Unknown && !self.doubted,
            None => !self.looked,
        };
        match self.is_in_service() {
            true => Some(self.address),
            // Without a NAT here there is no other external address than the server's.
            false => (unknown || !self.config.nat).then_some(None),
        }
    }

    /// The mapping that is held for its address.
    const fn heartbeat(&self, client: &Client) -> Key {
        key(client.config().own, Port { protocol: Protocol::Udp, number: self.heartbeat_port })
    }

    /// Begins anew where we, or the server, have another address: nothing that was is reached from here
    /// any more.
    fn attach(&mut self, own: Option<Ipv4Addr>) {
        let ends = own.zip(self.server).map(|(own, place)| {
            let (client, server) = (place.client(own), place.server());
            (own, client, server)
        });
        let of = |config: &ClientConfig| (config.own, config.client, config.server);
        let current = self.client.as_ref().map(|client| of(client.config()));
        if ends == current {
            return;
        }
        let same_network = ends.map(|ends| ends.0) == current.map(|current| current.0);
        self.doubted &= same_network;
        self.config.seed = self.config.seed.wrapping_add(1);
        let InterworkingConfig { secret, seed, xlat, .. } = self.config;
        self.client = ends.map(|(own, client, server)| {
            let xlat = xlat.filter(|_| client.is_ipv6());
            Client::new(ClientConfig { own, client, server, secret, seed, xlat })
        });
        self.address = None;
        self.heartbeat_port = DISCARD;
        self.refusal = None;
        self.mirrored = None;
        self.peers.clear();
        self.peer_keys.clear();
        self.no_peer = false;
        self.endpoints = Endpoints::new(self.config.nat);
        self.moved.clear();
        self.probes.clear();
    }
}

const fn key(own: Ipv4Addr, port: Port) -> Key {
    Key::map(port.protocol, SocketAddrV4::new(own, port.number))
}

const fn port(key: &Key) -> Port {
    Port { protocol: key.protocol, number: key.internal.port() }
}
