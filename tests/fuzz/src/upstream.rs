//! What servers beyond the gateway send it: answers and announcements of PCP and NAT-PMP, and of STUN.

use igd_control::upstream::{
    Client, ClientConfig, Key, Prefix, ServerPlace, StunCheck, Wanted, Xlat,
};
use igd_control::wire::stun::{TransactionId, binding_response, mapped_address};
use nat_common::{BootTime, Protocol};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use uuid::Uuid;

const OWN: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
const PLACE: ServerPlace = ServerPlace::V4(Ipv4Addr::new(100, 64, 0, 1));
const PLACE_6: ServerPlace = ServerPlace::V6 {
    server: SocketAddrV6::new(Ipv6Addr::LOCALHOST, 5_351, 0, 0),
    own: Ipv6Addr::LOCALHOST,
};
const ID: TransactionId = TransactionId([7; 12]);
/// Steps that are taken, so that an input ends.
const STEPS: usize = 64;

/// Takes datagrams, each behind its length and the seconds that pass before it, from a server of IPv4, then
/// the same from one of IPv6, and from that of a NAT64. The client stays within its window and holds no lease that has ended.
pub fn run(input: &[u8]) {
    let prefix = |text: &str| text.parse::<Prefix>().ok();
    let prefixes = prefix("2001:db8::/96").zip(prefix("64:ff9b::/96"));
    let xlat = prefixes.map(|(internal, remote)| Xlat { internal, remote });
    for (place, xlat) in [(PLACE, None), (PLACE_6, None), (PLACE_6, xlat)] {
        from(place, xlat, input);
    }
}

fn from(place: ServerPlace, xlat: Option<Xlat>, input: &[u8]) {
    let mut now = BootTime(1_000_000_000);
    let (client, server) = (place.client(OWN), place.server());
    let config =
        ClientConfig { own: OWN, client, server, secret: Uuid::from_u128(7), seed: 1, xlat };
    let mut client = Client::new(config);
    let mut check = StunCheck::new();
    check.own_is(now, Some(OWN));
    for port in 6_000..6_004 {
        let remote = (port % 2 == 1).then(|| SocketAddrV4::new(OWN, 53));
        let internal = SocketAddrV4::new(OWN, port);
        let key = Key { protocol: Protocol::Udp, internal, remote };
        client.want(now, key, Wanted::exactly(port, now.plus_secs(100_000)));
    }
    let mut rest = input;
    for _ in 0..STEPS {
        let [length, seconds, after @ ..] = rest else { break };
        let (datagram, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        now = now.plus_secs(u64::from(*seconds));
        client.hear(now, server, datagram);
        client.overhear(now, server, datagram);
        let sent = client.take_datagrams();
        assert!(sent.len() < 1_000, "the client floods its server");
        client.take_events();
        for key in client.keys() {
            assert!(client.lease(&key).is_none_or(|lease| lease.until >= now));
        }
        check.tick(now, ID);
        check.hear(now, datagram);
        if let Some(seen) = mapped_address(datagram, ID) {
            assert_eq!(mapped_address(&binding_response(ID, seen), ID), Some(seen));
        }
    }
}
