//! A port forward as the maps hold it: what its slot says, and whom it lists.

use crate::mapping::PortForward;
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
        _ if !forward.remotes.is_empty() => Owner::LISTED_REMOTES,
        Some(until) if until == forward.deadline() => Owner::ANY_REMOTE,
        // The slot's lease is the port's, which a disabled mapping holds for longer.
        Some(_) => Owner::LISTED_REMOTES,
        None => 0,
    }
}

/// The entries of the remotes map: the hosts that are let in, everybody as 0.0.0.0 where the slot's
/// lease does not say it; and what the packet path does not ask for, the disabled mappings.
pub(super) fn listed(slot: u32, forward: &PortForward) -> Listed {
    let entry = |slot, remote: Option<Ipv4Addr>, until| {
        (RemoteKey { slot, remote: remote.map_or(NetAddr::UNSPECIFIED, NetAddr::from) }, until)
    };
    let mut listed = Listed::new();
    if flags(forward) == Owner::LISTED_REMOTES {
        let hosts = forward.remotes.iter().map(|(host, until)| (Some(*host), *until));
        let all = hosts.chain(forward.any_remote.map(|until| (None, until)));
        listed.extend(all.map(|(remote, until)| entry(slot, remote, until)));
    }
    let disabled = forward.disabled.iter();
    let slot = slot | RemoteKey::DISABLED;
    listed.extend(disabled.map(|(remote, until)| entry(slot, *remote, *until)));
    listed
}

/// The forward that a slot and its entries of the remotes map make at `now`; the reverse of [`flags`]
/// and [`listed`].
pub(super) fn read(
    now: BootTime,
    (protocol, external_port): (Protocol, u16),
    owner: Owner,
    lease: BootTime,
    listed: impl Iterator<Item = (RemoteKey, BootTime)>,
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
    forward.remotes.sort_unstable();
    forward.disabled.sort_unstable();
    forward
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
            assert_eq!(read(NOW, place, owner, forward.deadline(), entries), forward);
        }
    }

    #[test]
    fn what_has_ended_is_not_read() {
        let forward = forward(Some(5), Some(9), &[7]);
        let owner = Owner::new(endpoint(&forward), flags(&forward));
        let entries = listed(SLOT, &forward).into_iter();
        let later = NOW.plus_secs(8);
        let left = read(later, (Protocol::Udp, 6000), owner, forward.deadline(), entries);
        assert_eq!((left.any_remote, left.disabled), (None, Vec::new()));
        assert_eq!(left.remotes, forward.remotes);
    }
}
