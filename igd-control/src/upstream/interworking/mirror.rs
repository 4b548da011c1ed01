//! Table and server, brought together.

use super::{DISCARD, Interworking, Outcome, Port, UNPRIVILEGED, key, peers};
use crate::igd::Gateway;
use crate::mapping::{MappingKey, MappingRequest, PacketPath, PortMapping, Remembered};
use crate::policy::{Question, Via};
use crate::upstream::{EndReason, Event, Key, Wanted};
use crate::wire::pcp::ResultCode;
use nat_common::{BootTime, Protocol};
use std::collections::{HashMap, HashSet};

/// Seconds of the mapping that is held for its address alone, and tells with each renewal whether the
/// server still knows us.
const HEARTBEAT: u32 = 120;

impl Interworking {
    /// Has the client want what the table holds.
    pub(super) fn mirror<P: PacketPath>(&mut self, now: BootTime, gateway: &Gateway<P>) {
        let Some(client) = &mut self.client else { return };
        let changes = (gateway.table().changes(), gateway.peers().changes());
        if self.mirrored.replace(changes) == Some(changes) {
            return;
        }
        let own = client.config().own;
        let mut wanted: HashMap<Port, Vec<&PortMapping>> = HashMap::new();
        self.endpoints.clear();
        for mapping in gateway.table().iter().filter(|mapping| mapping.key.external_port != 0) {
            wanted.entry(Port::from(&mapping.key)).or_default().push(mapping);
            self.endpoints.lead(mapping);
        }
        self.movable.retain(|port| wanted.contains_key(port));
        self.moved.retain(|port, _| wanted.contains_key(port));
        self.probes.retain(|port| !wanted.contains_key(port));
        let heartbeat = key(own, Port { protocol: Protocol::Udp, number: self.heartbeat_port });
        let ports = wanted.keys().chain(&self.probes);
        let mut kept: HashSet<Key> = ports.map(|port| self.endpoints.key(client, *port)).collect();
        kept.insert(heartbeat);
        self.peers = gateway.peers().iter().map(|peer| (peers::key(peer), peer.key)).collect();
        self.peer_keys = self.peers.iter().map(|(key, peer)| (*peer, *key)).collect();
        kept.extend(self.peers.keys());
        let gone: Vec<Key> = client.keys().filter(|key| !kept.contains(key)).collect();
        for key in &gone {
            client.forget(now, key);
        }
        for (port, mappings) in wanted {
            let until = mappings.iter().map(|mapping| mapping.deadline).max().unwrap_or_default();
            let wanted = Wanted {
                exactly: !self.movable.contains(&port),
                filters: self.endpoints.filters(&mappings),
                ..Wanted::about(port.number, until)
            };
            let after = self.moved.get(&port).map(|from| key(own, *from));
            let key = self.endpoints.key(client, port);
            if key != heartbeat {
                client.want_after(now, key, wanted, after);
            }
        }
        for peer in gateway.peers().iter() {
            let key = peers::key(peer);
            let wanted = peers::wanted(peer, client.lease(&key));
            client.want(now, key, wanted);
        }
        let alive = Wanted::about(0, BootTime::NEVER);
        client.want(now, heartbeat, Wanted { longest: HEARTBEAT, ..alive });
    }

    pub(super) fn apply<P: PacketPath>(
        &mut self,
        now: BootTime,
        gateway: &mut Gateway<P>,
        event: Event,
        outcomes: &mut Vec<(Port, Outcome)>,
    ) {
        if let Event::Granted(key, _) | Event::Refused(key, _) | Event::Ended(key, _) = event
            && key.remote.is_some()
        {
            return self.apply_to_peer(now, gateway, &key, event);
        }
        let Some(client) = &self.client else { return };
        let heartbeat = self.heartbeat(client);
        let Some(client) = &mut self.client else { return };
        match event {
            Event::StateLost => {
                self.losses += 1;
                tracing::warn!("the NAT upstream has lost its mappings: they are made again");
            }
            Event::Granted(key, lease) => {
                if self.address.replace(lease.address) != Some(lease.address) {
                    tracing::info!(address = %lease.address, "external address of the NAT upstream");
                }
                if key == heartbeat {
                    self.refusal = None;
                    return;
                }
                let Some(port) = self.endpoints.port(client, &key) else { return };
                if self.probes.remove(&port) {
                    client.forget(now, &key);
                    outcomes.push((port, Outcome::Free));
                } else if lease.port == port.number {
                    self.movable.remove(&port);
                    outcomes.push((port, Outcome::Granted));
                } else {
                    let to = Port { number: lease.port, ..port };
                    let outcome = self.move_to(now, gateway, port, to);
                    outcomes.push((port, outcome));
                    // The endpoint at the server is the same, which has granted it.
                    if !self.config.nat && outcome == Outcome::Moved(to) {
                        outcomes.push((to, Outcome::Granted));
                    }
                }
            }
            Event::Refused(key, ResultCode::NotAuthorized)
                if key == heartbeat && self.heartbeat_port == DISCARD =>
            {
                self.heartbeat_port = UNPRIVILEGED;
                self.mirrored = None;
            }
            Event::Refused(key, code) if key == heartbeat => {
                if self.refusal.replace(code) != Some(code) {
                    tracing::warn!("the NAT upstream refuses us: {code}");
                }
            }
            Event::Ended(key, _) if key == heartbeat => {}
            Event::Refused(key, code) => {
                let Some(port) = self.endpoints.port(client, &key) else { return };
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
                let Some(port) = self.endpoints.port(client, &key) else { return };
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
            .range(from.protocol, ports.clone())
            .filter(|mapping| !mapping.is_static())
            .map(|mapping| Remembered::from(mapping).mapping)
            .collect();
        let leased = |mapping: &PortMapping| !mapping.is_static();
        // First, since without a NAT here an internal endpoint has one port at a time.
        parts.table.remove_range(parts.path, now, from.protocol, ports, leased);
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
        if possible {
            if self.config.nat {
                self.moved.insert(to, from);
            }
            return Outcome::Moved(to);
        }
        for key in added {
            parts.table.remove(parts.path, now, &key);
        }
        Outcome::Refused(ResultCode::CannotProvideExternal)
    }
}
