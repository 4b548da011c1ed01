//! The NAT upstream: the mirror of the table, as the daemon's parts share it.

mod carrier;
mod finder;
mod secret;
mod stun;
mod waits;

pub(super) use carrier::Carrier;
pub(super) use stun::{Stun, told};

use super::shared::{Shared, lock};
use crate::{
    config,
    igd::{Gateway, Outside, Touched, is_private},
    mapping::{PacketPath, PeerKey},
    upstream::{Interworking, InterworkingConfig, Outcome, Port, Seen, ServerPlace, State},
};
use nat_common::BootTime;
use std::{collections::HashMap, net::Ipv4Addr, path::Path, sync::Mutex};
use tokio::sync::{Notify, oneshot};

/// Whether the gateway is itself behind a NAT, by its own address, the one that a server upstream has
/// given, and the one that somebody outside has seen.
pub(super) fn is_behind_nat(
    own: Option<Ipv4Addr>,
    given: Option<Ipv4Addr>,
    seen: Option<Ipv4Addr>,
) -> bool {
    own.and_then(|own| what_tells_of_a_nat(own, given, seen)).is_some()
}

/// The same, for people.
pub(super) fn behind_nat(
    own: Option<Ipv4Addr>,
    given: Option<Ipv4Addr>,
    seen: Option<Ipv4Addr>,
) -> &'static str {
    let Some(own) = own else { return "not known" };
    what_tells_of_a_nat(own, given, seen).unwrap_or("no")
}

fn what_tells_of_a_nat(
    own: Ipv4Addr,
    given: Option<Ipv4Addr>,
    seen: Option<Ipv4Addr>,
) -> Option<&'static str> {
    let differs = |address: Option<Ipv4Addr>| address.is_some_and(|address| address != own);
    if differs(given) {
        Some("yes: the one upstream says so")
    } else if differs(seen) {
        Some("yes: the STUN server sees another address")
    } else {
        is_private(own).then_some("yes: the address of the WAN interface is private")
    }
}

type Waiters = HashMap<Port, Vec<oneshot::Sender<(Port, Outcome)>>>;
type PeerWaiters = HashMap<PeerKey, Vec<oneshot::Sender<Outcome>>>;

/// The mirror of the table, and who waits for what comes of it.
pub(super) struct Upstream {
    machine: Mutex<Interworking>,
    waiters: Mutex<Waiters>,
    peer_waiters: Mutex<PeerWaiters>,
    /// There are datagrams to send.
    wake: Notify,
}

/// Somebody waits for the server.
pub(super) struct Wait {
    port: Port,
    receiver: oneshot::Receiver<(Port, Outcome)>,
    touched: Touched,
}

impl Upstream {
    /// The mirror, where one is configured; `nat`: packets are translated here, too. Nonces are made of a
    /// secret in `state_dir`.
    pub(super) fn new(
        config: &config::Upstream,
        nat: bool,
        state_dir: Option<&Path>,
    ) -> Option<Self> {
        if !config.is_on() {
            return None;
        }
        let machine = Interworking::new(InterworkingConfig {
            secret: secret::secret(state_dir),
            seed: fastrand::u64(..),
            nat,
            private_address: config.private_address,
            xlat: config.xlat(),
        });
        Some(Self {
            machine: Mutex::new(machine),
            waiters: Mutex::default(),
            peer_waiters: Mutex::default(),
            wake: Notify::new(),
        })
    }

    /// Where the server is, or that it is nowhere.
    pub(super) fn server_is(&self, server: Option<ServerPlace>) {
        lock(&self.machine).server_is(server);
    }

    /// Whether the server is worth leaving for another one.
    fn is_mute(&self) -> bool {
        lock(&self.machine).is_mute()
    }

    /// What an operator is told.
    pub(super) fn state(&self) -> State {
        lock(&self.machine).state()
    }

    /// Brings table and server together, and tells who waits.
    pub(super) fn follow<P: PacketPath>(&self, now: BootTime, gateway: &mut Gateway<P>) {
        let mut machine = lock(&self.machine);
        let outcomes = machine.follow(now, gateway);
        if machine.client_mut().is_some_and(|client| client.has_datagrams()) {
            self.wake.notify_one();
        }
        let mut waiting = lock(&self.peer_waiters);
        for (peer, outcome) in machine.take_peer_outcomes() {
            for sender in waiting.remove(&peer).unwrap_or_default() {
                // Who has gone away needs no answer.
                let _ = sender.send(outcome);
            }
        }
        waiting.retain(|peer, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty() && machine.is_peer_pending(peer)
        });
        let mut waiters = lock(&self.waiters);
        for (port, outcome) in outcomes {
            let waiting = waiters.remove(&port).unwrap_or_default();
            match outcome {
                Outcome::Moved(to) => waiters.entry(to).or_default().extend(waiting),
                outcome => {
                    for sender in waiting {
                        // Who has gone away needs no answer.
                        let _ = sender.send((port, outcome));
                    }
                }
            }
        }
        // The server has fallen silent, or somebody has removed what was waited for.
        waiters.retain(|port, waiting| {
            waiting.retain(|sender| !sender.is_closed());
            !waiting.is_empty() && machine.is_pending(*port)
        });
        gateway.set_undecided(!waiters.is_empty());
    }

    /// After an action: whoever has asked for it waits if the server has a say in it.
    pub(super) fn begin<P: PacketPath>(
        &self,
        now: BootTime,
        gateway: &mut Gateway<P>,
    ) -> Option<Wait> {
        let touched = gateway.take_touched();
        let mut port = None;
        match touched {
            Some(Touched::Made { key, any }) => {
                port = Some(Port::from(&key));
                if any {
                    lock(&self.machine).may_move(Port::from(&key));
                }
            }
            Some(Touched::Missing(key)) => {
                let asked = Port::from(&key);
                port = lock(&self.machine).probe(now, asked).then_some(asked);
            }
            None => {}
        }
        let Some((port, touched)) = port.zip(touched) else {
            self.follow(now, gateway);
            return None;
        };
        let receiver = self.wait_for(port);
        self.follow(now, gateway);
        Some(Wait { port, receiver, touched })
    }

    /// Tells what comes of a port, from the next time on that [`Self::follow`] is called; closed when
    /// there is nothing to wait for.
    fn wait_for(&self, port: Port) -> oneshot::Receiver<(Port, Outcome)> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiters).entry(port).or_default().push(sender);
        receiver
    }

    /// The same about a session that PEER has asked for; `None` where the server has no say in it.
    fn wait_for_peer(&self, peer: PeerKey) -> Option<oneshot::Receiver<Outcome>> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.machine).is_in_service().then(|| {
            lock(&self.peer_waiters).entry(peer).or_default().push(sender);
            receiver
        })
    }

    /// Whether a mapping of the table lets nobody in.
    fn is_shut(&self, port: Port) -> bool {
        lock(&self.machine).is_shut(port)
    }

    /// Whether a port's answer is still to come.
    fn is_pending(&self, port: Port) -> bool {
        lock(&self.machine).is_pending(port)
    }
}

impl<P: PacketPath> Shared<P> {
    /// Somebody outside has seen this address in the place of our own, or nobody has. Says so when it means
    /// another NAT.
    pub(super) fn is_seen(&self, own: Option<Ipv4Addr>, seen: Seen) {
        let before = lock(self.seen()).replace(seen);
        if before == Some(seen) {
            return;
        }
        let address = seen.address();
        if let (Some(own), Some(seen)) = (own, address) {
            if own == seen {
                tracing::info!(%seen, "the address seen from outside is our own");
            } else {
                tracing::warn!(%own, %seen, "the address seen from outside differs: double NAT");
            }
        }
        self.change(|_, gateway| gateway.set_seen(address));
    }

    /// What an operator is told of the server; `None` where none is configured.
    pub(super) fn upstream_state(&self) -> Option<State> {
        self.upstream().map(Upstream::state)
    }
}

/// What the gateway says of the world beyond at its start.
pub(super) fn at_start(config: &config::Upstream) -> Outside {
    let upstream = config.is_on().then_some(None);
    Outside { upstream, seen: None, private_address: config.private_address }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_address_or_another_one_upstream_is_a_nat() {
        let public = Some(Ipv4Addr::new(11, 22, 33, 1));
        let private = Some(Ipv4Addr::new(100, 64, 0, 2));
        let other = Some(Ipv4Addr::new(11, 22, 33, 9));
        for (own, given, seen, expected) in [
            (public, None, None, false),
            (public, public, public, false),
            (private, None, None, true),
            (private, public, None, true),
            (public, other, None, true),
            (public, None, other, true),
            (None, None, None, false),
            (None, None, other, false),
        ] {
            assert_eq!(is_behind_nat(own, given, seen), expected);
            assert_eq!(behind_nat(own, given, seen).starts_with("yes"), expected);
        }
    }
}
