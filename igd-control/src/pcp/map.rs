//! MAP (RFC 6887, sections 11 and 15), and how both protocols find and make mappings.

use super::options::Options;
use super::server::{Asked, Granted, Server, protocol};
use crate::igd::{Gateway, Parts};
use crate::mapping::{
    FIRST_UNPRIVILEGED, MapError, MappingKey, MappingRequest, Origin, PacketPath, PortMapping,
    Remembered, RemoteFilter,
};
use crate::policy::{Question, Via};
use crate::wire::pcp::{Mapping, ResultCode};
use nat_common::ports::WILDCARD_PORT;
use nat_common::{BootTime, Protocol};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

impl Server {
    pub(super) fn map<P: PacketPath>(
        &self,
        now: BootTime,
        gateway: &mut Gateway<P>,
        request: &Asked<'_>,
    ) -> Result<Granted, ResultCode> {
        let Asked { client, lifetime, mapping: asked, options } = *request;
        let mut parts = gateway.parts(now);
        let internal = request.internal();
        if lifetime == 0 {
            delete(&mut parts, now, client, internal, asked)?;
            return Ok(Granted { mapping: *asked, lifetime: 0 });
        }
        // Section 11.3: 0 stands for all protocols, or all ports of one.
        let protocols = match (asked.protocol, protocol(asked.protocol)) {
            (0, _) if asked.internal_port != 0 => return Err(ResultCode::MalformedRequest),
            (0, _) => ALL,
            (_, Some(protocol)) => &[protocol],
            (_, None) => return Err(ResultCode::UnsuppProtocol),
        };
        let external = parts.external.ok_or(ResultCode::NetworkFailure)?;
        if options.prefer_failure && wants_another(asked.external, external) {
            return Err(ResultCode::CannotProvideExternal);
        }
        let lifetime = lifetime.clamp(self.settings.min_lifetime, self.settings.max_lifetime);
        // The packet path has none for all ports together.
        if asked.internal_port == 0 && options.filters.iter().any(Option::is_some) {
            return Err(ResultCode::ExcessiveRemotePeers);
        }
        let internal = SocketAddrV4::new(internal, asked.internal_port);
        let wish = |protocol| Wish {
            asker: Asker { client, via: Via::Pcp, origin: Origin::Pcp(asked.nonce) },
            protocol,
            internal,
            deadline: now.plus_secs(lifetime.into()),
            suggested: asked.external_port,
            exactly: options.prefer_failure,
        };
        let external_port = match *protocols {
            [protocol] => wish(protocol).grant(&mut parts, now, options)?,
            _ => {
                let wishes: Vec<_> = protocols.iter().map(|protocol| wish(*protocol)).collect();
                grant_all(&mut parts, now, &wishes, options)?
            }
        };
        let mapping = Mapping { external_port, external: external.into(), ..*asked };
        Ok(Granted { mapping, lifetime })
    }
}

/// What protocol 0 stands for: all that the packet path has port mappings of.
const ALL: &[Protocol] = &[Protocol::Tcp, Protocol::Udp];

/// Grants all ports of several protocols, or of none.
fn grant_all<P: PacketPath>(
    parts: &mut Parts<'_, P>,
    now: BootTime,
    wishes: &[Wish],
    options: &Options,
) -> Result<u16, ResultCode> {
    let mut done: Vec<(MappingKey, Option<Remembered>)> = Vec::new();
    for wish in wishes {
        let key =
            MappingKey { protocol: wish.protocol, external_port: WILDCARD_PORT, remote: None };
        let before = parts.table.get(&key).map(Remembered::from);
        match wish.grant(parts, now, options) {
            Ok(_) => done.push((key, before)),
            Err(error) => {
                for (key, before) in done {
                    // What was there before can be had again: nobody has taken its place.
                    let _ = match before {
                        Some(before) => parts.table.restore(parts.path, now, &before),
                        None => {
                            parts.table.remove(parts.path, now, &key);
                            Ok(())
                        }
                    };
                }
                return Err(error);
            }
        }
    }
    Ok(WILDCARD_PORT)
}

/// Whether an external address is wished for that is not the one that there is.
fn wants_another(wished: IpAddr, external: Ipv4Addr) -> bool {
    !wished.is_unspecified() && wished != IpAddr::V4(external)
}

/// Ends mappings (section 15.1): the one of an internal port, or all of a protocol, or of all protocols.
/// Only who has the nonce may; what was not made by PCP is not PCP's to end.
fn delete<P: PacketPath>(
    parts: &mut Parts<'_, P>,
    now: BootTime,
    client: Ipv4Addr,
    internal: Ipv4Addr,
    asked: &Mapping,
) -> Result<(), ResultCode> {
    let protocols = match (asked.protocol, protocol(asked.protocol)) {
        (0, _) => ALL.to_vec(),
        (_, Some(protocol)) => vec![protocol],
        (_, None) => return Err(ResultCode::UnsuppProtocol),
    };
    let ports = match (asked.protocol, asked.internal_port) {
        (0, _) | (_, 0) => 0..=u16::MAX,
        (_, port) => port..=port,
    };
    let (mut own, mut others) = (Vec::new(), 0);
    for protocol in protocols {
        for mapping in parts.table.leading_to(protocol, internal, ports.clone()) {
            match mapping.origin() {
                Origin::Pcp(nonce) if nonce == asked.nonce => own.push(mapping.key),
                _ => others += 1,
            }
        }
    }
    if own.is_empty() && others > 0 {
        return Err(ResultCode::NotAuthorized);
    }
    let asker = Asker { client, via: Via::Pcp, origin: Origin::Pcp(asked.nonce) };
    let known = own.iter().filter_map(|key| parts.table.get(key));
    if !known.into_iter().all(|mapping| parts.policy.may_touch(&asker.question(mapping))) {
        return Err(ResultCode::NotAuthorized);
    }
    for key in own {
        parts.table.remove(parts.path, now, &key);
    }
    Ok(())
}

/// Who asks for something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) client: Ipv4Addr,
    pub(super) via: Via,
    pub(super) origin: Origin,
}

impl Asker {
    /// What the policy is asked about a mapping that there is.
    pub(super) fn question(&self, mapping: &PortMapping) -> Question {
        Question {
            requester: self.client.into(),
            client: (*mapping.internal.ip()).into(),
            protocol: mapping.key.protocol,
            external_port: mapping.key.external_port,
            internal_port: mapping.internal.port(),
            remote: None,
            via: self.via,
        }
    }
}

/// A mapping that is wished for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) asker: Asker,
    pub(super) protocol: Protocol,
    /// Port 0: all ports.
    pub(super) internal: SocketAddrV4,
    pub(super) deadline: BootTime,
    /// The external port that would be liked; 0: whichever.
    pub(super) suggested: u16,
    /// It and no other.
    pub(super) exactly: bool,
}

impl Wish {
    /// Makes the mapping that PCP asks for, or renews the one that there is, if the nonce is its own.
    fn grant<P: PacketPath>(
        &self,
        parts: &mut Parts<'_, P>,
        now: BootTime,
        options: &Options,
    ) -> Result<u16, ResultCode> {
        match self.existing(parts).map(|known| (known.key, known.origin())) {
            Some((key, origin)) if origin == self.asker.origin => {
                self.renew(parts, now, key, options)
            }
            Some((_, Origin::Pcp(_))) => Err(ResultCode::NotAuthorized),
            Some((key, Origin::Unknown)) => self.renew(parts, now, key, options),
            Some((key, _)) => {
                // It lets everybody in, and is not this client's to change.
                if options.filters.iter().any(Option::is_some) {
                    return Err(ResultCode::ExcessiveRemotePeers);
                }
                self.join(parts, now, key)
            }
            None => self.make(parts, now, &options.filters_after(&[])?),
        }
    }

    /// The mapping that the internal endpoint has already: one that this protocol has made, else the
    /// oldest. One for a single remote host is another matter, and a disabled one is none.
    pub(super) fn existing<'a, P>(&self, parts: &'a Parts<'_, P>) -> Option<&'a PortMapping> {
        let port = self.internal.port();
        let all = parts.table.leading_to(self.protocol, *self.internal.ip(), port..=port);
        let wildcard = port == 0;
        let meant = |mapping: &&PortMapping| {
            mapping.enabled
                && mapping.key.remote.is_none()
                && (mapping.key.external_port == WILDCARD_PORT) == wildcard
        };
        let made_by_us = |mapping: &PortMapping| match (mapping.origin(), self.asker.origin) {
            (Origin::Pcp(_), Origin::Pcp(_)) => true,
            (made, ours) => made == ours,
        };
        all.filter(meant).min_by_key(|mapping| !made_by_us(mapping))
    }

    /// Gives a mapping a new deadline, and the filters that are asked for.
    fn renew<P: PacketPath>(
        &self,
        parts: &mut Parts<'_, P>,
        now: BootTime,
        key: MappingKey,
        options: &Options,
    ) -> Result<u16, ResultCode> {
        let known = parts.table.get(&key).ok_or(ResultCode::NoResources)?;
        let filters = options.filters_after(known.filters())?;
        let request =
            MappingRequest { filters, ..self.request(key, known.description.to_string()) };
        self.check(parts, &request)?;
        parts.table.add(parts.path, now, &request).map_err(code)?;
        Ok(key.external_port)
    }

    /// Gives a mapping a new deadline.
    pub(super) fn renew_plainly<P: PacketPath>(
        &self,
        parts: &mut Parts<'_, P>,
        now: BootTime,
        key: MappingKey,
    ) -> Result<u16, ResultCode> {
        self.renew(parts, now, key, &Options::default())
    }

    /// Has a mapping that another protocol has made, and that leads to the same place, last as long as
    /// was asked for. It stays that protocol's.
    pub(super) fn join<P: PacketPath>(
        &self,
        parts: &mut Parts<'_, P>,
        now: BootTime,
        key: MappingKey,
    ) -> Result<u16, ResultCode> {
        let known = parts.table.get(&key).ok_or(ResultCode::NoResources)?;
        let longer = MappingRequest {
            deadline: self.deadline.max(known.deadline),
            origin: known.origin(),
            filters: known.filters().to_vec(),
            ..self.request(key, known.description.to_string())
        };
        let lasts = known.deadline >= self.deadline;
        self.check(parts, &longer)?;
        if !lasts {
            parts.table.add(parts.path, now, &longer).map_err(code)?;
        }
        Ok(key.external_port)
    }

    /// Makes a new mapping. If packets of the internal endpoint leave from some external port already,
    /// it is that one (section 11.3: an implicit mapping becomes an explicit one).
    pub(super) fn make<P: PacketPath>(
        &self,
        parts: &mut Parts<'_, P>,
        now: BootTime,
        filters: &[RemoteFilter],
    ) -> Result<u16, ResultCode> {
        let description = match self.asker.via {
            Via::Pcp => "PCP",
            _ => "NAT-PMP",
        };
        let key =
            |external_port| MappingKey { protocol: self.protocol, external_port, remote: None };
        let request = |port| MappingRequest {
            filters: filters.to_vec(),
            ..self.request(key(port), description.to_owned())
        };
        let asked = |port| self.question(port);
        let policy = parts.policy;
        let fits = |port| policy.decide(&asked(port)).allowed;
        if self.internal.port() == 0 {
            if !fits(WILDCARD_PORT) {
                return Err(ResultCode::NotAuthorized);
            }
            let all = request(WILDCARD_PORT);
            return match parts.table.add_wanted(parts.path, now, &all, &fits) {
                Ok(()) => Ok(WILDCARD_PORT),
                // Section 11.3: not in its entirety.
                Err(MapError::Conflict) => Err(ResultCode::UnsuppProtocol),
                Err(error) => Err(code(error)),
            };
        }
        let possible = policy.some_port(&asked(FIRST_UNPRIVILEGED));
        let possible = possible.ok_or(ResultCode::NotAuthorized)?;
        let implicit = parts.path.external_port(now, self.protocol, self.internal);
        let suggested = Some(self.suggested).filter(|port| *port != 0);
        if self.exactly
            && let Some(port) = suggested
        {
            if implicit.is_some_and(|implicit| implicit != port) {
                return Err(ResultCode::CannotProvideExternal);
            }
            let added = parts.table.add_wanted(parts.path, now, &request(port), &fits);
            return added.map(|()| port).map_err(|error| match error {
                MapError::Conflict | MapError::HeldByRouter => ResultCode::CannotProvideExternal,
                error => code(error),
            });
        }
        let fitting = [implicit, suggested, Some(self.internal.port())].into_iter().flatten();
        let wanted = fitting.clone().find(|port| fits(*port)).unwrap_or(possible);
        let random = &mut *parts.random;
        let mut random = || random.next_u32();
        parts.table.add_beside(parts.path, now, &request(wanted), &mut random, &fits).map_err(code)
    }

    /// Whether the policy lets a mapping be, and it is the one that is wanted.
    fn check<P>(&self, parts: &Parts<'_, P>, request: &MappingRequest) -> Result<(), ResultCode> {
        let port = request.key.external_port;
        if self.exactly && self.suggested != 0 && self.suggested != port {
            return Err(ResultCode::CannotProvideExternal);
        }
        let allowed = parts.policy.decide(&self.question(port)).allowed;
        if allowed { Ok(()) } else { Err(ResultCode::NotAuthorized) }
    }

    fn request(&self, key: MappingKey, description: String) -> MappingRequest {
        MappingRequest {
            key,
            internal: self.internal,
            enabled: true,
            description,
            deadline: self.deadline,
            origin: self.asker.origin,
            filters: Vec::new(),
        }
    }

    fn question(&self, external_port: u16) -> Question {
        Question {
            requester: self.asker.client.into(),
            client: (*self.internal.ip()).into(),
            protocol: self.protocol,
            external_port,
            internal_port: self.internal.port(),
            remote: None,
            via: self.asker.via,
        }
    }
}

/// What PCP calls it.
pub(super) const fn code(error: MapError) -> ResultCode {
    match error {
        MapError::Quota => ResultCode::UserExQuota,
        // It is an endpoint that has a mapping already, so nobody else can have its port.
        MapError::Conflict
        | MapError::HeldByRouter
        | MapError::EndpointMapped
        | MapError::NeedsNat
        | MapError::NoPortMaps
        | MapError::Failed => ResultCode::NoResources,
    }
}
