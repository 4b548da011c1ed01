//! PEER (RFC 6887, section 12): a session with one remote peer, as a packet of the client's would have
//! made it, for as long as is agreed upon.
//!
//! The external port is the one that the client's packets leave from, whoever they go to. A lifetime
//! of 0 ends what PEER has added; a session that packets have used goes on by its idle time then.
//!
//! Beneath a server upstream the session here is the first half: [`crate::upstream`] asks for the second
//! one, and what that gives takes the place of our own external endpoint in the answer.

use super::server::{Asked, Granted, Server, protocol};
use crate::igd::{Gateway, Parts};
use crate::mapping::{FIRST_UNPRIVILEGED, PacketPath, PathError, Peer, PeerKey, PeerWish};
use crate::metrics::{self, Limit};
use crate::policy::{Question, Via};
use crate::wire::pcp::{Mapping, RemotePeer, ResultCode};
use nat_common::BootTime;
use nat_common::time::NANOS_PER_SEC;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

impl Server {
    pub(super) fn peer<P: PacketPath>(
        &self,
        now: BootTime,
        gateway: &mut Gateway<P>,
        request: &Asked<'_>,
        remote: &RemotePeer,
    ) -> Result<Granted, ResultCode> {
        let Asked { client, lifetime, mapping: asked, .. } = *request;
        if !self.settings.peer {
            return Err(ResultCode::UnsuppOpcode);
        }
        let internal = request.internal();
        let key = key(internal, asked, remote)?;
        let mut parts = gateway.parts(now);
        let known = parts.peers.get(&key).copied();
        if known.is_some_and(|known| known.nonce != asked.nonce) {
            return Err(ResultCode::NotAuthorized);
        }
        if lifetime == 0 {
            if known.is_some() {
                let_go(&mut parts, now, client, &key)?;
            }
            return Ok(Granted { mapping: *asked, lifetime: 0 });
        }
        let external = parts.external.ok_or(ResultCode::NetworkFailure)?;
        may(&parts, client, &key)?;
        if known.is_none() {
            admit(&parts, internal)?;
        }
        let lifetime = lifetime.clamp(self.settings.min_lifetime, self.settings.max_lifetime);
        // What was granted is not shortened.
        let until = now.plus_secs(lifetime.into());
        let until = known.map_or(until, |known| known.deadline.max(until));
        let address = match asked.external {
            address if address.is_unspecified() => None,
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => return Err(ResultCode::CannotProvideExternal),
        };
        let nonce = asked.nonce;
        let mut wish = PeerWish { key, nonce, until, port: asked.external_port, address };
        let mut wished_upstream = 0;
        if parts.beneath {
            // The wish is for an endpoint of the NAT upstream, whatever our own is.
            if address.is_some_and(|address| address != external) {
                return Err(ResultCode::CannotProvideExternal);
            }
            (wish.port, wish.address) = (0, None);
            wished_upstream = asked.external_port;
        }
        let held = parts.path.hold_peer(now, &wish).map_err(code)?;
        let ours = held.external;
        let peer = Peer { key, nonce, external: ours, deadline: until, wished_upstream };
        parts.peers.record(peer);
        let told = if parts.beneath { external } else { *ours.ip() };
        let left = held.lasts.nanos_from(now) / NANOS_PER_SEC;
        Ok(Granted {
            mapping: Mapping { external_port: ours.port(), external: told.into(), ..*asked },
            lifetime: u32::try_from(left).unwrap_or(u32::MAX),
        })
    }
}

/// Whose session with whom is asked for.
fn key(internal: Ipv4Addr, asked: &Mapping, remote: &RemotePeer) -> Result<PeerKey, ResultCode> {
    // Section 12.1: neither ports nor the protocol may be 0.
    if asked.protocol == 0 || asked.internal_port == 0 || remote.port == 0 {
        return Err(ResultCode::MalformedRequest);
    }
    let protocol = protocol(asked.protocol).ok_or(ResultCode::UnsuppProtocol)?;
    match remote.address {
        address if address.is_unspecified() => Err(ResultCode::MalformedRequest),
        IpAddr::V4(address) if is_peer(address) => Ok(PeerKey {
            protocol,
            internal: SocketAddrV4::new(internal, asked.internal_port),
            remote: SocketAddrV4::new(address, remote.port),
        }),
        // Nobody to whom packets are translated.
        _ => Err(ResultCode::NotAuthorized),
    }
}

fn is_peer(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first != 127 && first < 224
}

/// Whether the client may. Who may have no external port by MAP may not hold one by PEER; which one it
/// is does not matter, since it is the one that packets leave from.
fn may<P>(parts: &Parts<'_, P>, client: Ipv4Addr, key: &PeerKey) -> Result<(), ResultCode> {
    let question = Question {
        requester: client.into(),
        client: (*key.internal.ip()).into(),
        protocol: key.protocol,
        external_port: FIRST_UNPRIVILEGED,
        internal_port: key.internal.port(),
        remote: None,
        via: Via::Pcp,
    };
    parts.policy.some_port(&question).map(|_| ()).ok_or(ResultCode::NotAuthorized)
}

/// Whether one more fits: they count with the mappings.
fn admit<P>(parts: &Parts<'_, P>, internal: Ipv4Addr) -> Result<(), ResultCode> {
    let limits = parts.table.limits();
    let of_client = parts.peers.of_client(internal) + parts.table.mappings_of(internal);
    if parts.peers.len() + parts.table.len() >= limits.mappings {
        metrics::hit(Limit::Mappings);
        return Err(ResultCode::NoResources);
    }
    if of_client >= limits.per_client {
        metrics::hit(Limit::MappingsPerClient);
        return Err(ResultCode::UserExQuota);
    }
    Ok(())
}

fn let_go<P: PacketPath>(
    parts: &mut Parts<'_, P>,
    now: BootTime,
    client: Ipv4Addr,
    key: &PeerKey,
) -> Result<(), ResultCode> {
    may(parts, client, key)?;
    if let Some(peer) = parts.peers.remove(key) {
        let others = parts.peers.held_beside(key);
        parts.path.let_go_of_peer(now, &peer, others.unwrap_or_default());
    }
    Ok(())
}

/// What PCP calls it. A wish for an external endpoint is one for this and no other (section 12.2).
const fn code(error: PathError) -> ResultCode {
    match error {
        PathError::PortInUse | PathError::HeldByRouter => ResultCode::CannotProvideExternal,
        PathError::Limit => ResultCode::UserExQuota,
        PathError::NoPeer => ResultCode::NotAuthorized,
        PathError::NeedsNat => ResultCode::UnsuppOpcode,
        PathError::EndpointMapped | PathError::Full | PathError::Failed => ResultCode::NoResources,
    }
}
