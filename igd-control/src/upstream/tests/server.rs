//! A PCP server in memory.

use crate::upstream::{Key, ServerPlace};
use crate::wire::nat_pmp;
use crate::wire::pcp::{
    Mapping, Nonce, Operation, Payload, PcpOption, RemotePeer, Request, Response, ResultCode,
    error_response,
};
use nat_common::{BootTime, Protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

pub(crate) const OWN: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
pub(crate) const SERVER: SocketAddr = PLACE.server();
pub(crate) const PLACE: ServerPlace = ServerPlace::V4(ADDRESS);
/// The same by IPv6.
pub(crate) const PLACE_6: ServerPlace = ServerPlace::V6 {
    server: SocketAddrV6::new(Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1), 5_351, 0, 0),
    own: Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 2),
};
pub(crate) const EXTERNAL: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 1);

#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) protocol: u8,
    pub(crate) internal: SocketAddrV4,
    pub(crate) external_port: u16,
    /// For this one, by PEER.
    pub(crate) remote: Option<RemotePeer>,
    nonce: Nonce,
    pub(crate) until: BootTime,
}

#[derive(Clone, Debug)]
pub(crate) struct Server {
    started: BootTime,
    pub(crate) mappings: Vec<Held>,
    /// External ports that somebody else has.
    pub(crate) taken: Vec<u16>,
    pub(crate) longest: u32,
    pub(crate) ignores_prefer_failure: bool,
    pub(crate) knows_filters: bool,
    pub(crate) knows_peer: bool,
    /// Maps no internal port below 1024.
    pub(crate) unprivileged_only: bool,
    pub(crate) nat_pmp: bool,
    pub(crate) external: IpAddr,
    /// From where it is asked.
    pub(crate) client: IpAddr,
    /// Answers so many requests by this error.
    pub(crate) fails: Option<(ResultCode, u32)>,
}

impl Server {
    pub(crate) fn new(now: BootTime) -> Self {
        Self::asked_from(OWN.into(), now)
    }

    /// One whose client has this address.
    pub(crate) fn asked_from(client: IpAddr, now: BootTime) -> Self {
        Self {
            started: now,
            mappings: Vec::new(),
            taken: Vec::new(),
            longest: 86_400,
            ignores_prefer_failure: false,
            knows_filters: true,
            knows_peer: true,
            unprivileged_only: false,
            nat_pmp: false,
            external: EXTERNAL.into(),
            client,
            fails: None,
        }
    }

    fn epoch(&self, now: BootTime) -> u32 {
        u32::try_from(now.nanos_from(self.started) / 1_000_000_000).unwrap()
    }

    pub(crate) fn has(&self, now: BootTime, port: u16) -> bool {
        self.mappings.iter().any(|held| held.external_port == port && held.until >= now)
    }

    pub(crate) fn announce(&self, now: BootTime) -> Vec<u8> {
        let payload = Payload::Known(Operation::Announce, Vec::new());
        let epoch = self.epoch(now);
        Response { result: ResultCode::Success, lifetime: 0, epoch, payload }.encode()
    }

    pub(crate) fn answer(&mut self, now: BootTime, datagram: &[u8]) -> Option<Vec<u8>> {
        let old = datagram.first() == Some(&nat_pmp::VERSION);
        if old != self.nat_pmp {
            let other = |code| error_response(datagram, code, 1_800, self.epoch(now), true);
            let unsupported = [0, 128, 0, 1, 0, 0, 0, 9].to_vec();
            return Some(if old { other(ResultCode::UnsuppVersion) } else { unsupported });
        }
        if old {
            return Some(self.answer_nat_pmp(now, datagram));
        }
        let request = Request::decode(datagram).expect("the client writes well");
        assert_eq!(request.client, self.client);
        let epoch = self.epoch(now);
        match self.map(now, &request) {
            Ok((mapping, lifetime)) => {
                let operation = match request.operation {
                    Operation::Peer(_, remote) => Operation::Peer(mapping, remote),
                    _ => Operation::Map(mapping),
                };
                let payload = Payload::Known(operation, request.options);
                let result = ResultCode::Success;
                Some(Response { result, lifetime, epoch, payload }.encode())
            }
            Err(code) => Some(error_response(datagram, code, 30, epoch, true)),
        }
    }

    fn answer_nat_pmp(&mut self, now: BootTime, datagram: &[u8]) -> Vec<u8> {
        let respond = |epoch, result, answer| nat_pmp::Response { result, epoch, answer }.encode();
        let epoch = self.epoch(now);
        let request = nat_pmp::Request::decode(datagram).expect("the client writes well");
        let nat_pmp::Request::Map(asked) = request else {
            let IpAddr::V4(external) = self.external else { panic!("IPv4 only") };
            let answer = nat_pmp::Answer::Address(external);
            return respond(epoch, nat_pmp::ResultCode::Success, answer);
        };
        let number = if asked.protocol == Protocol::Tcp { 6 } else { 17 };
        let same = Mapping {
            nonce: Nonce([0; 12]),
            protocol: number,
            internal_port: asked.internal_port,
            external_port: asked.external_port,
            external: Ipv4Addr::UNSPECIFIED.into(),
        };
        let operation = Operation::Map(same);
        let options = Vec::new();
        let client = IpAddr::V4(OWN);
        let request = Request { lifetime: asked.lifetime, client, operation, options };
        let (result, external_port, lifetime) = match self.map(now, &request) {
            Ok((mapping, lifetime)) => {
                (nat_pmp::ResultCode::Success, mapping.external_port, lifetime)
            }
            Err(ResultCode::NotAuthorized) => (nat_pmp::ResultCode::NotAuthorized, 0, 0),
            Err(_) => (nat_pmp::ResultCode::OutOfResources, 0, 0),
        };
        let mapping = nat_pmp::Mapping { external_port, lifetime, ..asked };
        respond(epoch, result, nat_pmp::Answer::Map(mapping))
    }

    fn map(&mut self, now: BootTime, request: &Request) -> Result<(Mapping, u32), ResultCode> {
        if let Some((code, left)) = &mut self.fails
            && *left > 0
        {
            *left -= 1;
            return Err(*code);
        }
        let (asked, remote) = match request.operation {
            Operation::Map(asked) => (asked, None),
            Operation::Peer(..) if !self.knows_peer => return Err(ResultCode::UnsuppOpcode),
            Operation::Peer(asked, remote) => (asked, Some(remote)),
            Operation::Announce => panic!("nobody asks for that"),
        };
        if self.unprivileged_only && asked.internal_port < 1_024 {
            return Err(ResultCode::NotAuthorized);
        }
        let is = |code: u8| request.options.iter().any(|option| option.code() == code);
        if is(3) && !self.knows_filters {
            return Err(ResultCode::UnsuppOption);
        }
        let client = match request.internal_client() {
            IpAddr::V4(address) => address,
            // That of a translator, behind its prefix.
            IpAddr::V6(address) => Ipv4Addr::from_bits(address.to_bits() as u32),
        };
        let internal = SocketAddrV4::new(client, asked.internal_port);
        self.mappings.retain(|held| held.until > now);
        let known = self.mappings.iter().position(|held| {
            (held.internal, held.protocol, held.remote) == (internal, asked.protocol, remote)
        });
        if let Some(held) = known.and_then(|known| self.mappings.get(known))
            && held.nonce != asked.nonce
        {
            return Err(ResultCode::NotAuthorized);
        }
        let old = known.map(|known| self.mappings.remove(known));
        if request.lifetime == 0 {
            return Ok((asked, 0));
        }
        let wanted = old.map_or(asked.external_port, |old| old.external_port);
        let free = |port: &u16| {
            let others = self.mappings.iter().filter(|held| held.protocol == asked.protocol);
            *port != 0
                && !self.taken.contains(port)
                && others.clone().all(|held| held.external_port != *port)
        };
        let insists = remote.is_some() && asked.external_port != 0;
        let prefers_failure = insists || request.options.contains(&PcpOption::PreferFailure);
        let port = match Some(wanted).filter(free) {
            Some(port) => port,
            None if prefers_failure && !self.ignores_prefer_failure => {
                return Err(ResultCode::CannotProvideExternal);
            }
            None => (40_000..50_000).find(free).ok_or(ResultCode::NoResources)?,
        };
        let lifetime = request.lifetime.min(self.longest);
        self.mappings.push(Held {
            protocol: asked.protocol,
            internal,
            external_port: port,
            remote,
            nonce: asked.nonce,
            until: now.plus_secs(lifetime.into()),
        });
        Ok((Mapping { external_port: port, external: self.external, ..asked }, lifetime))
    }

    /// The external port of an internal endpoint.
    pub(crate) fn port_of(&self, now: BootTime, key: &Key) -> Option<u16> {
        let number = if key.protocol == Protocol::Tcp { 6 } else { 17 };
        let meant = |held: &&Held| {
            held.internal == key.internal && held.protocol == number && held.until > now
        };
        self.mappings.iter().find(meant).map(|held| held.external_port)
    }
}
