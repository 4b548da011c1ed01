//! A port forward as the maps hold it: what its slot says, and whom it lists.

use crate::mapping::{PortForward, RemoteFilter};
use nat_common::filters::{Filter, Filters};
use nat_common::ports::{Endpoint, Owner};
use nat_common::session::RemoteKey;
use nat_common::{BootTime, NetAddr, NetPort, Protocol};
use std::net::{Ipv4Addr, SocketAddrV4};

/// What the remotes map holds of a forward.
pub(super) type Listed = Vec<(RemoteKey, BootTime)>;

/// The internal endpoint of a forward.
pub(super) fn endpoint(forward: &PortForward) -> Endpoint {
    internal_endpoint(forward.internal)
}

/// An internal endpoint, as the maps hold it.
pub(super) fn internal_endpoint(internal: SocketAddrV4) -> Endpoint {
    Endpoint { addr: NetAddr::from(*internal.ip()), port: NetPort::new(internal.port()) }
}

/// The flags of the slot's owner.
pub(super) fn flags(forward: &PortForward) -> u64 {
    match forward.any_remote {
        Some(_) if !forward.filters.is_empty() => Owner::LISTED_REMOTES | Owner::FILTERED,
        _ if !forward.remotes.is_empty() => Owner::LISTED_REMOTES,
        Some(until) if until == forward.deadline() => Owner::ANY_REMOTE,
        // The slot's lease is the port's, which a disabled mapping holds for longer.
        Some(_) => Owner::LISTED_REMOTES,
        None => 0,
    }
}

/// The entries of the remotes map: the hosts that are let in, everybody as 0.0.0.0 where neither the slot's
/// lease nor filters say it; and what the packet path does not ask for, the disabled mappings.
pub(super) fn listed(slot: u32, forward: &PortForward) -> Listed {
    let entry = |slot, remote: Option<Ipv4Addr>, until| {
        (RemoteKey { slot, remote: remote.map_or(NetAddr::UNSPECIFIED, NetAddr::from) }, until)
    };
    let mut listed = Listed::new();
    if flags(forward) & Owner::LISTED_REMOTES != 0 {
        let hosts = forward.remotes.iter().map(|(host, until)| (Some(*host), *until));
        let any = forward.any_remote.filter(|_| forward.filters.is_empty());
        let all = hosts.chain(any.map(|until| (None, until)));
        listed.extend(all.map(|(remote, until)| entry(slot, remote, until)));
    }
    let disabled = forward.disabled.iter();
    let slot = slot | RemoteKey::DISABLED;
    listed.extend(disabled.map(|(remote, until)| entry(slot, *remote, *until)));
    listed
}

/// The entry of the map of filters, if there is one.
pub(super) fn filters(forward: &PortForward) -> Option<Filters> {
    let until = forward.any_remote.filter(|_| !forward.filters.is_empty())?;
    let filter = |filter: &RemoteFilter| {
        let mask = Ipv4Addr::from_bits(RemoteFilter::mask(filter.prefix));
        Filter::new(filter.network.into(), mask.into(), NetPort::new(filter.port))
    };
    Some(Filters::new(until, forward.filters.iter().map(filter)))
}

/// The forward that a slot and its entries of the remotes map make at `now`; the reverse of [`flags`]
/// and [`listed`].
pub(super) fn read(
    now: BootTime,
    (protocol, external_port): (Protocol, u16),
    owner: Owner,
    lease: BootTime,
    listed: impl Iterator<Item = (RemoteKey, BootTime)>,
    filters: Option<&Filters>,
) -> PortForward {
    let client = owner.endpoint();
    let mut forward = PortForward {
        protocol,
        external_port,
        internal: SocketAddrV4::new(client.addr.into(), client.port.get()),
        any_remote: owner.has(Owner::ANY_REMOTE).then_some(lease),
        filters: Vec::new(),
        remotes: Vec::new(),
        disabled: Vec::new(),
    };
    for (key, until) in listed.filter(|(_, until)| *until > now) {
        let remote = (!key.remote.is_unspecified()).then(|| Ipv4Addr::from(key.remote));
        match remote {
            _ if key.slot & RemoteKey::DISABLED != 0 => forward.disabled.push((remote, until)),
            Some(remote) => forward.remotes.push((remote, until)),
            None => forward.any_remote = Some(until),
        }
    }
    if let Some(filters) = filters.filter(|it| owner.has(Owner::FILTERED) && it.until > now.0) {
        forward.any_remote = Some(BootTime(filters.until));
        forward.filters = filters.filters.iter().filter(|it| it.used == 1).map(decode).collect();
    }
    forward.remotes.sort_unstable();
    forward.disabled.sort_unstable();
    forward
}

fn decode(filter: &Filter) -> RemoteFilter {
    let prefix = Ipv4Addr::from(filter.mask).to_bits().leading_ones() as u8;
    RemoteFilter::new(filter.network.into(), prefix, filter.port.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: BootTime = BootTime(1_000);
    const SLOT: u32 = 70_000;
    const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    fn forward(any: Option<u64>, host: Option<u64>, disabled: &[u64]) -> PortForward {
        PortForward {
            protocol: Protocol::Udp,
            external_port: 6000,
            internal: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 5600),
            any_remote: any.map(|seconds| NOW.plus_secs(seconds)),
            filters: Vec::new(),
            remotes: host.map(|seconds| (HOST, NOW.plus_secs(seconds))).into_iter().collect(),
            disabled: disabled.iter().map(|seconds| (None, NOW.plus_secs(*seconds))).collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (forward, wanted) in [
            (forward(Some(9), None, &[]), Owner::ANY_REMOTE),
            (forward(None, Some(9), &[]), Owner::LISTED_REMOTES),
            (forward(Some(5), Some(9), &[]), Owner::LISTED_REMOTES),
            (forward(None, None, &[9]), 0),
            (forward(Some(9), None, &[5]), Owner::ANY_REMOTE),
            (forward(Some(5), None, &[9]), Owner::LISTED_REMOTES),
            (forward(Some(5), Some(9), &[7]), Owner::LISTED_REMOTES),
        ] {
            assert_eq!(flags(&forward), wanted, "{forward:?}");
            let owner = Owner::new(endpoint(&forward), flags(&forward));
            let place = (forward.protocol, forward.external_port);
            let entries = listed(SLOT, &forward).into_iter();
            let read = read(NOW, place, owner, forward.deadline(), entries, None);
            assert_eq!(read, forward);
        }
    }

    #[test]
    fn filters_are_read_again_and_everybody_is_not_listed_beside_them() {
        let filters = vec![
            RemoteFilter::new(Ipv4Addr::new(198, 51, 100, 0), 24, 53),
            RemoteFilter::new(Ipv4Addr::UNSPECIFIED, 0, 0),
            RemoteFilter::new(HOST, 32, 1),
        ];
        for (any, host, longest) in [(9, None, 9), (5, Some(9), 9)] {
            let forward = PortForward { filters: filters.clone(), ..forward(Some(any), host, &[]) };
            assert_eq!(flags(&forward), Owner::LISTED_REMOTES | Owner::FILTERED);
            let owner = Owner::new(endpoint(&forward), flags(&forward));
            let listed = listed(SLOT, &forward);
            assert!(listed.iter().all(|(key, _)| !key.remote.is_unspecified()), "{listed:?}");
            let written = super::filters(&forward);
            let place = (Protocol::Udp, 6000);
            let lease = NOW.plus_secs(longest);
            let read = read(NOW, place, owner, lease, listed.into_iter(), written.as_ref());
            assert_eq!(read, forward);
        }
    }

    #[test]
    fn what_has_ended_is_not_read() {
        let forward = forward(Some(5), Some(9), &[7]);
        let owner = Owner::new(endpoint(&forward), flags(&forward));
        let entries = listed(SLOT, &forward).into_iter();
        let later = NOW.plus_secs(8);
        let left = read(later, (Protocol::Udp, 6000), owner, forward.deadline(), entries, None);
        assert_eq!((left.any_remote, left.disabled), (None, Vec::new()));
        assert_eq!(left.remotes, forward.remotes);
    }
}
