//! The server as clients meet it: datagrams in, datagrams out.

mod map;
mod nat_pmp;
mod options;
mod peer;
mod protocol;

use super::*;
use crate::igd::{Gateway, GatewayConfig};
use crate::mapping::fake::FakePath;
use crate::mapping::{Limits, MappingKey, MappingRequest, Origin};
use crate::policy::{Policy, Rule};
use crate::wire::pcp::{Mapping, Nonce, Operation, PcpOption, Request, Response, ResultCode};
use nat_common::{BootTime, Protocol};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

const NOW: BootTime = BootTime(5_000_000_000_000);
const HOST_A: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const HOST_B: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 11);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const NONCE: Nonce = Nonce(*b"twelve bytes");
const OTHER_NONCE: Nonce = Nonce(*b"other nonce!");
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A server and its gateway.
struct Bench {
    server: Server,
    gateway: Gateway<FakePath>,
    now: BootTime,
}

impl Bench {
    fn new() -> Self {
        Self::with(Settings::default(), Limits::default())
    }

    fn with(settings: Settings, limits: Limits) -> Self {
        let config = GatewayConfig { limits, seed: 3, ..GatewayConfig::default() };
        let mut gateway = Gateway::new(NOW, &config, FakePath::new());
        let mut server = Server::new(settings, Epoch::new(NOW));
        server.look_at_address(NOW, &mut gateway);
        Self { server, gateway, now: NOW }
    }

    /// With `[[policy.rule]]`s.
    fn rules(mut self, rules: &str) -> Self {
        #[derive(serde::Deserialize)]
        struct Rules {
            rule: Vec<Rule>,
        }
        let rules: Rules = toml::from_str(rules).unwrap();
        self.gateway.set_policy(Policy { rules: rules.rule, ..Policy::default() });
        self
    }

    fn send(&mut self, from: Ipv4Addr, datagram: &[u8]) -> Option<Vec<u8>> {
        self.server.answer(self.now, &mut self.gateway, from, datagram)
    }

    /// Sends a request; the answer has to be one to it.
    fn ask(&mut self, request: &Request) -> Response {
        let IpAddr::V4(client) = request.client else { panic!("a client of IPv6") };
        self.ask_from(client, request)
    }

    fn ask_from(&mut self, from: Ipv4Addr, request: &Request) -> Response {
        let answer = self.send(from, &request.encode()).unwrap();
        let response = Response::decode(&answer).unwrap();
        assert_eq!(response.epoch, self.server.epoch().seconds(self.now));
        let operation = response.operation().unwrap();
        assert_eq!(operation.opcode(), request.operation.opcode());
        if let (Some(asked), Some(told)) = (request.operation.mapping(), operation.mapping()) {
            let of = |mapping: &Mapping| (mapping.nonce, mapping.protocol, mapping.internal_port);
            assert_eq!(of(told), of(asked), "what tells the client which request it was");
        }
        response
    }

    /// What a MAP request is granted: external port and lifetime.
    fn map(&mut self, request: &Request) -> Result<(u16, u32), ResultCode> {
        let response = self.ask(request);
        if !response.is_success() {
            return Err(response.result);
        }
        let mapping = response.operation().and_then(Operation::mapping).copied().unwrap();
        if response.lifetime > 0 {
            assert_eq!(mapping.external, IpAddr::V4(EXTERNAL));
        }
        Ok((mapping.external_port, response.lifetime))
    }

    fn is_open(&self, protocol: Protocol, port: u16) -> bool {
        self.gateway.path().forward(protocol, port).is_some()
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now.plus_secs(seconds);
    }

    /// A mapping that UPnP has made.
    fn add_upnp(&mut self, internal: SocketAddrV4, external_port: u16, lease: u64) {
        let request = MappingRequest {
            key: MappingKey { protocol: Protocol::Udp, external_port, remote: None },
            internal,
            enabled: true,
            description: "a game".into(),
            deadline: self.now.plus_secs(lease),
            origin: Origin::Upnp,
            filters: Vec::new(),
        };
        let parts = self.gateway.parts(self.now);
        parts.table.add(parts.path, self.now, &request).unwrap();
    }

    fn add_static(&mut self, internal: SocketAddrV4, external_port: u16) {
        let request = MappingRequest {
            key: MappingKey { protocol: Protocol::Udp, external_port, remote: None },
            internal,
            enabled: true,
            description: "the operator's".into(),
            deadline: BootTime::NEVER,
            origin: Origin::Upnp,
            filters: Vec::new(),
        };
        self.gateway.add_static(self.now, &request).unwrap();
    }
}

/// A MAP request of host A for UDP from an external to an internal port.
fn map(internal_port: u16, external_port: u16, lifetime: u32) -> Request {
    Request {
        lifetime,
        client: HOST_A.into(),
        operation: Operation::Map(Mapping {
            nonce: NONCE,
            protocol: UDP,
            internal_port,
            external_port,
            external: Ipv4Addr::UNSPECIFIED.into(),
        }),
        options: Vec::new(),
    }
}

impl Request {
    fn by(self, client: Ipv4Addr) -> Self {
        Self { client: client.into(), ..self }
    }

    fn with(mut self, option: PcpOption) -> Self {
        self.options.push(option);
        self
    }

    /// With another mapping.
    fn changed(mut self, change: impl FnOnce(&mut Mapping)) -> Self {
        if let Operation::Map(mapping) | Operation::Peer(mapping, _) = &mut self.operation {
            change(mapping);
        }
        self
    }

    fn with_nonce(self, nonce: Nonce) -> Self {
        self.changed(|mapping| mapping.nonce = nonce)
    }

    fn of_protocol(self, protocol: u8) -> Self {
        self.changed(|mapping| mapping.protocol = protocol)
    }
}
