//! Datagrams of PCP and NAT-PMP, one after another, through the server and the gateway to the answers.
//!
//! Each datagram has three bytes before it: the client, the time that passes, and its length in words of
//! four bytes.

use crate::path::{EXTERNAL, MemoryPath};
use crate::reader::Reader;
use igd_control::igd::{Gateway, GatewayConfig, Policy};
use igd_control::mapping::{Limits, Origin};
use igd_control::pcp::{Epoch, Server, Settings};
use igd_control::wire::pcp::{MAX_MESSAGE, Operation, Response};
use igd_control::wire::{nat_pmp, pcp};
use nat_common::BootTime;
use nat_common::filters::MAX_FILTERS;
use std::net::{IpAddr, Ipv4Addr};

/// Who asks.
const CLIENTS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(192, 168, 77, 2),
    Ipv4Addr::new(192, 168, 77, 3),
    Ipv4Addr::new(192, 168, 78, 2),
];
/// Seconds that pass.
const PAUSES: [u64; 4] = [0, 1, 200, 90_000];

/// Takes datagrams, and compares what the table holds with what the packet path does after each.
pub fn run(input: &[u8]) {
    for policy in [Policy::OwnClient, Policy::Open] {
        let mut now = BootTime(0).plus_secs(1_000);
        let limits = Limits { mappings: 8, per_client: 4, ..Limits::default() };
        let config = GatewayConfig { policy, limits, seed: 5, ..GatewayConfig::default() };
        let mut gateway = Gateway::new(now, &config, MemoryPath::default());
        let settings = Settings { third_party: policy == Policy::Open, ..Settings::default() };
        let mut server = Server::new(settings, Epoch::new(now));
        server.look_at_address(now, &mut gateway);
        let mut reader = Reader::new(input);
        while let Some(client) = reader.one_of(&CLIENTS) {
            let Some(pause) = reader.one_of(&PAUSES) else { break };
            let Some(words) = reader.byte() else { break };
            now = now.plus_secs(pause);
            let datagram = reader.up_to(usize::from(words) * 4);
            if let Some(answer) = server.answer(now, &mut gateway, client, datagram) {
                check_answer(datagram, &answer);
            }
            check_table(&mut gateway, now);
        }
    }
}

/// An answer can be read by a client, and is about its request.
fn check_answer(datagram: &[u8], answer: &[u8]) {
    assert!(answer.len() <= MAX_MESSAGE);
    if datagram.first() == Some(&nat_pmp::VERSION) {
        let read = nat_pmp::Response::decode(answer);
        assert!(read.is_ok(), "{read:?}: {answer:?}");
        return;
    }
    let read = Response::decode(answer);
    assert!(read.is_ok(), "{read:?}: {answer:?}");
    let Ok(response) = read else { return };
    assert!(response.is_success() || [30, 1_800].contains(&response.lifetime), "{response:?}");
    let Ok(request) = pcp::Request::decode(datagram) else {
        assert!(!response.is_success(), "{response:?}");
        return;
    };
    assert_eq!(response.operation().map(Operation::opcode), Some(request.operation.opcode()));
    let granted =
        response.operation().and_then(Operation::mapping).filter(|_| response.is_success());
    if let Some(mapping) = granted.filter(|_| response.lifetime > 0) {
        assert_eq!(mapping.external, IpAddr::V4(EXTERNAL));
        assert!((120..=86_400).contains(&response.lifetime), "{response:?}");
    }
}

/// What the table holds is in force, and nothing else is; the same for what PEER has asked for.
fn check_table(gateway: &mut Gateway<MemoryPath>, now: BootTime) {
    gateway.expire(now);
    let held = gateway.path().1.values().filter(|peer| peer.deadline > now);
    assert!(held.eq(gateway.peers().iter()), "{:?}", gateway.path().1);
    assert!(gateway.peers().len() <= 8);
    let forwards = &gateway.path().0;
    assert_eq!(forwards.len(), gateway.table().len(), "{forwards:?}");
    for mapping in gateway.table().iter() {
        assert!(!matches!(mapping.origin(), Origin::Upnp | Origin::Unknown), "{mapping:?}");
        assert!((1..=86_400).contains(&mapping.lease_left(now)), "{mapping:?}");
        let forward = forwards.get(&(mapping.key.protocol as u8, mapping.key.external_port));
        let in_force = forward.is_some_and(|forward| {
            forward.internal == mapping.internal
                && forward.any_remote == Some(mapping.deadline)
                && forward.filters == mapping.filters()
        });
        assert!(in_force && mapping.filters().len() <= MAX_FILTERS, "{mapping:?}, {forward:?}");
    }
}
