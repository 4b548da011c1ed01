use super::*;
use crate::{
    lan::{LanAddress, lan_address},
    wire::gena::{Callback, EventError, Granted, callbacks},
};
use nat_common::BootTime;
use proptest::prelude::*;
use std::{net::IpAddr, time::Duration};
use uuid::Uuid;

const TOPIC: u8 = 1;
const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: f64) -> BootTime {
    BootTime(1_000_000_000 + (seconds * 1e9) as u64)
}

fn home() -> LanAddress {
    lan_address("192.0.2.1", 24)
}

fn host(number: u8) -> Subscriber {
    Subscriber { at: home(), peer: IpAddr::from([192, 0, 2, number]) }
}

fn to(number: u8) -> Vec<Callback> {
    callbacks(&format!("<http://192.0.2.{number}:49152/event>"))
}

fn values(id: u32, entries: u32) -> Values {
    vec![
        ("ConnectionStatus", "Connected".to_owned()),
        ("PortMappingNumberOfEntries", entries.to_string()),
        ("SystemUpdateID", id.to_string()),
    ]
}

fn subscribe(
    publisher: &mut Publisher<u8>,
    now: BootTime,
    who: Subscriber,
    seconds: Option<u32>,
) -> Result<Granted, EventError> {
    let IpAddr::V4(peer) = who.peer else { panic!("IPv4 only") };
    let urls = to(peer.octets()[3]);
    publisher.subscribe(now, TOPIC, who, (urls, seconds), (Uuid::new_v4(), values(0, 0)))
}

/// A publisher whose one subscriber has had its first event, and the time.
fn subscribed() -> (Publisher<u8>, Uuid, BootTime) {
    let mut publisher = Publisher::default();
    let sid = subscribe(&mut publisher, at(0.0), host(7), None).unwrap().sid;
    let now = at(1.0);
    let first = publisher.next(now).unwrap();
    publisher.settle(now, sid, first.seq, Outcome::Delivered);
    (publisher, sid, now)
}

fn told(delivery: &Delivery) -> Vec<String> {
    let body = String::from_utf8(delivery.body.clone()).unwrap();
    let parts = body.split("<e:property>").skip(1);
    parts.map(|part| part.split_once("</e:property>").unwrap().0.to_owned()).collect()
}

#[test]
fn the_first_event_tells_everything_after_the_answer() {
    let mut publisher = Publisher::default();
    let granted = subscribe(&mut publisher, at(0.0), host(7), Some(3_600)).unwrap();
    assert_eq!(granted.seconds, 3_600);
    assert_eq!(publisher.next(at(0.0)), None);
    let due = publisher.due().unwrap();
    assert_eq!(due, at(0.1));
    let first = publisher.next(due).unwrap();
    assert_eq!((first.sid, first.seq, first.callbacks.clone()), (granted.sid, 0, to(7)));
    assert_eq!(
        told(&first),
        [
            "<ConnectionStatus>Connected</ConnectionStatus>",
            "<PortMappingNumberOfEntries>0</PortMappingNumberOfEntries>",
            "<SystemUpdateID>0</SystemUpdateID>",
        ]
    );
}

#[test]
fn later_events_tell_what_has_changed_in_one_message() {
    let (mut publisher, sid, now) = subscribed();
    publisher.publish(TOPIC, &values(0, 0));
    publisher.publish(TOPIC + 1, &values(9, 9));
    assert_eq!((publisher.next(now), publisher.due()), (None, None));
    publisher.publish(TOPIC, &values(1, 1));
    let second = publisher.next(now).unwrap();
    assert_eq!((second.sid, second.seq), (sid, 1));
    assert_eq!(
        told(&second),
        [
            "<PortMappingNumberOfEntries>1</PortMappingNumberOfEntries>",
            "<SystemUpdateID>1</SystemUpdateID>",
        ]
    );
}

#[test]
fn changes_during_a_message_are_told_one_by_one_until_there_are_too_many() {
    let (mut publisher, sid, now) = subscribed();
    publisher.publish(TOPIC, &values(1, 1));
    let mut delivery = publisher.next(now).unwrap();
    for id in 2..=100 {
        publisher.publish(TOPIC, &values(id, id % 3));
        assert_eq!(publisher.next(now), None, "one message at a time");
    }
    let mut ids = Vec::new();
    loop {
        let text = told(&delivery);
        ids.push(text.last().unwrap().clone());
        publisher.settle(now, sid, delivery.seq, Outcome::Delivered);
        match publisher.next(now) {
            Some(next) => delivery = next,
            None => break,
        }
    }
    let expected: Vec<_> = (1..=limits::QUEUE as u32)
        .chain([100])
        .map(|id| format!("<SystemUpdateID>{id}</SystemUpdateID>"))
        .collect();
    assert_eq!(ids, expected);
}

#[test]
fn a_storm_of_changes_becomes_few_messages() {
    let (mut publisher, sid, start) = subscribed();
    let mut sent = Vec::new();
    // A thousand changes in ten seconds; the subscriber answers at once.
    for step in 0..1_000_u32 {
        let now = start.plus_nanos(u64::from(step) * 10_000_000);
        publisher.publish(TOPIC, &values(step + 1, 0));
        while let Some(delivery) = publisher.next(now) {
            publisher.settle(now, sid, delivery.seq, Outcome::Delivered);
            sent.push(delivery);
        }
    }
    let most = limits::BURST as usize + 10 * 5 + 2;
    assert!(sent.len() > 40 && sent.len() <= most, "{}", sent.len());
    let end = start.plus_secs(60);
    while let Some(delivery) = publisher.next(end) {
        publisher.settle(end, sid, delivery.seq, Outcome::Delivered);
        sent.push(delivery);
    }
    assert_eq!(told(sent.last().unwrap()).last().unwrap(), "<SystemUpdateID>1000</SystemUpdateID>");
    let seqs: Vec<_> = sent.iter().map(|delivery| delivery.seq).collect();
    assert_eq!(seqs, (1..=sent.len() as u32).collect::<Vec<_>>());
}

#[test]
fn after_the_last_number_comes_one() {
    let (mut publisher, sid, now) = subscribed();
    publisher.get_mut(sid).unwrap().set_next_seq(u32::MAX);
    for (id, seq) in [(1, u32::MAX), (2, 1), (3, 2)] {
        publisher.publish(TOPIC, &values(id, 0));
        let delivery = publisher.next(now).unwrap();
        assert_eq!(delivery.seq, seq);
        publisher.settle(now, sid, seq, Outcome::Delivered);
    }
}

#[test]
fn a_message_that_did_not_arrive_is_tried_again_and_then_given_up() {
    let (mut publisher, sid, mut now) = subscribed();
    publisher.publish(TOPIC, &values(1, 1));
    for attempt in 0..limits::ATTEMPTS {
        let delivery = publisher.next(now).unwrap();
        assert_eq!(delivery.seq, 1);
        publisher.settle(now, sid, 1, Outcome::Unreached);
        assert_eq!(publisher.next(now), None, "there is a pause");
        now = now.plus_nanos(limits::BACKOFF.as_nanos() as u64 * (1 << attempt));
    }
    assert_eq!((publisher.next(now), publisher.due()), (None, None));
    // The subscription stays, and the next event tells what was missed.
    let mut later = values(2, 1);
    later[0].1 = "Disconnected".to_owned();
    publisher.publish(TOPIC, &later);
    let delivery = publisher.next(now).unwrap();
    assert_eq!(delivery.seq, 2);
    assert_eq!(
        told(&delivery),
        [
            "<PortMappingNumberOfEntries>1</PortMappingNumberOfEntries>",
            "<SystemUpdateID>2</SystemUpdateID>",
            "<ConnectionStatus>Disconnected</ConnectionStatus>",
        ]
    );
}

#[test]
fn a_message_that_may_have_arrived_is_not_repeated_under_its_number() {
    let (mut publisher, sid, now) = subscribed();
    publisher.publish(TOPIC, &values(1, 1));
    publisher.next(now).unwrap();
    publisher.settle(now, sid, 1, Outcome::Unanswered);
    publisher.publish(TOPIC, &values(2, 1));
    assert_eq!(publisher.next(now), None);
    let next = publisher.next(now.plus_secs(1)).unwrap();
    assert_eq!((next.seq, told(&next).len()), (2, 2));
}

#[test]
fn a_subscriber_that_knows_of_nothing_is_let_go() {
    let (mut publisher, sid, now) = subscribed();
    publisher.publish(TOPIC, &values(1, 1));
    publisher.next(now).unwrap();
    publisher.settle(now, sid, 1, Outcome::Unknown);
    assert!(publisher.is_empty());

    // It may not have read the answer to SUBSCRIBE when the first event comes.
    let sid = subscribe(&mut publisher, now, host(7), None).unwrap().sid;
    let now = now.plus_secs(1);
    assert_eq!(publisher.next(now).unwrap().seq, 0);
    publisher.settle(now, sid, 0, Outcome::Unknown);
    assert_eq!(publisher.next(now.plus_secs(1)).unwrap().seq, 0);
}

#[test]
fn a_subscription_ends_when_it_is_not_renewed() {
    let (mut publisher, sid, _) = subscribed();
    publisher.renew(at(1_000.0), TOPIC, &host(7), (sid, Some(1_800))).unwrap();
    publisher.publish(TOPIC, &values(1, 1));
    assert!(publisher.next(at(2_799.0)).is_some());
    publisher.settle(at(2_799.0), sid, 1, Outcome::Delivered);
    publisher.publish(TOPIC, &values(2, 2));
    assert_eq!(publisher.next(at(2_800.0)), None);
    assert_eq!(publisher.len(), 0);
    let late = publisher.renew(at(2_800.0), TOPIC, &host(7), (sid, None));
    assert_eq!(late, Err(EventError::BadSid));
}

#[test]
fn the_time_that_is_granted_lies_within_bounds() {
    let mut publisher = Publisher::default();
    for (asked, granted) in [
        (None, limits::LEAST_SECONDS),
        (Some(0), limits::LEAST_SECONDS),
        (Some(1_801), 1_801),
        (Some(u32::MAX), limits::MOST_SECONDS),
    ] {
        let found = subscribe(&mut publisher, at(0.0), host(7), asked).unwrap();
        assert_eq!(found.seconds, granted);
        let renewed = publisher.renew(at(0.0), TOPIC, &host(7), (found.sid, asked)).unwrap();
        assert_eq!(renewed, found);
    }
}

#[test]
fn only_its_subscriber_renews_and_ends_a_subscription() {
    let (mut publisher, sid, now) = subscribed();
    for (topic, who) in [(TOPIC, host(8)), (TOPIC + 1, host(7))] {
        assert_eq!(publisher.renew(now, topic, &who, (sid, None)), Err(EventError::BadSid));
        assert_eq!(publisher.unsubscribe(now, topic, &who, sid), Err(EventError::BadSid));
    }
    publisher.publish(TOPIC, &values(1, 1));
    assert_eq!(publisher.unsubscribe(now, TOPIC, &host(7), sid), Ok(()));
    assert_eq!((publisher.next(now), publisher.len()), (None, 0));
    assert_eq!(publisher.unsubscribe(now, TOPIC, &host(7), sid), Err(EventError::BadSid));
}

#[test]
fn events_go_to_hosts_of_the_subscribers_network_alone() {
    let mut publisher = Publisher::default();
    let mut outcome = |urls: &str| {
        let first = (Uuid::new_v4(), values(0, 0));
        let asked = (callbacks(urls), None);
        publisher.subscribe(at(0.0), TOPIC, host(7), asked, first).map(|granted| granted.sid)
    };
    for url in [
        "<http://203.0.113.1:5000/>",
        "<http://192.0.3.7:5000/>",
        "<http://192.0.2.1:5000/>",
        "<http://192.0.2.255:5000/>",
        "<http://192.0.2.0:5000/>",
        "<http://127.0.0.1:5000/>",
        "<http://239.255.255.250:1900/>",
        "<http://0.0.0.0:5000/>",
        "<http://[fe80::7]:5000/>",
        "<http://[::ffff:192.0.2.7]:5000/>",
        "<http://192.0.2.7:1023/>",
        "<http://192.0.2.7/>",
    ] {
        assert_eq!(outcome(url), Err(EventError::BadCallback), "{url}");
    }
    let both = "<http://203.0.113.1:5000/a><http://192.0.2.7:5000/b><http://192.0.2.9:5000/c>";
    let sid = outcome(both).unwrap();
    let delivery = publisher.next(at(1.0)).unwrap();
    let paths: Vec<_> = delivery.callbacks.iter().map(|callback| callback.path.as_str()).collect();
    assert_eq!((delivery.sid, paths), (sid, vec!["/b", "/c"]));
}

#[test]
fn subscriptions_are_limited_in_all_and_by_client() {
    let mut publisher = Publisher::default();
    for _ in 0..limits::SUBSCRIPTIONS_PER_CLIENT {
        subscribe(&mut publisher, at(0.0), host(7), None).unwrap();
    }
    assert_eq!(subscribe(&mut publisher, at(0.0), host(7), None), Err(EventError::Full));
    let mut last = 8;
    while subscribe(&mut publisher, at(0.0), host(last), None).is_ok() {
        last += u8::from(publisher.len() % limits::SUBSCRIPTIONS_PER_CLIENT == 0);
    }
    assert_eq!(publisher.len(), limits::SUBSCRIPTIONS);
    // When they have run out there is room again.
    let later = at(f64::from(limits::LEAST_SECONDS));
    subscribe(&mut publisher, later, host(7), None).unwrap();
    assert_eq!(publisher.len(), 1);
}

#[test]
fn who_takes_no_events_gives_way_when_there_is_no_room() {
    let mut publisher = Publisher::default();
    let mut peers = (10..200_u8).cycle();
    while publisher.len() < limits::SUBSCRIPTIONS {
        subscribe(&mut publisher, at(0.0), host(peers.next().unwrap()), None).unwrap();
    }
    assert_eq!(subscribe(&mut publisher, at(0.0), host(7), None), Err(EventError::Full));
    let mut now = at(1.0);
    let mut deaf = None;
    for _ in 0..limits::ATTEMPTS {
        while let Some(delivery) = publisher.next(now) {
            let first = *deaf.get_or_insert(delivery.sid);
            let outcome =
                if delivery.sid == first { Outcome::Unreached } else { Outcome::Delivered };
            publisher.settle(now, delivery.sid, delivery.seq, outcome);
        }
        now = now.plus_secs(10);
    }
    subscribe(&mut publisher, now, host(7), None).unwrap();
    assert_eq!(publisher.len(), limits::SUBSCRIPTIONS);
    assert!(publisher.get_mut(deaf.unwrap()).is_none());
    assert_eq!(subscribe(&mut publisher, now, host(7), None), Err(EventError::Full));
}

#[test]
fn subscriptions_end_with_the_address_that_they_came_by() {
    let (mut publisher, ..) = subscribed();
    publisher.forget(&lan_address("198.51.100.1", 24));
    assert_eq!(publisher.len(), 1);
    publisher.forget(&home());
    assert!(publisher.is_empty());
}

#[test]
fn pauses_grow_to_their_bound() {
    let (mut publisher, sid, mut now) = subscribed();
    let mut pauses = Vec::new();
    for id in 1..=12 {
        publisher.publish(TOPIC, &values(id, 0));
        now = publisher.due().unwrap().max(now);
        let delivery = publisher.next(now).unwrap();
        publisher.settle(now, sid, delivery.seq, Outcome::Unanswered);
        publisher.publish(TOPIC, &values(1_000 + id, 0));
        pauses.push(Duration::from_nanos(publisher.due().unwrap().nanos_from(now)));
    }
    assert_eq!(pauses[..4], [SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND]);
    assert_eq!(pauses.last(), Some(&limits::LONGEST_BACKOFF));
}

/// What may happen to a publisher with two subscribers.
#[derive(Clone, Debug)]
enum Step {
    Change(u32),
    Wait(u32),
    Settle(usize, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0_u32..5).prop_map(Step::Change),
        (0_u32..3_000).prop_map(Step::Wait),
        (any::<usize>(), 0_u8..4).prop_map(|(which, outcome)| Step::Settle(which, outcome)),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    /// Whatever is lost on the way: the numbers never go back, there is one message of each subscriber on
    /// its way, and whoever answers in the end knows how things are.
    #[test]
    fn who_listens_in_the_end_knows_all(steps in steps()) {
        let mut publisher = Publisher::default();
        let sids = [7, 8].map(|number| {
            subscribe(&mut publisher, at(0.0), host(number), None).unwrap().sid
        });
        let (mut now, mut id, mut entries) = (at(1.0), 0, 0);
        let mut flying: Vec<Delivery> = Vec::new();
        let mut known = [(); 2].map(|()| std::collections::BTreeMap::new());
        let mut numbers = [None::<u32>; 2];
        let mut arrive = |delivery: &Delivery| {
            let who = sids.iter().position(|sid| *sid == delivery.sid).unwrap();
            assert!(numbers[who].is_none_or(|last| delivery.seq > last), "{delivery:?}");
            numbers[who] = Some(delivery.seq);
            for property in told(delivery) {
                let (name, value) = property[1..].split_once('>').unwrap();
                let value = value.split_once('<').unwrap().0;
                known[who].insert(name.to_owned(), value.to_owned());
            }
        };
        for step in steps {
            match step {
                Step::Change(more) => {
                    id += 1;
                    entries = more;
                    publisher.publish(TOPIC, &values(id, entries));
                }
                Step::Wait(millis) => now = now.plus_nanos(u64::from(millis) * 1_000_000),
                Step::Settle(which, outcome) if !flying.is_empty() => {
                    let delivery = flying.swap_remove(which % flying.len());
                    let outcome = match outcome {
                        0 => { arrive(&delivery); Outcome::Delivered }
                        1 => Outcome::Unreached,
                        2 => Outcome::Unanswered,
                        _ => { arrive(&delivery); Outcome::Unanswered }
                    };
                    publisher.settle(now, delivery.sid, delivery.seq, outcome);
                }
                Step::Settle(..) => {}
            }
            while let Some(delivery) = publisher.next(now) {
                prop_assert!(!flying.iter().any(|other| other.sid == delivery.sid));
                flying.push(delivery);
            }
        }
        id += 1;
        publisher.publish(TOPIC, &values(id, entries));
        for _ in 0..40 {
            for delivery in flying.drain(..) {
                arrive(&delivery);
                publisher.settle(now, delivery.sid, delivery.seq, Outcome::Delivered);
            }
            now = now.plus_secs(10);
            while let Some(delivery) = publisher.next(now) {
                flying.push(delivery);
            }
        }
        prop_assert!(flying.is_empty());
        let truth = values(id, entries).into_iter().map(|(name, value)| (name.to_owned(), value));
        let truth: std::collections::BTreeMap<_, _> = truth.collect();
        for known in known {
            prop_assert_eq!(&known, &truth);
        }
    }
}
