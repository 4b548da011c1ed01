//! A datagram in, its answer out.

use super::options::Options;
use super::{AddressChange, Epoch, Settings};
use crate::igd::Gateway;
use crate::mapping::{Origin, PacketPath};
use crate::metrics;
use crate::wire::nat_pmp;
use crate::wire::pcp::{
    Mapping, Opcode, Operation, Payload, Request, RequestError, Response, ResultCode,
    error_response,
};
use nat_common::{BootTime, Protocol};
use std::net::{IpAddr, Ipv4Addr};

/// Seconds that errors hold which may soon be over, and others (RFC 6887 7.4).
const SHORT: u32 = 30;
const LONG: u32 = 1_800;

/// The numbers of the protocols that can be mapped.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The server.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    pub(super) settings: Settings,
    pub(super) epoch: Epoch,
}

/// A request of a client's for a mapping.
pub(super) struct Asked<'a> {
    /// Who asks.
    pub(super) client: Ipv4Addr,
    pub(super) lifetime: u32,
    pub(super) mapping: &'a Mapping,
    pub(super) options: &'a Options,
}

impl Asked<'_> {
    /// Whom it is for.
    pub(super) fn internal(&self) -> Ipv4Addr {
        self.options.third_party.unwrap_or(self.client)
    }
}

/// What a request is answered with, when it succeeds.
pub(super) struct Granted {
    pub(super) mapping: Mapping,
    pub(super) lifetime: u32,
}

impl Server {
    /// A server with the epoch that it begins or goes on with.
    pub const fn new(settings: Settings, epoch: Epoch) -> Self {
        Self { settings, epoch }
    }

    /// Its epoch.
    pub const fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Its settings from now on.
    pub const fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Looks at the external address, and begins a new epoch when it is another one. To be called
    /// before requests are answered.
    pub fn look_at_address<P: PacketPath>(
        &mut self,
        now: BootTime,
        gateway: &mut Gateway<P>,
    ) -> AddressChange {
        let parts = gateway.parts(now);
        let change = self.epoch.address_is(now, parts.external);
        if change == AddressChange::Reset {
            // Sessions from the old address are void. Where it is a NAT upstream that has another one, our
            // own does not know.
            if parts.beneath {
                for peer in parts.peers.iter() {
                    parts.path.let_go_of_peer(now, peer, BootTime(0));
                }
            }
            parts.peers.clear();
        }
        change
    }

    /// Answers a datagram of a client in a LAN; `None` when nothing is to be said. What is changed is in
    /// force in the packet path when this returns.
    pub fn answer<P: PacketPath>(
        &self,
        now: BootTime,
        gateway: &mut Gateway<P>,
        client: Ipv4Addr,
        datagram: &[u8],
    ) -> Option<Vec<u8>> {
        match datagram {
            [nat_pmp::VERSION, _, ..] if self.settings.nat_pmp => {
                self.answer_nat_pmp(now, gateway, client, datagram)
            }
            _ => self.answer_pcp(now, gateway, client, datagram),
        }
    }

    fn answer_pcp<P: PacketPath>(
        &self,
        now: BootTime,
        gateway: &mut Gateway<P>,
        client: Ipv4Addr,
        datagram: &[u8],
    ) -> Option<Vec<u8>> {
        let request = match Request::decode(datagram) {
            Ok(request) => request,
            Err(RequestError::Ignored) => return None,
            Err(RequestError::Refused(code)) => {
                return Some(self.refuse(now, datagram, code, false));
            }
        };
        let opcode = request.operation.opcode();
        let code = match self.process(now, gateway, client, &request) {
            Ok(response) => {
                metrics::answered("PCP", name(Some(opcode)), 0);
                return Some(response.encode());
            }
            Err(code) => code,
        };
        Some(self.refuse(now, datagram, code, true))
    }

    /// An error (RFC 6887 8.2).
    fn refuse(&self, now: BootTime, datagram: &[u8], code: ResultCode, read: bool) -> Vec<u8> {
        let opcode = datagram.get(1).copied().and_then(Opcode::of);
        metrics::answered("PCP", name(opcode), code.number().into());
        let lifetime = if code.is_short() { SHORT } else { LONG };
        error_response(datagram, code, lifetime, self.epoch.seconds(now), read)
    }

    fn process<P: PacketPath>(
        &self,
        now: BootTime,
        gateway: &mut Gateway<P>,
        client: Ipv4Addr,
        request: &Request,
    ) -> Result<Response, ResultCode> {
        if request.client != IpAddr::V4(client) {
            return Err(ResultCode::AddressMismatch);
        }
        let operation = &request.operation;
        let options = Options::read(&self.settings, operation.opcode(), client, &request.options)?;
        let asked =
            |mapping| Asked { client, lifetime: request.lifetime, mapping, options: &options };
        let (operation, lifetime) = match operation {
            Operation::Announce => (Operation::Announce, 0),
            Operation::Map(mapping) => {
                let granted = self.map(now, gateway, &asked(mapping))?;
                (Operation::Map(granted.mapping), granted.lifetime)
            }
            Operation::Peer(mapping, remote) => {
                let granted = self.peer(now, gateway, &asked(mapping), remote)?;
                (Operation::Peer(granted.mapping, *remote), granted.lifetime)
            }
        };
        Ok(Response {
            result: ResultCode::Success,
            lifetime,
            epoch: self.epoch.seconds(now),
            payload: Payload::Known(operation, options.processed),
        })
    }

    /// What is said to everybody: PCP's unsolicited ANNOUNCE (RFC 6887 14.1), and NAT-PMP's external
    /// address (RFC 6886 3.2.1).
    pub fn announcements<P: PacketPath>(
        &self,
        now: BootTime,
        gateway: &mut Gateway<P>,
    ) -> Vec<Vec<u8>> {
        let announce = Response {
            result: ResultCode::Success,
            lifetime: 0,
            epoch: self.epoch.seconds(now),
            payload: Payload::Known(Operation::Announce, Vec::new()),
        };
        let mut messages = vec![announce.encode()];
        if self.settings.nat_pmp {
            messages.push(self.nat_pmp_address(now, gateway.parts(now).external));
        }
        messages
    }

    /// What each client is to be told of its mappings after the external address has changed: the
    /// client, and an unsolicited MAP response (RFC 6887 14.2).
    pub fn updates<P: PacketPath>(
        &self,
        now: BootTime,
        gateway: &mut Gateway<P>,
    ) -> Vec<(Ipv4Addr, Vec<u8>)> {
        let parts = gateway.parts(now);
        let Some(external) = parts.external else { return Vec::new() };
        let update = |mapping: &crate::mapping::PortMapping| {
            let Origin::Pcp(nonce) = mapping.origin() else { return None };
            let told = Mapping {
                nonce,
                protocol: number(mapping.key.protocol),
                internal_port: mapping.internal.port(),
                external_port: mapping.key.external_port,
                external: external.into(),
            };
            let response = Response {
                result: ResultCode::Success,
                lifetime: mapping.lease_left(now),
                epoch: self.epoch.seconds(now),
                payload: Payload::Known(Operation::Map(told), Vec::new()),
            };
            Some((*mapping.internal.ip(), response.encode()))
        };
        parts.table.iter().filter_map(update).collect()
    }
}

/// The protocol of a number; `None` for those that are not mapped.
pub(super) const fn protocol(number: u8) -> Option<Protocol> {
    match number {
        TCP => Some(Protocol::Tcp),
        UDP => Some(Protocol::Udp),
        _ => None,
    }
}

/// The number of a protocol.
const fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => TCP,
        _ => UDP,
    }
}

/// An opcode's name, for metrics.
const fn name(opcode: Option<Opcode>) -> &'static str {
    match opcode {
        Some(Opcode::Announce) => "ANNOUNCE",
        Some(Opcode::Map) => "MAP",
        Some(Opcode::Peer) => "PEER",
        None => "other",
    }
}
