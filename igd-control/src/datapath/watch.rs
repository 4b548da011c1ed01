//! What the kernel's announcements mean to the packet path.

use super::network::{Neighbour, Station};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::NeighbourState;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use std::collections::HashMap;

/// What an announcement means to the packet path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing.
    None,
    /// Next hops may have other MAC addresses now.
    Neighbours,
    /// Next hops may be others now.
    Routes,
    /// Interfaces or addresses may be others now, and next hops with them.
    Interfaces,
}

/// Remembers neighbours' MAC addresses, since most announcements about neighbours change nothing.
#[derive(Debug, Default)]
pub struct Watcher {
    neighbours: HashMap<Station, [u8; 6]>,
}

/// Most neighbours to remember; beyond that every announcement counts as a change.
const MAX_NEIGHBOURS: usize = 65_536;

impl Watcher {
    /// One that knows these already.
    pub fn knowing(neighbours: &[Neighbour]) -> Self {
        let known = neighbours.iter().filter_map(|at| Some((at.station, at.mac?)));
        Self { neighbours: known.take(MAX_NEIGHBOURS).collect() }
    }

    /// What an announcement means.
    pub fn judge(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) -> Change {
        use RouteNetlinkMessage::{
            DelAddress, DelLink, DelRoute, DelRule, NewAddress, NewLink, NewNeighbour, NewRoute,
            NewRule,
        };
        match &message.payload {
            NetlinkPayload::InnerMessage(message) => match message {
                NewLink(_) | DelLink(_) | NewAddress(_) | DelAddress(_) => Change::Interfaces,
                NewRoute(_) | DelRoute(_) | NewRule(_) | DelRule(_) => Change::Routes,
                // One that the kernel has only forgotten takes no session with it: what is sent to its
                // old MAC address is what the kernel would have sent.
                NewNeighbour(neighbour) => Neighbour::read(neighbour)
                    .map_or(Change::None, |neighbour| self.meet(&neighbour)),
                _ => Change::None,
            },
            // Announcements were lost.
            NetlinkPayload::Overrun(_) => Change::Interfaces,
            _ => Change::None,
        }
    }

    fn meet(&mut self, neighbour: &Neighbour) -> Change {
        let changed = match neighbour.mac {
            Some(mac) => {
                let known = self.neighbours.get(&neighbour.station);
                let changed = known != Some(&mac);
                if known.is_some() || self.neighbours.len() < MAX_NEIGHBOURS {
                    self.neighbours.insert(neighbour.station, mac);
                }
                changed
            }
            // It does not answer at its old MAC address. Its sessions' next packets go through the
            // kernel, which asks everybody where it is.
            None if neighbour.state == NeighbourState::Failed => {
                self.neighbours.remove(&neighbour.station).is_some()
            }
            None => false,
        };
        if changed { Change::Neighbours } else { Change::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NeighbourState::{Delay, Failed, Incomplete, Reachable, Stale};
    use std::net::Ipv4Addr;

    const HOST: Station = (3, Ipv4Addr::new(192, 168, 77, 2));
    const OLD: Option<[u8; 6]> = Some([2, 0, 0, 0, 0, 1]);
    const NEW: Option<[u8; 6]> = Some([2, 0, 0, 0, 0, 2]);

    fn met(watcher: &mut Watcher, state: NeighbourState, mac: Option<[u8; 6]>) -> Change {
        watcher.meet(&Neighbour { station: HOST, state, managed: false, mac })
    }

    #[test]
    fn a_neighbour_that_is_only_confirmed_changes_nothing() {
        let mut watcher = Watcher::default();
        assert_eq!(met(&mut watcher, Reachable, OLD), Change::Neighbours);
        for state in [Stale, Delay, Reachable] {
            assert_eq!(met(&mut watcher, state, OLD), Change::None);
        }
        assert_eq!(met(&mut watcher, Stale, NEW), Change::Neighbours);
    }

    #[test]
    fn a_neighbour_that_does_not_answer_any_more_changes_next_hops_once() {
        let known = Neighbour { station: HOST, state: Reachable, managed: false, mac: OLD };
        let mut watcher = Watcher::knowing(&[known]);
        assert_eq!(met(&mut watcher, Incomplete, None), Change::None);
        assert_eq!(met(&mut watcher, Failed, None), Change::Neighbours);
        assert_eq!(met(&mut watcher, Failed, None), Change::None);
        assert_eq!(met(&mut watcher, Reachable, OLD), Change::Neighbours);
    }
}
