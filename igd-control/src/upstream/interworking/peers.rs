//! PEER, relayed (RFC 7648; RFC 6887 12). The session here comes first; what leaves it for the NAT upstream
//! is the internal endpoint there. What the server refuses, or ends, ends here too.

use super::{Interworking, Outcome};
use crate::igd::Gateway;
use crate::mapping::{PacketPath, Peer, PeerKey};
use crate::upstream::{Client, EndReason, Event, Key, Lease, Service, Wanted};
use crate::wire::pcp::ResultCode;
use nat_common::BootTime;

/// What a session is at the server.
pub(super) const fn key(peer: &Peer) -> Key {
    Key { protocol: peer.key.protocol, internal: peer.external, remote: Some(peer.key.remote) }
}

/// What is wanted of the server, which has granted this before. Section 12.2: a port that is suggested is
/// this one or none; one that was granted stays.
pub(super) fn wanted(peer: &Peer, granted: Option<&Lease>) -> Wanted {
    match (granted, peer.wished_upstream) {
        (Some(lease), _) => Wanted::about(lease.port, peer.deadline),
        (None, 0) => Wanted::about(0, peer.deadline),
        (None, port) => Wanted::exactly(port, peer.deadline),
    }
}

impl Interworking {
    /// What has become of sessions since it was asked for last.
    pub fn take_peer_outcomes(&mut self) -> Vec<(PeerKey, Outcome)> {
        std::mem::take(&mut self.peer_outcomes)
    }

    /// Whether the answer about a session is still to come, from a server that answers.
    pub fn is_peer_pending(&self, peer: &PeerKey) -> bool {
        self.at_server(peer).is_some_and(|(client, key)| {
            let answers = matches!(client.service(), Service::Pcp | Service::NatPmp);
            answers && client.is_pending(&key)
        })
    }

    /// What the server has granted for a session.
    pub fn peer_lease(&self, peer: &PeerKey) -> Option<Lease> {
        self.at_server(peer).and_then(|(client, key)| client.lease(&key).copied())
    }

    fn at_server(&self, peer: &PeerKey) -> Option<(&Client, Key)> {
        self.client.as_ref().zip(self.peer_keys.get(peer).copied())
    }

    /// Something has become of a session that PEER has asked for.
    pub(super) fn apply_to_peer<P: PacketPath>(
        &mut self,
        now: BootTime,
        gateway: &mut Gateway<P>,
        key: &Key,
        event: Event,
    ) {
        let Some(peer) = self.peers.get(key).copied() else { return };
        let outcome = match event {
            Event::Granted(..) => Outcome::Granted,
            Event::Refused(_, code) | Event::Ended(_, EndReason::Refused(code)) => {
                Outcome::Refused(code)
            }
            Event::Ended(_, EndReason::Unanswered) => Outcome::Lost,
            Event::StateLost => return,
        };
        if outcome == Outcome::Granted {
            self.no_peer = false;
        } else {
            let knows_none = outcome == Outcome::Refused(ResultCode::UnsuppOpcode);
            if knows_none && !std::mem::replace(&mut self.no_peer, true) {
                tracing::warn!("the NAT upstream knows no PEER");
            }
            let parts = gateway.parts(now);
            if let Some(peer) = parts.peers.remove(&peer) {
                let others = parts.peers.held_beside(&peer.key).unwrap_or_default();
                parts.path.let_go_of_peer(now, &peer, others);
            }
            tracing::info!(internal = %peer.internal, remote = %peer.remote,
                "a session of PEER has ended by the NAT upstream: {outcome:?}");
        }
        self.peer_outcomes.push((peer, outcome));
    }
}
