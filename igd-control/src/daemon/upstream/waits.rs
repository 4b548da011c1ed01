//! Who waits for the server's answers, and for how long.

use super::{Upstream, Wait};
use crate::{
    daemon::shared::{Shared, lock},
    igd::{Done, Gateway, Invocation, Touched},
    mapping::{PacketPath, PeerKey},
    upstream::{Outcome, Port, lan},
    wire::pcp::ResultCode,
};
use nat_common::BootTime;
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

/// How long a control point may wait for the server's answer: one error is waited out meanwhile, for 30
/// seconds.
const CONTROL_TIME: Duration = Duration::from_secs(45);
/// How long a client of PCP or NAT-PMP may: it asks again by itself.
const PCP_TIME: Duration = Duration::from_secs(2);

/// An answer to a client of PCP or NAT-PMP that grants it something.
struct Grant<'a> {
    request: &'a [u8],
    answer: &'a mut Option<Vec<u8>>,
    granted: Granted,
}

/// What it grants, and what tells what the server says of it.
enum Granted {
    Port(Port, oneshot::Receiver<(Port, Outcome)>),
    Peer(PeerKey, oneshot::Receiver<Outcome>),
}

impl Upstream {
    /// Before the table is mirrored after answers to clients of PCP and NAT-PMP: which of them the server
    /// has a say in.
    fn grants<'a>(
        &self,
        requests: &'a [(Ipv4Addr, Vec<u8>)],
        answers: &'a mut [Option<Vec<u8>>],
    ) -> Vec<Grant<'a>> {
        let pairs = requests.iter().zip(answers);
        let grants = pairs.filter_map(|((client, request), answer)| {
            if let Some(peer) = lan::granted_peer(*client, answer.as_ref()?) {
                let granted = Granted::Peer(peer, self.wait_for_peer(peer)?);
                return Some(Grant { request, answer, granted });
            }
            let (port, chosen_here) = lan::granted(request, answer.as_ref()?)?;
            if chosen_here {
                lock(&self.machine).may_move(port);
            }
            let granted = Granted::Port(port, self.wait_for(port));
            Some(Grant { request, answer, granted })
        });
        grants.collect()
    }

    /// The external endpoint that the server has granted for a session, and for how many seconds.
    fn peer_grant(&self, now: BootTime, peer: &PeerKey) -> Option<(SocketAddrV4, u32)> {
        let lease = lock(&self.machine).peer_lease(peer)?;
        let seconds = u32::try_from(lease.until.secs_from(now)).unwrap_or(u32::MAX);
        Some((SocketAddrV4::new(lease.address, lease.port), seconds))
    }

    /// Has answers say what the server says. Where it has not spoken in time nothing is answered: the
    /// client asks again.
    async fn settle(&self, clock: fn() -> BootTime, grants: Vec<Grant<'_>>) {
        let deadline = Instant::now() + PCP_TIME;
        for Grant { request, answer, granted } in grants {
            let (port, receiver) = match granted {
                Granted::Port(port, receiver) => (port, receiver),
                Granted::Peer(peer, receiver) => {
                    let heard = timeout_at(deadline, receiver).await;
                    *answer = match heard {
                        Err(_) | Ok(Ok(Outcome::Lost)) => None,
                        Ok(Ok(Outcome::Refused(code))) => {
                            answer.as_ref().map(|answer| lan::refused(request, answer, code))
                        }
                        Ok(_) => answer.as_ref().zip(self.peer_grant(clock(), &peer)).map(
                            |(answer, (external, seconds))| {
                                lan::adjusted_peer(request, answer, external, seconds)
                            },
                        ),
                    };
                    continue;
                }
            };
            let port = match timeout_at(deadline, receiver).await {
                Err(_) | Ok(Ok((_, Outcome::Lost))) => {
                    *answer = None;
                    continue;
                }
                Ok(Ok((_, Outcome::Refused(code)))) => {
                    *answer = answer.as_ref().map(|answer| lan::refused(request, answer, code));
                    continue;
                }
                Ok(Ok((port, _))) => port,
                Ok(Err(_)) => port,
            };
            if self.is_shut(port) {
                *answer = None;
                continue;
            }
            let granted = lock(&self.machine).granted_for(clock(), port);
            if let (Some(answer), Some(seconds)) = (answer, granted) {
                *answer = lan::adjusted(answer, port, seconds);
            }
        }
    }
}

impl<P: PacketPath + Send + 'static> Shared<P> {
    /// Answers clients of PCP and NAT-PMP, under `act`, as far as the server upstream lets them have it.
    pub(in crate::daemon) async fn relayed(
        &self,
        requests: &[(Ipv4Addr, Vec<u8>)],
        act: impl FnOnce(&mut Gateway<P>) -> Vec<Option<Vec<u8>>>,
    ) -> Vec<Option<Vec<u8>>> {
        let Some(upstream) = self.upstream() else { return self.change(|_, gateway| act(gateway)) };
        let mut answers = Vec::new();
        let grants = self.change(|_, gateway| {
            answers = act(gateway);
            upstream.grants(requests, &mut answers)
        });
        upstream.settle(self.clock(), grants).await;
        answers
    }

    /// What an action comes to once the server upstream has spoken.
    pub(in crate::daemon) async fn settled(
        &self,
        invocation: &Invocation,
        done: Done,
        wait: Wait,
    ) -> Done {
        let Wait { port, receiver, touched } = wait;
        let any = matches!(touched, Touched::Made { any: true, .. });
        let heard = timeout_at(Instant::now() + CONTROL_TIME, receiver).await;
        match (touched, heard) {
            (Touched::Made { .. }, Err(_)) => {
                self.give_up(port);
                Done::unanswered()
            }
            (Touched::Made { .. }, Ok(Ok((port, Outcome::Granted)))) if any => {
                Done::reserved(port.number)
            }
            (Touched::Made { .. }, Ok(Ok((_, Outcome::Refused(code))))) => {
                Done::refused_upstream(invocation.tree(), code)
            }
            (Touched::Made { .. }, Ok(Ok((_, Outcome::Lost)))) => Done::unanswered(),
            // There is nobody else to let packets in.
            (Touched::Made { .. }, Ok(Err(_)))
                if self.upstream().is_some_and(|upstream| upstream.is_shut(port)) =>
            {
                self.give_up(port);
                Done::unanswered()
            }
            // Somebody else's at the NAT upstream, whom we do not see.
            (
                Touched::Missing(_),
                Ok(Ok((_, Outcome::Refused(code @ ResultCode::CannotProvideExternal)))),
            ) => Done::refused_upstream(invocation.tree(), code),
            _ => done,
        }
    }

    /// Nobody waits any more for a mapping that the server has not granted.
    fn give_up(&self, port: Port) {
        self.change(|now, gateway| {
            let Some(upstream) = self.upstream() else { return };
            if upstream.is_pending(port) || upstream.is_shut(port) {
                gateway.drop_leased(now, port.protocol, port.number);
                upstream.follow(now, gateway);
            }
        });
    }
}
