//! Keeping neighbours resolved.
//!
//! XDP sends to neighbours without telling the kernel, which takes them for unused: it would neither
//! notice that one has another MAC address nor keep its entry. So the gateways of routes over the
//! NAT's links are made managed entries, which the kernel confirms by itself, and other entries that
//! sessions use are confirmed when they go stale. Sessions hear of what comes of it by the neighbours'
//! announcements.

use super::network::{Neighbour, Network, Station};
use super::{Interface, Shared, now};
use anyhow::Result;
use aya::util::KernelVersion;
use nat_common::session::control;
use netlink_packet_route::neighbour::NeighbourState;
use std::collections::{BTreeSet, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::sleep;

/// Time between rounds. A stale entry waits for as long at most.
const ROUND: Duration = Duration::from_secs(10);

/// After a round the next one waits at least so many times as long as it took: with long routing
/// tables and many sessions, too, it takes no more than a twentieth of one CPU.
const REST: u32 = 20;

/// Neighbours that are confirmed in one round. Those that are left out are stale still in the next.
const MOST_CONFIRMED: usize = 256;

/// Gateways that are kept resolved.
const MOST_GATEWAYS: usize = 64;

/// Keeps neighbours resolved for ever. `routes_changed` brings the next round forward.
pub(super) async fn keep(shared: Arc<Shared>, network: Arc<Network>, routes_changed: Arc<Notify>) {
    let mut keeper = Keeper::new(
        KernelVersion::current().is_ok_and(|kernel| kernel >= KernelVersion::new(5, 16, 0)),
    );
    if !keeper.manages {
        tracing::info!(
            "this kernel has no managed neighbours (Linux 5.16): a gateway is confirmed every {} s",
            ROUND.as_secs()
        );
    }
    loop {
        let started = Instant::now();
        if let Err(error) = round(&shared, &network, &mut keeper).await {
            tracing::warn!(error = format!("{error:#}"), "cannot look after the neighbours");
        }
        let rest = started.elapsed() * REST;
        sleep(rest).await;
        tokio::select! {
            () = sleep(ROUND.saturating_sub(rest)) => {}
            () = routes_changed.notified() => {}
        }
    }
}

async fn round(shared: &Arc<Shared>, network: &Network, keeper: &mut Keeper) -> Result<()> {
    let links: Vec<u32> = {
        let interfaces = shared.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        // One that does not exist keeps its place: sessions name links by it.
        interfaces.iter().map(|at| at.as_ref().map_or(0, Interface::index_if_running)).collect()
    };
    let ours = |station: &Station| station.0 != 0 && links.contains(&station.0);
    let mut gateways = network.gateways().await?;
    gateways.retain(ours);
    if gateways.len() > MOST_GATEWAYS {
        tracing::warn!(
            "{} gateways: only {MOST_GATEWAYS} of them are kept resolved",
            gateways.len()
        );
        gateways = gateways.into_iter().take(MOST_GATEWAYS).collect();
    }
    let mut neighbours = network.neighbours().await?;
    neighbours.retain(|neighbour| ours(&neighbour.station));
    let stale: HashSet<Station> = keeper.stale(&gateways, &neighbours).collect();
    let used = if stale.is_empty() {
        Vec::new()
    } else {
        let shared = Arc::clone(shared);
        tokio::task::spawn_blocking(move || in_use(&shared, &links, stale)).await??
    };
    for (station, wish) in keeper.wishes(&gateways, &neighbours, used) {
        // A neighbour whose interface has just gone away is no matter.
        if let Err(error) = network.ask_neighbour(station, wish).await {
            tracing::debug!(address = %station.1, ?wish, "a neighbour: {error:#}");
        }
    }
    Ok(())
}

/// Which of `stale` live sessions are sent to. `links` are the interfaces' indices in the order of the
/// links.
fn in_use(shared: &Shared, links: &[u32], mut stale: HashSet<Station>) -> Result<Vec<Station>> {
    let now = now();
    let mut used = Vec::new();
    let mut sessions = shared.maps.sessions();
    while let Some(chunk) = sessions.next_chunk()? {
        for (_, record) in chunk {
            let link = record.control >> control::LINK_SHIFT & control::LINK_MASK;
            let Some(ifindex) = links.get(link as usize) else { continue };
            let station = (*ifindex, Ipv4Addr::from(record.new_dst));
            if record.deadline() > now && stale.remove(&station) {
                used.push(station);
            }
        }
        if stale.is_empty() || used.len() >= MOST_CONFIRMED {
            break;
        }
    }
    Ok(used)
}

/// What is to become of a neighbour's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The kernel shall keep it resolved from now on.
    Manage,
    /// No longer.
    Release,
    /// The kernel shall see whether it is still true.
    Confirm,
}

/// Decides which neighbours to ask the kernel for.
struct Keeper {
    /// Whether the kernel knows managed entries.
    manages: bool,
    /// Those that were asked for.
    managed: BTreeSet<Station>,
}

impl Keeper {
    const fn new(manages: bool) -> Self {
        Self { manages, managed: BTreeSet::new() }
    }

    /// Entries to confirm when they are in use: the kernel manages the gateways'.
    fn stale<'a>(
        &self,
        gateways: &'a BTreeSet<Station>,
        neighbours: &'a [Neighbour],
    ) -> impl Iterator<Item = Station> + use<'a> {
        let stale = |neighbour: &&Neighbour| {
            matches!(neighbour.state, NeighbourState::Stale) && !neighbour.managed
        };
        let stations = neighbours.iter().filter(stale).map(|neighbour| neighbour.station);
        stations.filter(|station| !gateways.contains(station))
    }

    /// What to ask in this round; `used` are the entries that are stale and in use.
    fn wishes(
        &mut self,
        gateways: &BTreeSet<Station>,
        neighbours: &[Neighbour],
        used: Vec<Station>,
    ) -> Vec<(Station, Wish)> {
        let entry = |station: &Station| neighbours.iter().find(|at| at.station == *station);
        let mut wishes = Vec::new();
        let gone: Vec<Station> = self.managed.difference(gateways).copied().collect();
        for station in gone {
            self.managed.remove(&station);
            if entry(&station).is_some_and(|entry| entry.managed) {
                wishes.push((station, Wish::Release));
            }
        }
        for station in gateways {
            let wish = match entry(station) {
                Some(entry) if entry.is_fixed() || entry.managed => continue,
                _ if self.manages => Wish::Manage,
                Some(entry) if entry.is_fresh() => continue,
                _ => Wish::Confirm,
            };
            self.managed.insert(*station);
            wishes.push((*station, wish));
        }
        let confirmed = used.into_iter().take(MOST_CONFIRMED);
        wishes.extend(confirmed.map(|station| (station, Wish::Confirm)));
        wishes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Station = (2, Ipv4Addr::new(11, 22, 33, 9));
    const CLIENT: Station = (3, Ipv4Addr::new(192, 168, 77, 2));

    fn neighbour(station: Station, state: NeighbourState, managed: bool) -> Neighbour {
        Neighbour { station, state, managed, mac: Some([2, 0, 0, 0, 0, 1]) }
    }

    #[test]
    fn a_gateway_is_managed_once_and_released_when_no_route_needs_it() {
        let mut keeper = Keeper::new(true);
        let gateways = BTreeSet::from([GATEWAY]);
        let asked = keeper.wishes(&gateways, &[], Vec::new());
        assert_eq!(asked, [(GATEWAY, Wish::Manage)]);
        let managed = [neighbour(GATEWAY, NeighbourState::Reachable, true)];
        assert!(keeper.wishes(&gateways, &managed, Vec::new()).is_empty());
        let none = BTreeSet::new();
        assert_eq!(keeper.wishes(&none, &managed, Vec::new()), [(GATEWAY, Wish::Release)]);
        assert!(keeper.wishes(&none, &managed, Vec::new()).is_empty(), "not ours any more");
    }

    #[test]
    fn a_gateway_whose_entry_was_flushed_is_managed_again() {
        let mut keeper = Keeper::new(true);
        let gateways = BTreeSet::from([GATEWAY]);
        keeper.wishes(&gateways, &[], Vec::new());
        let plain = [neighbour(GATEWAY, NeighbourState::Reachable, false)];
        assert_eq!(keeper.wishes(&gateways, &plain, Vec::new()), [(GATEWAY, Wish::Manage)]);
    }

    #[test]
    fn an_administrators_entry_is_left_alone() {
        let fixed = [neighbour(GATEWAY, NeighbourState::Permanent, false)];
        for manages in [true, false] {
            let mut keeper = Keeper::new(manages);
            assert!(keeper.wishes(&BTreeSet::from([GATEWAY]), &fixed, Vec::new()).is_empty());
        }
    }

    #[test]
    fn without_managed_entries_a_gateway_is_confirmed_unless_it_is_fresh() {
        let gateways = BTreeSet::from([GATEWAY]);
        for (state, asked) in [
            (NeighbourState::Reachable, false),
            (NeighbourState::Probe, false),
            (NeighbourState::Stale, true),
            (NeighbourState::Failed, true),
        ] {
            let entries = [neighbour(GATEWAY, state, false)];
            let wishes = Keeper::new(false).wishes(&gateways, &entries, Vec::new());
            assert_eq!(wishes.contains(&(GATEWAY, Wish::Confirm)), asked, "{state:?}");
        }
        let wishes = Keeper::new(false).wishes(&gateways, &[], Vec::new());
        assert_eq!(wishes, [(GATEWAY, Wish::Confirm)]);
    }

    #[test]
    fn only_stale_entries_are_looked_for_among_the_sessions() {
        let keeper = Keeper::new(true);
        let gateways = BTreeSet::from([GATEWAY]);
        let other = (3, Ipv4Addr::new(192, 168, 77, 3));
        let neighbours = [
            neighbour(GATEWAY, NeighbourState::Stale, false),
            neighbour(CLIENT, NeighbourState::Stale, false),
            neighbour(other, NeighbourState::Reachable, false),
        ];
        assert_eq!(keeper.stale(&gateways, &neighbours).collect::<Vec<_>>(), [CLIENT]);
    }

    #[test]
    fn a_round_asks_for_so_many_and_no_more() {
        let used: Vec<Station> = (0..1_000).map(|host| (3, Ipv4Addr::from(host))).collect();
        let wishes = Keeper::new(true).wishes(&BTreeSet::new(), &[], used);
        assert_eq!(wishes.len(), MOST_CONFIRMED);
    }
}
