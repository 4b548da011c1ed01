//! What the client makes of answers.

use super::{
    BootTime, Client, EndReason, Event, Key, Phase, REFUSED, RETRY, SPREAD, Service, send::number,
};
use crate::upstream::backoff::part;
use crate::upstream::epoch::Rule;
use crate::upstream::lease::Lease;
use crate::upstream::xlat;
use crate::wire::pcp::{Mapping, Operation, PcpOption, Response, ResponseError, ResultCode};
use nat_common::Protocol;
use nat_common::time::NANOS_PER_SEC;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

impl Client {
    /// A datagram has come to the client's socket.
    pub fn hear(&mut self, now: BootTime, from: SocketAddr, datagram: &[u8]) {
        // Section 8.3: from where the request went.
        if from != self.config.server {
            return;
        }
        match Response::decode(datagram) {
            Ok(response) => {
                self.leave_nat_pmp();
                self.answered(now, &response);
            }
            // NAT-PMP is of IPv4, and maps for who asks.
            Err(ResponseError::Version(0)) if self.config.client.is_ipv4() => {
                self.hear_nat_pmp(now, datagram);
            }
            Err(ResponseError::Version(version)) if self.waiting.is_some() => {
                self.no_pcp(now, Service::OtherVersion(version));
            }
            Err(_) => {}
        }
        self.tick(now);
    }

    /// A datagram has come to the port of announcements (section 14): an ANNOUNCE to everybody, or
    /// news of one mapping.
    pub fn overhear(&mut self, now: BootTime, from: SocketAddr, datagram: &[u8]) {
        if from != self.config.server {
            return;
        }
        let response = match Response::decode(datagram) {
            Ok(response) => response,
            Err(_) => {
                self.overhear_nat_pmp(now, datagram);
                return self.tick(now);
            }
        };
        match response.operation() {
            Some(Operation::Announce) if response.is_success() => {
                let spoke = self.service == Service::Pcp;
                // It did not speak PCP before, or did not answer.
                if !spoke {
                    self.leave_nat_pmp();
                    self.opens = BootTime(0);
                    self.speaks(Service::Pcp);
                }
                if self.epoch.heard(now, response.epoch, Rule::Pcp) {
                    let nanos = part(SPREAD * NANOS_PER_SEC, &mut self.random);
                    self.opens = now.plus_nanos(nanos);
                    self.lost();
                }
            }
            Some(_) => self.answered(now, &response),
            None => {}
        }
        self.tick(now);
    }

    /// An answer of the server's. Whoever can make one up has to know a nonce.
    fn answered(&mut self, now: BootTime, response: &Response) {
        let (mapping, remote) = match response.operation() {
            Some(Operation::Map(mapping)) => (mapping, None),
            Some(Operation::Peer(mapping, remote)) => {
                let Some(address) = xlat::read(self.config.remote(), remote.address) else {
                    return;
                };
                (mapping, Some(SocketAddrV4::new(address, remote.port)))
            }
            Some(Operation::Announce) | None => return,
        };
        let Some(key) = self.key_of(mapping, remote, response.options()) else { return };
        let expected = self.entries.get(&key).is_some_and(|entry| entry.asked)
            || self.endings.contains_key(&key);
        if !expected || mapping.nonce != self.nonce(&key) {
            return;
        }
        self.speaks(Service::Pcp);
        if self.epoch.heard(now, response.epoch, Rule::Pcp) {
            self.lost();
        }
        if response.lifetime == 0 || !self.entries.contains_key(&key) {
            self.endings.remove(&key);
        }
        if !self.entries.get(&key).is_some_and(|entry| entry.asked) {
            return;
        }
        match response.result {
            ResultCode::Success if response.lifetime == 0 => {}
            ResultCode::Success => {
                let IpAddr::V4(address) = mapping.external else {
                    // Not what was asked for (section 11.1), and of no use to IPv4.
                    self.end(now, key);
                    return self.refuse(now, key, ResultCode::CannotProvideExternal, 0);
                };
                let is_filter = |option: &PcpOption| matches!(option, PcpOption::Filter(_));
                let echoed = response.options().iter().any(is_filter);
                let external = SocketAddrV4::new(address, mapping.external_port);
                self.granted(now, key, response.lifetime, external, echoed);
            }
            code => self.refused(now, key, code, response.lifetime),
        }
    }

    /// The mapping that an answer is about.
    fn key_of(
        &self,
        mapping: &Mapping,
        remote: Option<SocketAddrV4>,
        options: &[PcpOption],
    ) -> Option<Key> {
        let third = options.iter().find_map(|option| match option {
            PcpOption::ThirdParty(address) => Some(*address),
            _ => None,
        });
        let protocol = [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .find(|protocol| number(*protocol) == mapping.protocol)?;
        let named = third.unwrap_or(self.config.client);
        let address = xlat::read(self.config.internal(), named)?;
        let internal = SocketAddrV4::new(address, mapping.internal_port);
        Some(Key { protocol, internal, remote })
    }

    /// The server is there.
    pub(super) fn speaks(&mut self, service: Service) {
        self.waiting = None;
        if std::mem::replace(&mut self.service, service) == Service::Silent {
            // Their pauses have grown while nobody answered.
            self.requeue(|phase| matches!(phase, Phase::Asking(_)));
        }
    }

    /// The server has forgotten everything (section 8.5).
    pub(super) fn lost(&mut self) {
        self.events.push(Event::StateLost);
        self.endings.clear();
        self.requeue(|phase| matches!(phase, Phase::Held(_)));
    }

    pub(super) fn granted(
        &mut self,
        now: BootTime,
        key: Key,
        lifetime: u32,
        external: SocketAddrV4,
        filter_echoed: bool,
    ) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.wanted.exactly && external.port() != entry.wanted.external_port {
            // Some servers take no notice of PREFER_FAILURE, and NAT-PMP has none: what they give instead
            // is given back.
            self.end(now, key);
            self.refuse(now, key, ResultCode::CannotProvideExternal, 0);
            return;
        }
        let lease = Lease::new(now, external, lifetime, filter_echoed);
        entry.lease = Some(lease);
        entry.retried = false;
        entry.refiltered = false;
        let renewal = self.renewal_of(now, &key, &lease);
        self.set(key, Phase::Held(renewal));
        self.events.push(Event::Granted(key, lease));
    }

    pub(super) fn refused(&mut self, now: BootTime, key: Key, code: ResultCode, lifetime: u32) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        // The port is another's: waiting does not help who wants an answer.
        let short = code.is_short() && code != ResultCode::CannotProvideExternal;
        match entry.phase {
            // It is asked again before the lease ends.
            Phase::Held(_) if short => {}
            Phase::Asking(_) if short && !entry.retried => {
                entry.retried = true;
                self.set(key, Phase::Pausing(now.plus_secs(RETRY)));
            }
            Phase::Asking(_) | Phase::Held(_) => self.refuse(now, key, code, lifetime),
            // Late, or twice.
            Phase::Queued | Phase::Pausing(_) | Phase::Refused(_) => {}
        }
    }

    pub(super) fn refuse(&mut self, now: BootTime, key: Key, code: ResultCode, lifetime: u32) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let event = match entry.lease.take() {
            Some(_) => Event::Ended(key, EndReason::Refused(code)),
            None => Event::Refused(key, code),
        };
        entry.asked = false;
        entry.retried = false;
        let pause = u64::from(lifetime).clamp(REFUSED.0, REFUSED.1);
        self.set(key, Phase::Refused(now.plus_secs(pause)));
        self.events.push(event);
    }
}
