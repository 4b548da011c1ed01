//! Adding, removing and expiring: the changes that reach the packet path.

use super::entry::{MappingKey, MappingRequest, Origin, PortMapping, Terms};
use super::error::MapError;
use super::path::{PacketPath, PathError, PortForward};
use super::table::PortMappingTable;
use crate::metrics::{self, Limit};
use nat_common::{BootTime, Protocol};
use std::collections::HashSet;
use std::ops::RangeInclusive;

impl PortMappingTable {
    /// Adds a mapping, or overwrites the one of the same identity and internal client. It is in
    /// force when this returns.
    ///
    /// # Errors
    /// [`MapError`]; the table and the packet path are as before then.
    pub fn add<P: PacketPath>(
        &mut self,
        path: &mut P,
        now: BootTime,
        request: &MappingRequest,
    ) -> Result<(), MapError> {
        self.admit(request)?;
        let kept = self.get(&request.key).map(|old| old.sequence);
        let mapping = PortMapping::new(request, kept.unwrap_or(self.next_sequence));
        let before = self.forward(&request.key);
        let after = self.forward_with(&mapping);
        self.switch(path, now, &request.key, before, after)?;
        if kept.is_none() {
            self.next_sequence += 1;
        }
        self.record(mapping);
        self.changes = self.changes.wrapping_add(1);
        Ok(())
    }

    /// Removes a mapping. What it let in is closed when this returns.
    pub fn remove<P: PacketPath>(
        &mut self,
        path: &mut P,
        now: BootTime,
        key: &MappingKey,
    ) -> Option<PortMapping> {
        self.remove_all(path, now, &[*key]).into_iter().find(|mapping| mapping.key == *key)
    }

    /// Removes the mappings of a range of external ports that `wanted` picks, as one change.
    pub fn remove_range<P: PacketPath>(
        &mut self,
        path: &mut P,
        now: BootTime,
        protocol: Protocol,
        ports: RangeInclusive<u16>,
        wanted: impl Fn(&PortMapping) -> bool,
    ) -> Vec<PortMapping> {
        let found = self.range(protocol, ports).filter(|mapping| wanted(mapping));
        let keys: Vec<_> = found.map(|mapping| mapping.key).collect();
        self.remove_all(path, now, &keys)
    }

    /// Removes the mappings whose lease has ended.
    pub fn expire<P: PacketPath>(&mut self, path: &mut P, now: BootTime) -> Vec<PortMapping> {
        let ended = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        let mut keys: Vec<_> = ended.map(|(_, key)| *key).collect();
        keys.sort_unstable();
        self.remove_all(path, now, &keys)
    }

    /// Takes over a forward that the packet path holds already, from before a restart. Mappings
    /// that the table has are left alone; limits do not apply to what is in force anyway.
    ///
    /// # Errors
    /// [`MapError::Conflict`] when the port has another internal endpoint in the table.
    pub fn adopt(&mut self, forward: &PortForward, description: &str) -> Result<(), MapError> {
        let any = forward.any_remote.map(|deadline| (None, deadline, true));
        let listed =
            forward.remotes.iter().map(|(remote, deadline)| (Some(*remote), *deadline, true));
        let disabled =
            forward.disabled.iter().map(|(remote, deadline)| (*remote, *deadline, false));
        for (remote, deadline, enabled) in any.into_iter().chain(listed).chain(disabled) {
            let key = MappingKey {
                protocol: forward.protocol,
                external_port: forward.external_port,
                remote,
            };
            if self.on_port(&key).any(|other| other.internal != forward.internal) {
                return Err(MapError::Conflict);
            }
            if self.get(&key).is_some() {
                continue;
            }
            self.record(PortMapping {
                key,
                internal: forward.internal,
                enabled,
                description: description.into(),
                deadline,
                terms: Terms {
                    origin: Origin::Unknown,
                    filters: if remote.is_none() { forward.filters.clone() } else { Vec::new() },
                }
                .boxed(),
                sequence: self.next_sequence,
            });
            self.next_sequence += 1;
            self.endpoints.opened(forward);
            self.changes = self.changes.wrapping_add(1);
        }
        Ok(())
    }

    /// Whether nothing stands in a request's way in the table: figure 2-3 of WANIPConnection:2, and
    /// the limits.
    fn admit(&self, request: &MappingRequest) -> Result<(), MapError> {
        let mut on_port = 0;
        let mut overwrites = false;
        for mapping in self.on_port(&request.key) {
            let same_owner = if mapping.key == request.key {
                overwrites = true;
                // What the operator has made, only the operator changes.
                mapping.internal.ip() == request.internal.ip()
                    && (request.is_static() || !mapping.is_static())
            } else {
                mapping.internal == request.internal
            };
            if !same_owner {
                return Err(MapError::Conflict);
            }
            on_port += 1;
        }
        // What the operator makes, and what is there already, is not asked.
        if !request.is_static() && !overwrites && self.companion_is_kept(request) {
            return Err(MapError::Conflict);
        }
        let limits = &self.limits;
        let of_client = self.mappings_of(*request.internal.ip());
        let reached = [
            (Limit::MappingsPerPort, on_port >= limits.per_port),
            (Limit::Mappings, !request.is_static() && self.len() >= limits.mappings),
            (Limit::MappingsPerClient, !request.is_static() && of_client >= limits.per_client),
        ];
        match reached.into_iter().find(|(_, reached)| *reached && !overwrites) {
            Some((limit, _)) => {
                metrics::hit(limit);
                Err(match limit {
                    Limit::MappingsPerClient => MapError::Quota,
                    _ => MapError::NoPortMaps,
                })
            }
            None => Ok(()),
        }
    }

    /// Whether NAT-PMP has the same port of the other protocol kept for another client: who maps a TCP
    /// port may map the UDP port of that number later, and the other way round (RFC 6886 3.3).
    fn companion_is_kept(&self, request: &MappingRequest) -> bool {
        let protocol = match request.key.protocol {
            Protocol::Tcp => Protocol::Udp,
            _ => Protocol::Tcp,
        };
        let asks = request.origin == Origin::NatPmp;
        self.on_port(&MappingKey { protocol, ..request.key }).any(|other| {
            (asks || other.origin() == Origin::NatPmp)
                && other.internal.ip() != request.internal.ip()
        })
    }

    /// Removes mappings, given in the order of their keys, as one change. Mappings that could not
    /// be kept in force are removed with them.
    fn remove_all<P: PacketPath>(
        &mut self,
        path: &mut P,
        now: BootTime,
        keys: &[MappingKey],
    ) -> Vec<PortMapping> {
        let mut removed = Vec::with_capacity(keys.len());
        let mut closing = Vec::new();
        for port in keys.chunk_by(MappingKey::same_port) {
            let Some(key) = port.first() else { continue };
            let before = self.forward(key);
            removed.extend(port.iter().filter_map(|key| self.take(key)));
            let after = self.forward(key);
            if before == after {
                continue;
            }
            if after.is_none() {
                closing.extend(before);
            } else if self.switch(path, now, key, before.clone(), after).is_err() {
                // What was let in must not stay open: better no forward than the old one.
                removed.extend(self.abandon(key));
                self.close(path, now, before);
            }
        }
        self.close_all(path, now, &closing);
        if !removed.is_empty() {
            self.changes = self.changes.wrapping_add(1);
        }
        removed
    }

    /// Brings the packet path from one forward of a port to another.
    fn switch<P: PacketPath>(
        &mut self,
        path: &mut P,
        now: BootTime,
        key: &MappingKey,
        before: Option<PortForward>,
        after: Option<PortForward>,
    ) -> Result<(), PathError> {
        let Some(new) = after else {
            self.close(path, now, before);
            return Ok(());
        };
        let Some(old) = before.filter(|old| old.internal != new.internal) else {
            path.open(now, &new)?;
            if self.endpoints.opened(&new) {
                self.restate(path, now, &new);
            }
            return Ok(());
        };
        path.close(now, &old);
        if let Err(error) = path.open(now, &new) {
            if path.open(now, &old).is_err() {
                tracing::warn!(port = key.external_port, "a port forward could not be restored");
                self.endpoints.closed(&old);
                self.abandon(key);
                self.restate(path, now, &old);
                self.changes = self.changes.wrapping_add(1);
            }
            return Err(error);
        }
        self.endpoints.closed(&old);
        self.endpoints.opened(&new);
        self.restate(path, now, &old);
        Ok(())
    }

    /// Closes a forward.
    fn close<P: PacketPath>(&mut self, path: &mut P, now: BootTime, forward: Option<PortForward>) {
        let Some(forward) = forward else { return };
        path.close(now, &forward);
        self.endpoints.closed(&forward);
        self.restate(path, now, &forward);
    }

    /// Closes forwards, all at the same moment.
    fn close_all<P: PacketPath>(&mut self, path: &mut P, now: BootTime, forwards: &[PortForward]) {
        match forwards {
            [] => return,
            [forward] => path.close(now, forward),
            forwards => path.close_all(now, forwards),
        }
        for forward in forwards {
            self.endpoints.closed(forward);
        }
        let mut stated = HashSet::new();
        for forward in forwards {
            if stated.insert((forward.protocol, forward.internal)) {
                self.restate(path, now, forward);
            }
        }
    }

    /// After a forward has gone or was disabled: states again the oldest that its internal endpoint still has, so
    /// that the endpoint's outgoing packets leave from that one's port.
    fn restate<P: PacketPath>(&mut self, path: &mut P, now: BootTime, gone: &PortForward) {
        let Some(external_port) = self.endpoints.first(gone.protocol, gone.internal) else {
            return;
        };
        let key = MappingKey { protocol: gone.protocol, external_port, remote: None };
        if let Some(forward) = self.forward(&key)
            && let Err(error) = path.open(now, &forward)
        {
            // It is open already; only the choice of the outgoing port is lost.
            tracing::warn!(port = external_port, %error, "a port forward could not be stated again");
        }
    }

    /// Forgets the mappings of a port that the packet path does not hold any more.
    fn abandon(&mut self, key: &MappingKey) -> Vec<PortMapping> {
        let keys: Vec<_> = self.on_port(key).map(|mapping| mapping.key).collect();
        keys.iter().filter_map(|key| self.take(key)).collect()
    }
}
