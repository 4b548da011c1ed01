use super::{
    queue::{Queue, Queued, Waiting},
    *,
};
use crate::igd::Tree;

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 40_000);

fn waiting(target: u32) -> Waiting<u32> {
    Waiting { client: CLIENT, target }
}

#[test]
fn an_answer_waits_for_a_part_of_mx() {
    let start = Instant::now();
    for (random, expected) in [(0.0, 0), (0.5, 600), (1.0, 1200)] {
        let mut queue = Queue::new();
        queue.push(start, Duration::from_secs(2), random, waiting(1));
        let due = queue.due().unwrap();
        assert!(
            due.duration_since(start).abs_diff(Duration::from_millis(expected)).as_millis() < 1
        );
        assert_eq!(queue.pop(due - Duration::from_nanos(1)), None.filter(|_| expected > 0));
    }
}

#[test]
fn a_long_mx_counts_as_five_seconds() {
    let start = Instant::now();
    let mut queue = Queue::new();
    queue.push(start, Duration::from_secs(120), 1.0, waiting(1));
    assert!(queue.due().unwrap() <= start + Duration::from_secs(3));
}

#[test]
fn answers_come_in_the_order_of_their_moments() {
    let start = Instant::now();
    let mut queue = Queue::new();
    let mx = Duration::from_secs(1);
    for (target, random) in [(1, 0.9), (2, 0.1), (3, 0.5)] {
        assert_eq!(queue.push(start, mx, random, waiting(target)), Queued::Waits);
    }
    let order: Vec<_> = std::iter::from_fn(|| queue.pop(start + mx)).map(|w| w.target).collect();
    assert_eq!(order, [2, 3, 1]);
    assert_eq!(queue.due(), None);
}

#[test]
fn a_repeated_search_is_answered_once() {
    let mut queue = Queue::new();
    let push = |queue: &mut Queue<u32>, target| {
        queue.push(Instant::now(), Duration::from_secs(1), 0.5, waiting(target))
    };
    assert_eq!(push(&mut queue, 1), Queued::Waits);
    assert_eq!(push(&mut queue, 1), Queued::Twice);
    assert_eq!(push(&mut queue, 2), Queued::Waits);
}

#[test]
fn the_queue_is_bounded() {
    let mut queue = Queue::new();
    let outcomes: Vec<_> = (0..1_000)
        .map(|target| queue.push(Instant::now(), Duration::from_secs(1), 0.5, waiting(target)))
        .collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Queued::Full).count(), 1_000 - 64);
}

#[test]
fn only_hosts_of_the_interfaces_networks_are_answered() {
    let endpoint = |a: [u8; 4], mask: [u8; 4]| Endpoint {
        subnet: Subnet { address: a.into(), mask: mask.into() },
        sender: Sender {
            server: SocketAddrV4::new(a.into(), 5000),
            max_age: 1800,
            boot_id: 1,
            config_ids: Tree::ALL.map(|tree| (tree, 1)),
        },
    };
    let endpoints = [
        endpoint([192, 0, 2, 1], [255, 255, 255, 0]),
        endpoint([198, 51, 100, 1], [255, 255, 255, 254]),
    ];
    let found = |host: [u8; 4]| endpoint_for(&endpoints, host.into()).map(|e| e.subnet.address);
    assert_eq!(found([192, 0, 2, 7]), Some([192, 0, 2, 1].into()));
    assert_eq!(found([198, 51, 100, 0]), Some([198, 51, 100, 1].into()));
    for stranger in [[203, 0, 113, 5], [192, 0, 2, 0], [192, 0, 2, 255], [192, 0, 2, 1], [0; 4]] {
        assert_eq!(found(stranger), None, "{stranger:?}");
    }
}

#[test]
fn announcements_come_at_least_once_an_interval() {
    let interval = Duration::from_secs(600);
    for _ in 0..100 {
        let spread = spread(interval);
        assert!(spread <= interval && spread >= interval * 89 / 100);
    }
}
