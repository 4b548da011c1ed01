//! What clients have asked for by PCP's PEER (RFC 6887 12): for each session to a remote peer until when
//! it is to last, and by whose nonce.
//!
//! It is no port mapping, so UPnP does not list it, and nobody is told of it: it is what a packet of the
//! client's would have made, for longer. The packet path holds it; this is the record of it.

use crate::wire::pcp::Nonce;
use nat_common::{BootTime, Protocol};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Whose session with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The internal client.
    pub internal: SocketAddrV4,
    /// The remote peer.
    pub remote: SocketAddrV4,
}

impl Ord for PeerKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |key: &Self| (key.protocol as u8, key.internal, key.remote);
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for PeerKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A request that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it is about.
    pub key: PeerKey,
    /// What proves that a request is of whoever has made it.
    pub nonce: Nonce,
    /// From where the client's packets leave.
    pub external: SocketAddrV4,
    /// Until when it is in force.
    pub deadline: BootTime,
    /// The external port that was wished for of a NAT upstream; 0: whichever.
    pub wished_upstream: u16,
}

/// What is asked of the packet path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerWish {
    /// What it is about.
    pub key: PeerKey,
    /// The nonce, to be remembered.
    pub nonce: Nonce,
    /// Until when the session is to last.
    pub until: BootTime,
    /// This external port and no other; 0: whichever.
    pub port: u16,
    /// This external address and no other; `None`: whichever.
    pub address: Option<Ipv4Addr>,
}

/// What the packet path has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHeld {
    /// From where the client's packets leave.
    pub external: SocketAddrV4,
    /// Until when the session lasts without a packet: not before what was asked for.
    pub lasts: BootTime,
}

/// All requests that are in force.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    entries: BTreeMap<PeerKey, Peer>,
    deadlines: BTreeSet<(BootTime, PeerKey)>,
    clients: HashMap<Ipv4Addr, usize>,
    changes: u32,
}

impl Peers {
    /// Those that are in force already.
    pub fn of(peers: impl IntoIterator<Item = Peer>) -> Self {
        let mut all = Self::default();
        peers.into_iter().for_each(|peer| all.record(peer));
        all
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// A number that is another one after every change.
    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many an internal client has.
    pub fn of_client(&self, client: Ipv4Addr) -> usize {
        self.clients.get(&client).copied().unwrap_or_default()
    }

    /// When the last of them is over.
    pub fn last_deadline(&self) -> Option<BootTime> {
        self.deadlines.last().map(|(deadline, _)| *deadline)
    }

    /// The one about this.
    pub fn get(&self, key: &PeerKey) -> Option<&Peer> {
        self.entries.get(key)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.entries.values()
    }

    /// Until when an internal endpoint's external port is held for others than the one about `key`.
    pub fn held_beside(&self, key: &PeerKey) -> Option<BootTime> {
        let end = |remote| PeerKey { remote, ..*key };
        let first = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let last = SocketAddrV4::new(Ipv4Addr::BROADCAST, u16::MAX);
        let all = self.entries.range(end(first)..=end(last)).map(|(_, peer)| peer);
        all.filter(|peer| peer.key != *key).map(|peer| peer.deadline).max()
    }

    /// Notes one, in the place of the one about the same.
    pub fn record(&mut self, peer: Peer) {
        if self.entries.get(&peer.key) == Some(&peer) {
            return;
        }
        self.remove(&peer.key);
        self.changes = self.changes.wrapping_add(1);
        *self.clients.entry(*peer.key.internal.ip()).or_default() += 1;
        self.deadlines.insert((peer.deadline, peer.key));
        self.entries.insert(peer.key, peer);
    }

    /// Forgets the one about this.
    pub fn remove(&mut self, key: &PeerKey) -> Option<Peer> {
        let peer = self.entries.remove(key)?;
        self.changes = self.changes.wrapping_add(1);
        self.deadlines.remove(&(peer.deadline, *key));
        let client = *key.internal.ip();
        if let Some(count) = self.clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(&client);
            }
        }
        Some(peer)
    }

    /// Forgets those that are over. In the packet path they are by the clock.
    pub fn expire(&mut self, now: BootTime) {
        while let Some((deadline, key)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.remove(&key);
        }
    }

    /// Forgets all: the packet path's are void.
    pub fn clear(&mut self) {
        *self = Self { changes: self.changes.wrapping_add(1), ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: BootTime = BootTime(1_000);

    fn peer(host: u8, port: u16, remote: u16, seconds: u64) -> Peer {
        let internal = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, host), port);
        let remote = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 9), remote);
        Peer {
            key: PeerKey { protocol: Protocol::Udp, internal, remote },
            nonce: Nonce([host; 12]),
            external: SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), port),
            deadline: NOW.plus_secs(seconds),
            wished_upstream: 0,
        }
    }

    #[test]
    fn a_port_is_held_until_the_last_of_its_peers() {
        let all = [peer(2, 5, 1, 10), peer(2, 5, 2, 30), peer(2, 6, 1, 50), peer(3, 5, 1, 70)];
        let peers = Peers::of(all);
        assert_eq!(peers.held_beside(&all[0].key), Some(all[1].deadline));
        assert_eq!(peers.held_beside(&all[1].key), Some(all[0].deadline));
        assert_eq!(peers.held_beside(&all[2].key), None);
    }

    proptest! {
        #[test]
        fn counts_and_ends_are_those_of_what_there_is(
            steps in proptest::collection::vec((any::<bool>(), 2..5_u8, 1..4_u16, 1..60_u64), 0..60),
            passed in 0..60_u64,
        ) {
            let mut peers = Peers::default();
            let mut model: BTreeMap<PeerKey, Peer> = BTreeMap::new();
            for (adds, host, port, seconds) in steps {
                let peer = peer(host, port, port, seconds);
                if adds {
                    peers.record(peer);
                    model.insert(peer.key, peer);
                } else {
                    prop_assert_eq!(peers.remove(&peer.key), model.remove(&peer.key));
                }
            }
            let now = NOW.plus_secs(passed);
            peers.expire(now);
            model.retain(|_, peer| peer.deadline > now);
            prop_assert!(peers.iter().eq(model.values()));
            prop_assert_eq!(peers.len(), model.len());
            for host in 2..5 {
                let client = Ipv4Addr::new(10, 0, 0, host);
                let own = model.keys().filter(|key| *key.internal.ip() == client).count();
                prop_assert_eq!(peers.of_client(client), own);
            }
        }
    }
}
