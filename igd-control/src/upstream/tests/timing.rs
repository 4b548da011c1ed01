//! When the client sends.

use super::*;
use nat_common::time::NANOS_PER_SEC;

/// The pauses between what was sent, in seconds.
fn pauses(world: &World) -> Vec<f64> {
    let seconds = |pair: &[(BootTime, Vec<u8>)]| {
        pair[1].0.nanos_from(pair[0].0) as f64 / NANOS_PER_SEC as f64
    };
    world.sent.windows(2).map(seconds).collect()
}

#[test]
fn a_request_without_answer_is_repeated_after_3_6_12_seconds_and_so_on_for_ever() {
    let mut world = World::new();
    world.deaf = true;
    world.exactly(6_000, 10_000_000);
    world.pass(10_000);
    let pauses = pauses(&world);
    let mut middle = 3.0;
    for pause in &pauses {
        assert!((middle * 0.9..=middle * 1.1).contains(pause), "{pauses:?}");
        middle = (pause * 2.0).min(1_024.0);
    }
    assert!(pauses.len() >= 15);
    assert!(world.sent.windows(2).all(|pair| pair[0].1[24..] == pair[1].1[24..]), "the same nonce");
}

#[test]
fn a_silent_server_is_seen_as_such_after_ten_seconds() {
    let mut world = World::new();
    world.deaf = true;
    world.exactly(6_000, 100_000);
    world.pass(9);
    assert_eq!(world.client.service(), Service::Unknown);
    world.pass(2);
    assert_eq!(world.client.service(), Service::Silent);
}

#[test]
fn renewals_of_a_mute_server_come_closer_and_never_closer_than_four_seconds() {
    let mut world = World::new();
    world.server.longest = 1_000;
    world.exactly(6_000, 100_000);
    world.sent.clear();
    world.deaf = true;
    world.pass(999);
    let moments: Vec<f64> = world
        .sent
        .iter()
        .map(|(at, _)| at.nanos_from(START) as f64 / NANOS_PER_SEC as f64)
        .collect();
    for (at, (from, to)) in
        moments.iter().zip([(500.0, 625.0), (750.0, 812.5), (875.0, 906.3), (937.5, 953.2)])
    {
        assert!((from..=to).contains(at), "{moments:?}");
    }
    assert!(moments.windows(2).all(|pair| pair[1] - pair[0] >= 4.0), "{moments:?}");
}
