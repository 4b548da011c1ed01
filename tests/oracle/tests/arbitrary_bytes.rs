//! Whatever bytes come in: the pipeline does not panic, changes nothing that it does not send, and
//! sends nothing from the WAN with another source than the external address.
// For clippy, which would not know it for a test otherwise.
#![cfg(test)]

use nat_oracle::{Event, HostMachine, World};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, FileFailurePersistence};

/// So many cases unless `PROPTEST_CASES` says otherwise. Seeds that failed are kept beside the test, to
/// be tried first from then on.
fn config(cases: u32) -> Config {
    let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let kept = FileFailurePersistence::Direct("tests/arbitrary_bytes.regressions");
    Config {
        cases: wanted.unwrap_or(cases),
        failure_persistence: Some(Box::new(kept)),
        ..Config::default()
    }
}

/// What is done to a frame.
#[derive(Clone, Debug)]
struct Damage {
    /// Bytes that are replaced.
    bytes: Vec<(Index, u8)>,
    /// How much of it is left.
    cut: Option<Index>,
}

impl Damage {
    fn apply(&self, frame: &mut Vec<u8>) {
        for (at, value) in &self.bytes {
            let at = at.index(frame.len());
            frame[at] = *value;
        }
        if let Some(cut) = self.cut {
            frame.truncate(cut.index(frame.len()));
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..4);
    let cut = prop_oneof![3 => Just(None), 1 => any::<Index>().prop_map(Some)];
    (bytes, cut).prop_map(|(bytes, cut)| Damage { bytes, cut })
}

/// A frame of which only the beginning makes sense.
fn headed() -> impl Strategy<Value = Vec<u8>> {
    let rest = prop::collection::vec(any::<u8>(), 0..100);
    (any::<u8>(), any::<u8>(), rest).prop_map(|(version, protocol, rest)| {
        let mut frame = [[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0].as_slice(), &rest].concat();
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        for (at, value) in
            [(14, 0x40 | version & 0x0f), (16, len[0]), (17, len[1]), (23, protocol % 18)]
        {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        frame
    })
}

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn arbitrary_bytes_do_no_harm(
        rules in nat_oracle::rules(),
        frames in prop::collection::vec(
            (0..3_u8, prop_oneof![prop::collection::vec(any::<u8>(), 0..128), headed()]),
            1..40,
        ),
    ) {
        let mut machine = HostMachine::new(0);
        let mut world = World::new(&mut machine, rules).map_err(TestCaseError::fail)?;
        for (link, frame) in frames {
            world.throw(link, &frame).map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn damaged_packets_do_no_harm(
        seed: u64,
        rules in nat_oracle::rules(),
        before in prop::collection::vec(nat_oracle::event(), 1..20),
        frames in prop::collection::vec((nat_oracle::event(), damage()), 1..40),
        errors in prop::collection::vec((any::<usize>(), 0..80_usize, damage()), 0..20),
    ) {
        let mut machine = HostMachine::new(seed);
        let mut world = World::new(&mut machine, rules).map_err(TestCaseError::fail)?;
        for event in &before {
            // Whether it is right is the oracle's question.
            let _ = world.play(event);
        }
        let packets = frames.iter().filter_map(|(event, damage): &(Event, Damage)| {
            Some((world.packet(event)?, damage))
        });
        let errors = errors.iter().filter_map(|(about, len, damage)| {
            Some((world.icmp_error(*about, *len)?, damage))
        });
        let frames: Vec<_> = packets.chain(errors).collect();
        for ((link, packet), damage) in frames {
            let mut frame = packet.to_bytes();
            damage.apply(&mut frame);
            world.throw(link, &frame).map_err(TestCaseError::fail)?;
        }
    }
}
