//! What the client says, and when.

use super::{
    BootTime, Client, ENDINGS, EndReason, Ending, Event, Key, NO_PCP, Phase, REFUSED, SAYINGS,
    SILENCE, Service, WINDOW, Wanted,
};
use crate::upstream::backoff::Backoff;
use crate::upstream::xlat;
use crate::wire::pcp::{Filter, Mapping, Operation, PcpOption, RemotePeer, Request, ResultCode};
use nat_common::Protocol;
use std::net::Ipv4Addr;

impl Client {
    /// Does what is due.
    pub fn tick(&mut self, now: BootTime) {
        while let Some((at, key)) = self.schedule.first().copied()
            && at <= now
        {
            self.schedule.remove(&(at, key));
            self.due(now, key);
        }
        self.say_endings(now);
        self.tick_nat_pmp(now);
        if self.waiting.is_some_and(|since| now >= since.plus_secs(SILENCE)) {
            self.service = Service::Silent;
        }
        self.begin(now);
    }

    /// Asks for what waits, as far as the window allows.
    fn begin(&mut self, now: BootTime) {
        if now < self.opens || self.nat_pmp.is_some_and(|nat_pmp| !nat_pmp.is_ready()) {
            return;
        }
        self.opens = BootTime(0);
        for _ in 0..self.queue.len() {
            if self.asking >= WINDOW {
                return;
            }
            let Some(key) = self.queue.pop_front() else { return };
            let Some(entry) = self.entries.get(&key) else { continue };
            if entry.phase != Phase::Queued {
                continue;
            }
            if entry.after.is_some_and(|first| self.endings.contains_key(&first)) {
                self.queue.push_back(key);
                continue;
            }
            let timer = self.timer(now);
            self.set(key, Phase::Asking(timer));
            self.ask(now, &key);
        }
    }

    /// The timer of a first request.
    fn timer(&mut self, now: BootTime) -> Backoff {
        match self.nat_pmp {
            Some(_) => Backoff::start_nat_pmp(now),
            None => Backoff::start(now, &mut self.random),
        }
    }

    fn due(&mut self, now: BootTime, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let phase = entry.phase;
        if entry.lease.is_some_and(|lease| lease.until <= now) {
            entry.lease = None;
            entry.asked = false;
            if entry.wanted.until <= now.plus_secs(1) {
                self.set(key, Phase::Refused(BootTime::NEVER));
                return;
            }
            self.events.push(Event::Ended(key, EndReason::Unanswered));
            self.set(key, Phase::Refused(now.plus_secs(REFUSED.0)));
            return;
        }
        match phase {
            Phase::Queued => {}
            Phase::Asking(timer) if timer.is_last() => self.leave_nat_pmp(),
            Phase::Asking(timer) => {
                self.ask(now, &key);
                let timer = timer.again(now, &mut self.random);
                self.set(key, Phase::Asking(timer));
            }
            Phase::Held(_) => {
                let Some(lease) = &mut entry.lease else { return };
                lease.renewing();
                let lease = *lease;
                self.refresh_address(now);
                self.ask(now, &key);
                let renewal = self.renewal_of(now, &key, &lease);
                self.set(key, Phase::Held(renewal));
            }
            Phase::Pausing(_) | Phase::Refused(_) => self.set(key, Phase::Queued),
        }
    }

    /// Sends the request for a mapping.
    fn ask(&mut self, now: BootTime, key: &Key) {
        if self.nat_pmp.is_none() {
            return self.ask_by_pcp(now, key);
        }
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.asked = true;
        let wanted = &entry.wanted;
        if key.remote.is_some() {
            return self.refuse(now, *key, ResultCode::UnsuppOpcode, 0);
        }
        if *key.internal.ip() != self.config.own || !wanted.filters.is_empty() {
            // NAT-PMP has nothing of the kind.
            return self.refuse(now, *key, ResultCode::UnsuppOption, 0);
        }
        let port = entry.lease.map_or(wanted.external_port, |lease| lease.port);
        let lifetime = lifetime(now, wanted);
        self.map_by_nat_pmp(now, key, port, lifetime);
    }

    pub(super) fn ask_by_pcp(&mut self, now: BootTime, key: &Key) {
        let nonce = self.nonce(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.asked = true;
        let wanted = &entry.wanted;
        let mut options = Vec::new();
        if wanted.exactly && key.remote.is_none() {
            options.push(PcpOption::PreferFailure);
        }
        if entry.refiltered {
            // Section 13.3: a prefix of length 0 takes all away that were before.
            let address = Ipv4Addr::UNSPECIFIED.into();
            options.push(PcpOption::Filter(Filter { prefix: 0, port: 0, address }));
        }
        options.extend(wanted.filters.iter().copied().map(PcpOption::Filter));
        // Section 16.3.1: as it was assigned before, if it was. A change of address is no reason to
        // refuse the port.
        let external = match entry.lease {
            Some(lease) if !wanted.exactly => lease.address,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let external_port = match entry.lease {
            Some(lease) if !wanted.exactly => lease.port,
            _ => wanted.external_port,
        };
        let lifetime = lifetime(now, wanted);
        let mapping = Mapping {
            nonce,
            protocol: number(key.protocol),
            internal_port: key.internal.port(),
            external_port,
            external: external.into(),
        };
        self.send(now, key, lifetime, mapping, options);
    }

    /// Begins to say that a mapping has ended.
    pub(super) fn end(&mut self, now: BootTime, key: Key) {
        if self.endings.len() >= ENDINGS {
            return;
        }
        self.say_end(now, &key);
        let timer = self.timer(now);
        self.endings.insert(key, Ending { timer, said: 1 });
    }

    fn say_endings(&mut self, now: BootTime) {
        let due = self.endings.iter().filter(|(_, ending)| ending.timer.due <= now);
        let due: Vec<_> = due.map(|(key, ending)| (*key, *ending)).collect();
        for (key, ending) in due {
            if ending.said >= SAYINGS {
                self.endings.remove(&key);
                continue;
            }
            self.say_end(now, &key);
            let timer = ending.timer.again(now, &mut self.random);
            self.endings.insert(key, Ending { timer, said: ending.said + 1 });
        }
    }

    /// Section 15: a lifetime of 0, and no external port.
    fn say_end(&mut self, now: BootTime, key: &Key) {
        if self.nat_pmp.is_some() {
            // Nothing was asked for others, or by PEER.
            return self.map_by_nat_pmp(now, key, 0, 0);
        }
        let mapping = Mapping {
            nonce: self.nonce(key),
            protocol: number(key.protocol),
            internal_port: key.internal.port(),
            external_port: 0,
            external: Ipv4Addr::UNSPECIFIED.into(),
        };
        self.send(now, key, 0, mapping, Vec::new());
    }

    fn send(
        &mut self,
        now: BootTime,
        key: &Key,
        lifetime: u32,
        mapping: Mapping,
        mut options: Vec<PcpOption>,
    ) {
        if let Some(xlat) = self.config.xlat {
            options = options.into_iter().map(|option| xlat.option(option)).collect();
        }
        let client = self.config.client;
        let internal = xlat::written(self.config.internal(), *key.internal.ip());
        if internal != client {
            options.insert(0, PcpOption::ThirdParty(internal));
        }
        let operation = match key.remote {
            None => Operation::Map(mapping),
            Some(remote) => {
                let address = xlat::written(self.config.remote(), *remote.ip());
                let port = remote.port();
                Operation::Peer(mapping, RemotePeer { port, address })
            }
        };
        let request = Request { lifetime, client, operation, options };
        self.datagrams.push(request.encode());
        self.waiting.get_or_insert(now);
    }

    /// The server speaks no PCP of ours: it is left alone for a while.
    pub(super) fn no_pcp(&mut self, now: BootTime, service: Service) {
        self.service = service;
        self.waiting = None;
        self.opens = now.plus_secs(NO_PCP);
        self.endings.clear();
        self.requeue(|phase| matches!(phase, Phase::Asking(_)));
    }

    /// Has mappings wait for their turn again.
    pub(super) fn requeue(&mut self, which: impl Fn(&Phase) -> bool) {
        let keys: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, entry)| which(&entry.phase))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.set(key, Phase::Queued);
        }
    }
}

/// Seconds to ask for.
fn lifetime(now: BootTime, wanted: &Wanted) -> u32 {
    let left = u32::try_from(wanted.until.secs_from(now)).unwrap_or(u32::MAX);
    left.min(wanted.longest).max(1)
}

/// The number of a protocol.
pub(super) const fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        _ => 17,
    }
}
