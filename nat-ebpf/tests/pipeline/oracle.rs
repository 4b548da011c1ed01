//! Random packets through the pipeline and through a plain reference NAT, results compared to the last
//! byte. Few hosts and ports, so that sessions meet: collisions, answers, calls by the external
//! address, port forwards, expiry.

use crate::config::config;
use crate::world::{self, World};
use proptest::prelude::*;

proptest! {
    #![proptest_config(config(384))]

    #[test]
    fn the_pipeline_does_what_the_reference_does(
        seed: u64,
        rules in world::rules(),
        events in proptest::collection::vec(world::event(), 1..120),
    ) {
        let mut world = World::new(seed, rules);
        for (number, event) in events.iter().enumerate() {
            if let Err(why) = world.play(event) {
                return Err(TestCaseError::fail(format!("event {number}, {event:?}: {why}")));
            }
        }
    }
}
