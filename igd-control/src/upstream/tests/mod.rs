//! The client on a virtual clock, with a server that does as it is told.

mod ipv6;
mod mirror;
mod nat_pmp;
mod peers;
mod random;
pub(crate) mod server;
mod timing;

use super::{Client, ClientConfig, EndReason, Event, Key, ServerPlace, Service, Wanted, Xlat};
use crate::wire::pcp::{Filter, PcpOption, Request, ResultCode};
use nat_common::{BootTime, Protocol};
use server::{OWN, PLACE, SERVER, Server};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use uuid::Uuid;

const START: BootTime = BootTime(1_000_000_000_000);

/// A client, a server, and the time between them.
struct World {
    now: BootTime,
    client: Client,
    server: Server,
    /// Datagrams of the client, with when each was sent.
    sent: Vec<(BootTime, Vec<u8>)>,
    events: Vec<Event>,
    /// The server's answers get lost.
    deaf: bool,
}

impl World {
    fn new() -> Self {
        Self::with(PLACE)
    }

    fn with(place: ServerPlace) -> Self {
        Self::translated(place, None)
    }

    fn translated(place: ServerPlace, xlat: Option<Xlat>) -> Self {
        let client = place.client(OWN);
        let (secret, seed) = (Uuid::from_u128(7), 1);
        let config = ClientConfig { own: OWN, client, server: place.server(), secret, seed, xlat };
        Self {
            now: START,
            client: Client::new(config),
            server: Server::asked_from(client, START),
            sent: Vec::new(),
            events: Vec::new(),
            deaf: false,
        }
    }

    fn want(&mut self, port: u16, wanted: Wanted) -> Key {
        let key = key(port);
        self.client.want(self.now, key, wanted);
        self.exchange();
        key
    }

    fn exactly(&mut self, port: u16, seconds: u64) -> Key {
        let until = self.now.plus_secs(seconds);
        self.want(port, Wanted::exactly(port, until))
    }

    /// Carries datagrams until nobody has anything to say.
    fn exchange(&mut self) {
        loop {
            let datagrams = self.client.take_datagrams();
            self.events.extend(self.client.take_events());
            if datagrams.is_empty() {
                return;
            }
            for datagram in datagrams {
                let answer = self.server.answer(self.now, &datagram);
                self.sent.push((self.now, datagram));
                if let Some(answer) = answer.filter(|_| !self.deaf) {
                    let from = self.client.config().server;
                    self.client.hear(self.now, from, &answer);
                }
            }
        }
    }

    /// Lets time pass, from one moment that the client names to the next.
    fn pass(&mut self, seconds: u64) {
        let end = self.now.plus_secs(seconds);
        let mut steps = 0;
        while let Some(next) = self.client.next().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.client.tick(self.now);
            self.exchange();
            steps += 1;
            assert!(steps < 100_000, "the client spins");
        }
        self.now = end;
    }

    fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn requests(&mut self) -> usize {
        std::mem::take(&mut self.sent).len()
    }
}

fn key(port: u16) -> Key {
    Key::map(Protocol::Tcp, SocketAddrV4::new(OWN, port))
}

fn granted(event: &Event) -> bool {
    matches!(event, Event::Granted(..))
}

#[test]
fn a_mapping_is_asked_for_granted_and_given_back() {
    let mut world = World::new();
    let key = world.exactly(6_000, 600);
    assert_eq!(world.client.service(), Service::Pcp);
    let lease = *world.client.lease(&key).expect("granted");
    assert_eq!((lease.port, lease.until), (6_000, START.plus_secs(600)));
    assert!(world.events().iter().all(granted));
    world.client.forget(world.now, &key);
    world.exchange();
    assert!(world.server.mappings.is_empty());
    assert_eq!(world.client.next(), None, "nothing is left to do");
}

#[test]
fn answers_from_elsewhere_or_with_another_nonce_are_nobodys() {
    let mut world = World::new();
    world.deaf = true;
    let key = world.exactly(6_000, 600);
    let request = world.sent[0].1.clone();
    let mut answer = world.server.answer(world.now, &request).unwrap();
    let elsewhere = SocketAddr::new(SERVER.ip(), 5_352);
    world.client.hear(world.now, elsewhere, &answer);
    let stranger = SocketAddr::new(Ipv4Addr::new(11, 22, 33, 77).into(), SERVER.port());
    world.client.hear(world.now, stranger, &answer);
    assert!(world.client.is_pending(&key));
    answer[24] ^= 1;
    world.client.hear(world.now, SERVER, &answer);
    assert!(world.client.is_pending(&key));
    answer[24] ^= 1;
    // Before its option, which need not be there.
    for cut in 0..answer.len() - 4 {
        world.client.hear(world.now, SERVER, &answer[..cut]);
    }
    assert!(world.client.is_pending(&key));
    world.client.hear(world.now, SERVER, &answer);
    assert!(!world.client.is_pending(&key));
}

#[test]
fn a_port_that_another_subscriber_has_is_a_conflict_at_once() {
    let mut world = World::new();
    world.server.taken.push(6_000);
    let key = world.exactly(6_000, 600);
    assert_eq!(world.events(), [Event::Refused(key, ResultCode::CannotProvideExternal)]);
    assert_eq!(world.client.lease(&key), None);
}

#[test]
fn another_port_in_spite_of_prefer_failure_is_a_conflict_and_given_back() {
    let mut world = World::new();
    world.server.taken.push(6_000);
    world.server.ignores_prefer_failure = true;
    let key = world.exactly(6_000, 600);
    assert_eq!(world.events(), [Event::Refused(key, ResultCode::CannotProvideExternal)]);
    assert!(world.server.mappings.is_empty(), "{:?}", world.server.mappings);
}

#[test]
fn without_prefer_failure_another_port_is_taken() {
    let mut world = World::new();
    world.server.taken.push(6_000);
    let key = world.want(6_000, Wanted::about(6_000, START.plus_secs(600)));
    assert_ne!(world.client.lease(&key).unwrap().port, 6_000);
}

#[test]
fn a_week_is_simulated_by_renewals_with_the_same_nonce() {
    let mut world = World::new();
    world.server.longest = 3_600;
    let key = world.exactly(6_000, 604_800);
    for _ in 0..167 {
        world.pass(3_600);
        assert!(world.server.has(world.now, 6_000), "no gap");
        assert!(world.client.lease(&key).unwrap().until <= world.now.plus_secs(3_600));
    }
    assert!(world.events().iter().all(granted));
    let requests = world.requests();
    assert!((167 * 8 / 5..=168 * 2 + 2).contains(&requests), "{requests}");
}

#[test]
fn what_lasts_as_long_as_it_is_wanted_is_not_renewed() {
    let mut world = World::new();
    let key = world.exactly(6_000, 600);
    assert_eq!(world.requests(), 1);
    world.pass(500);
    assert_eq!(world.requests(), 0);
    world.exactly(6_000, 600);
    world.pass(80);
    assert_eq!(world.requests(), 1, "its client has prolonged it");
    assert!(world.client.lease(&key).unwrap().until > world.now.plus_secs(500));
}

#[test]
fn a_renewal_that_nobody_answers_ends_the_mapping() {
    let mut world = World::new();
    world.server.longest = 600;
    let key = world.exactly(6_000, 6_000);
    world.events();
    world.deaf = true;
    world.pass(599);
    assert_eq!(world.client.service(), Service::Silent);
    assert_eq!(world.events(), []);
    world.pass(2);
    assert_eq!(world.events(), [Event::Ended(key, EndReason::Unanswered)]);
    world.deaf = false;
    world.pass(60);
    assert!(world.events().iter().all(granted), "still wanted, it comes back with the server");
    assert_eq!(world.client.service(), Service::Pcp);
}

#[test]
fn a_renewal_that_is_refused_for_good_ends_the_mapping_at_once() {
    let mut world = World::new();
    world.server.longest = 600;
    let key = world.exactly(6_000, 6_000);
    world.events();
    world.server.fails = Some((ResultCode::NotAuthorized, u32::MAX));
    world.pass(400);
    let refused = EndReason::Refused(ResultCode::NotAuthorized);
    assert_eq!(world.events().first(), Some(&Event::Ended(key, refused)));
}

#[test]
fn a_short_error_is_waited_out_once() {
    for (failures, expected) in [(1, None), (2, Some(ResultCode::NoResources))] {
        let mut world = World::new();
        world.server.fails = Some((ResultCode::NoResources, failures));
        let key = world.exactly(6_000, 600);
        world.pass(29);
        assert_eq!((world.events().len(), world.requests()), (0, 1));
        assert!(world.client.is_pending(&key));
        world.pass(2);
        match expected {
            None => assert!(world.events().iter().all(granted)),
            Some(code) => assert_eq!(world.events(), [Event::Refused(key, code)]),
        }
    }
}

#[test]
fn a_server_that_has_lost_its_state_gets_all_mappings_again() {
    let mut world = World::new();
    world.server.longest = 600;
    for port in 6_000..6_100 {
        world.exactly(port, 100_000);
    }
    world.pass(100);
    world.server = Server::new(world.now);
    world.server.longest = 600;
    world.events();
    world.pass(300);
    let events = world.events();
    assert_eq!(events.iter().filter(|event| **event == Event::StateLost).count(), 1);
    assert_eq!(events.iter().filter(|event| granted(event)).count(), events.len() - 1);
    assert!((6_000..6_100).all(|port| world.server.has(world.now, port)));
}

#[test]
fn what_cannot_be_made_again_after_a_loss_has_ended() {
    let mut world = World::new();
    let keys = [6_000, 6_001].map(|port| world.exactly(port, 100_000));
    world.events();
    world.server = Server::new(world.now.plus_secs(10));
    world.server.taken.push(6_001);
    world.pass(10);
    let announce = world.server.announce(world.now.plus_secs(20));
    world.pass(20);
    world.client.overhear(world.now, SERVER, &announce);
    assert_eq!(world.requests(), 2, "nothing at once: others have heard it, too");
    world.pass(6);
    assert_eq!(world.requests(), 2);
    let conflict = EndReason::Refused(ResultCode::CannotProvideExternal);
    let events = world.events();
    assert_eq!(events[0], Event::StateLost);
    assert!(events.contains(&Event::Ended(keys[1], conflict)));
    assert!(world.client.lease(&keys[0]).is_some());
}

#[test]
fn many_mappings_are_asked_for_a_window_at_a_time() {
    let mut world = World::new();
    world.deaf = true;
    for port in 6_000..6_200 {
        world.exactly(port, 600);
    }
    assert_eq!(world.requests(), 32);
    world.deaf = false;
    world.pass(4);
    assert!((6_000..6_200).all(|port| world.server.has(world.now, port)));
}

#[test]
fn another_host_is_named_by_third_party() {
    let mut world = World::new();
    let internal = SocketAddrV4::new(Ipv4Addr::new(10, 1, 2, 3), 6_000);
    let key = Key::map(Protocol::Udp, internal);
    world.client.want(world.now, key, Wanted::exactly(6_000, world.now.plus_secs(600)));
    world.exchange();
    assert!(world.client.lease(&key).is_some());
    assert_eq!(world.server.mappings[0].internal, internal);
}

#[test]
fn filters_are_sent_and_a_server_that_knows_none_is_no_help() {
    for knows in [true, false] {
        let mut world = World::new();
        world.server.knows_filters = knows;
        let address = Ipv4Addr::new(11, 22, 44, 2).into();
        let filters = vec![Filter { prefix: 128, port: 0, address }];
        let wanted = Wanted { filters, ..Wanted::exactly(6_000, START.plus_secs(600)) };
        let key = world.want(6_000, wanted);
        let echoed = world.client.lease(&key).map(|lease| lease.filter_echoed);
        assert_eq!(echoed, knows.then_some(true), "nobody is let in who should not be");
    }
}

#[test]
fn other_filters_take_the_place_of_those_before() {
    let mut world = World::new();
    let filter =
        |host| Filter { prefix: 128, port: 0, address: Ipv4Addr::new(11, 22, 44, host).into() };
    let wanted = |hosts: &[u8]| Wanted {
        filters: hosts.iter().copied().map(filter).collect(),
        ..Wanted::exactly(6_000, START.plus_secs(600))
    };
    world.want(6_000, wanted(&[2]));
    world.sent.clear();
    let sent = |world: &mut World| {
        let (_, datagram) = world.sent.pop().unwrap();
        let options = Request::decode(&datagram).unwrap().options;
        let prefix = |option: &PcpOption| match option {
            PcpOption::Filter(filter) => Some(filter.prefix),
            _ => None,
        };
        options.iter().filter_map(prefix).collect::<Vec<_>>()
    };
    world.want(6_000, wanted(&[3, 4]));
    assert_eq!(sent(&mut world), [0, 128, 128]);
    world.want(6_000, wanted(&[]));
    assert_eq!(sent(&mut world), [0], "everybody");
}

#[test]
fn an_endpoint_that_wants_another_port_gives_the_old_one_back_first() {
    let mut world = World::new();
    let key = world.exactly(6_000, 600);
    let other = Wanted::exactly(6_001, world.now.plus_secs(600));
    world.client.want(world.now, key, other);
    world.exchange();
    assert_eq!(world.server.port_of(world.now, &key), Some(6_001));
    assert_eq!(world.client.lease(&key).map(|lease| lease.port), Some(6_001));
}

#[test]
fn the_end_of_a_mapping_is_said_again_and_then_left_to_time() {
    let mut world = World::new();
    let key = world.exactly(6_000, 600);
    world.requests();
    world.deaf = true;
    world.client.forget(world.now, &key);
    world.exchange();
    world.pass(600);
    assert_eq!(world.requests(), 4);
    assert_eq!(world.client.next(), None);
}

#[test]
fn who_wants_a_mapping_back_while_its_end_is_said_gets_it() {
    let mut world = World::new();
    let key = world.exactly(6_000, 600);
    world.client.forget(world.now, &key);
    world.client.want(world.now, key, Wanted::exactly(6_000, world.now.plus_secs(300)));
    world.exchange();
    assert!(world.client.lease(&key).is_some());
    assert!(world.server.has(world.now, 6_000));
}
