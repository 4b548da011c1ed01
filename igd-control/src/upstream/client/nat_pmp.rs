//! A server of NAT-PMP only (RFC 6887 section 9; RFC 6886): the same mappings, asked for by its messages.
//!
//! There is no PEER, no nonce, no THIRD_PARTY and no PREFER_FAILURE. The external address is asked for by itself,
//! and mappings wait until it is known.

use super::{BootTime, Client, Key, Phase, Service};
use crate::upstream::backoff::Backoff;
use crate::upstream::epoch::Rule;
use crate::wire::nat_pmp::{Answer, Mapping, Request, Response, ResultCode as Result};
use crate::wire::pcp::ResultCode;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Until a server that speaks NAT-PMP is asked by PCP again, seconds: it may have learnt it.
const PCP_AGAIN: u64 = 1_800;
/// Until a server without an external address is asked for it again, seconds.
const NO_ADDRESS: u64 = 30;
/// How old its address may be when a mapping is renewed, seconds.
const FRESH: u64 = 30;

/// What is kept about a server while NAT-PMP is spoken.
#[derive(Clone, Copy, Debug)]
pub(super) struct NatPmp {
    /// Its external address, and when it has told it.
    address: Option<(Ipv4Addr, BootTime)>,
    /// The question for it.
    asking: Option<Backoff>,
    /// When PCP is tried again.
    pcp_again: BootTime,
}

impl NatPmp {
    /// When there is something to do.
    pub(super) fn next(&self) -> BootTime {
        self.asking.map_or(self.pcp_again, |timer| timer.due.min(self.pcp_again))
    }

    /// Whether mappings can be asked for.
    pub(super) const fn is_ready(&self) -> bool {
        self.address.is_some()
    }
}

impl Client {
    /// The server has answered PCP by version 0.
    fn fall_back(&mut self, now: BootTime) {
        self.nat_pmp =
            Some(NatPmp { address: None, asking: None, pcp_again: now.plus_secs(PCP_AGAIN) });
        self.begin_anew(Service::NatPmp);
        self.ask_address(now);
    }

    /// PCP is spoken again from now on, as far as is known.
    pub(super) fn leave_nat_pmp(&mut self) {
        if self.nat_pmp.take().is_some() {
            self.begin_anew(Service::Unknown);
        }
    }

    /// By another protocol the server knows nothing of what it was asked for before.
    fn begin_anew(&mut self, service: Service) {
        self.service = service;
        self.waiting = None;
        self.epoch = Default::default();
        self.endings.clear();
        self.opens = BootTime(0);
        self.requeue(|phase| matches!(phase, Phase::Asking(_) | Phase::Held(_)));
    }

    fn ask_address(&mut self, now: BootTime) {
        let Some(nat_pmp) = &mut self.nat_pmp else { return };
        nat_pmp.asking = Some(Backoff::start_nat_pmp(now));
        self.say(now, Request::Address);
    }

    /// The same, unless it is known from a moment ago.
    pub(super) fn refresh_address(&mut self, now: BootTime) {
        let Some(nat_pmp) = self.nat_pmp else { return };
        let fresh = |(_, at): (_, BootTime)| now < at.plus_secs(FRESH);
        if nat_pmp.asking.is_none() && !nat_pmp.address.is_some_and(fresh) {
            self.ask_address(now);
        }
    }

    /// Does what is due.
    pub(super) fn tick_nat_pmp(&mut self, now: BootTime) {
        let Some(nat_pmp) = &mut self.nat_pmp else { return };
        if let Some(timer) = nat_pmp.asking.filter(|timer| timer.due <= now) {
            // RFC 6886 3.1: who has not answered nine times speaks no NAT-PMP.
            if timer.is_last() {
                return self.leave_nat_pmp();
            }
            nat_pmp.asking = Some(timer.again(now, &mut self.random));
            self.say(now, Request::Address);
        }
        if let Some(nat_pmp) = &mut self.nat_pmp
            && nat_pmp.pcp_again <= now
        {
            nat_pmp.pcp_again = now.plus_secs(PCP_AGAIN);
            if let Some(key) = self.entries.keys().next().copied() {
                self.ask_by_pcp(now, &key);
            }
        }
    }

    /// Asks for a mapping, or says its end.
    pub(super) fn map_by_nat_pmp(&mut self, now: BootTime, key: &Key, port: u16, lifetime: u32) {
        let (protocol, internal_port) = (key.protocol, key.internal.port());
        let mapping = Mapping { protocol, internal_port, external_port: port, lifetime };
        self.say(now, Request::Map(mapping));
    }

    fn say(&mut self, now: BootTime, request: Request) {
        self.datagrams.push(request.encode());
        self.waiting.get_or_insert(now);
    }

    /// A datagram of version 0 has come to the client's socket.
    pub(super) fn hear_nat_pmp(&mut self, now: BootTime, datagram: &[u8]) {
        let Ok(response) = Response::decode(datagram) else { return };
        if self.nat_pmp.is_none() {
            // One that has just spoken PCP has not forgotten it, whoever says so.
            if self.waiting.is_some() && self.service != Service::Pcp {
                self.fall_back(now);
            }
            return;
        }
        match response.answer {
            _ if response.result == Result::UnsupportedVersion => {}
            Answer::Address(address) => self.addressed(now, &response, address),
            Answer::Map(mapping) => self.mapped(now, &response, &mapping),
            Answer::Nothing { .. } => {}
        }
    }

    /// An announcement (section 3.2.1).
    pub(super) fn overhear_nat_pmp(&mut self, now: BootTime, datagram: &[u8]) {
        if self.nat_pmp.is_some()
            && let Ok(response) = Response::decode(datagram)
            && let Answer::Address(address) = response.answer
        {
            self.addressed(now, &response, address);
        }
    }

    fn addressed(&mut self, now: BootTime, response: &Response, address: Ipv4Addr) {
        self.answers(now, response.epoch);
        let Some(nat_pmp) = &mut self.nat_pmp else { return };
        if response.result != Result::Success || address.is_unspecified() {
            nat_pmp.asking = Some(Backoff::at(now.plus_secs(NO_ADDRESS)));
            return;
        }
        nat_pmp.asking = None;
        let before = nat_pmp.address.replace((address, now)).map(|(before, _)| before);
        if before.is_some_and(|before| before != address) {
            self.requeue(|phase| matches!(phase, Phase::Held(_)));
        }
    }

    fn mapped(&mut self, now: BootTime, response: &Response, mapping: &Mapping) {
        let internal = SocketAddrV4::new(self.config.own, mapping.internal_port);
        let key = Key::map(mapping.protocol, internal);
        let asked = self.entries.get(&key).is_some_and(|entry| entry.asked);
        if !asked && !self.endings.contains_key(&key) {
            return;
        }
        self.answers(now, response.epoch);
        let ended = response.result == Result::Success && mapping.lifetime == 0;
        if ended || !self.entries.contains_key(&key) {
            self.endings.remove(&key);
        }
        let address = self.nat_pmp.and_then(|nat_pmp| nat_pmp.address);
        let (true, false, Some((address, _))) = (asked, ended, address) else { return };
        match code(response.result) {
            ResultCode::Success => {
                let external = SocketAddrV4::new(address, mapping.external_port);
                self.granted(now, key, mapping.lifetime, external, false);
            }
            code => self.refused(now, key, code, 0),
        }
    }

    /// The server is there, and this is its epoch.
    fn answers(&mut self, now: BootTime, epoch: u32) {
        self.speaks(Service::NatPmp);
        if self.epoch.heard(now, epoch, Rule::NatPmp) {
            self.lost();
            self.ask_address(now);
        }
    }
}

/// What PCP calls a result.
const fn code(result: Result) -> ResultCode {
    match result {
        Result::Success => ResultCode::Success,
        Result::NotAuthorized => ResultCode::NotAuthorized,
        Result::NetworkFailure => ResultCode::NetworkFailure,
        Result::OutOfResources => ResultCode::NoResources,
        Result::UnsupportedVersion => ResultCode::UnsuppVersion,
        Result::UnsupportedOpcode | Result::Other(_) => ResultCode::UnsuppOpcode,
    }
}
