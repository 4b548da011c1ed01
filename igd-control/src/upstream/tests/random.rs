//! Whatever is lost, late or restarted: what the client says of a mapping and what the server has agree in
//! the end, and nothing is left behind.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Want(u16, bool, u64),
    Forget(u16),
    Pass(u64),
    Deaf(bool),
    Restart(bool),
    Take(u16),
    Fail(u8, u32),
    Garbage(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let port = 6_000..6_008_u16;
    prop_oneof![
        4 => (port.clone(), any::<bool>(), 1..5_000_u64).prop_map(|(p, e, s)| Step::Want(p, e, s)),
        2 => port.clone().prop_map(Step::Forget),
        4 => (0..400_u64).prop_map(Step::Pass),
        2 => any::<bool>().prop_map(Step::Deaf),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => port.prop_map(Step::Take),
        1 => (0..20_u8, 0..4_u32).prop_map(|(code, times)| Step::Fail(code, times)),
        1 => prop::collection::vec(any::<u8>(), 0..80).prop_map(Step::Garbage),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn client_and_server_agree_in_the_end(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        world.server.longest = 300;
        for step in steps {
            match step {
                Step::Want(port, exactly, seconds) => {
                    let until = world.now.plus_secs(seconds);
                    let wanted = Wanted { exactly, ..Wanted::about(port, until) };
                    world.want(port, wanted);
                }
                Step::Forget(port) => {
                    world.client.forget(world.now, &key(port));
                    world.exchange();
                }
                Step::Pass(seconds) => world.pass(seconds),
                Step::Deaf(deaf) => world.deaf = deaf,
                Step::Restart(nat_pmp) => {
                    world.server = Server::new(world.now);
                    world.server.nat_pmp = nat_pmp;
                    world.server.longest = 300;
                }
                Step::Take(port) => world.server.taken.push(port),
                Step::Fail(code, times) => {
                    world.server.fails = Some((ResultCode::of(code.max(1)), times));
                }
                Step::Garbage(bytes) => {
                    world.client.hear(world.now, SERVER, &bytes);
                    world.client.overhear(world.now, SERVER, &bytes);
                    world.exchange();
                }
            }
            for key in world.client.keys() {
                let lease = world.client.lease(&key);
                prop_assert!(lease.is_none_or(|lease| lease.until >= world.now));
            }
        }
        // All is well from now on.
        world.deaf = false;
        world.server.fails = None;
        world.server.taken.clear();
        let until = world.now.plus_secs(20_000);
        let keys: Vec<Key> = world.client.keys().collect();
        for key in &keys {
            world.client.want(world.now, *key, Wanted::about(key.internal.port(), until));
        }
        world.exchange();
        world.pass(6_000);
        for key in &keys {
            let lease = world.client.lease(key).map(|lease| lease.port);
            prop_assert!(lease.is_some());
            prop_assert_eq!(lease, world.server.port_of(world.now, key));
        }
        for key in &keys {
            world.client.forget(world.now, key);
        }
        world.exchange();
        world.pass(300);
        prop_assert_eq!(world.client.next(), None);
        prop_assert!(keys.iter().all(|key| world.server.port_of(world.now, key).is_none()));
    }
}
