use super::{
    queue::{Queue, Queued, Waiting},
    *,
};

fn waiting(target: u32) -> Waiting<u32> {
    of_host(7, target)
}

fn of_host(number: u8, target: u32) -> Waiting<u32> {
    Waiting { client: SocketAddr::from(([192, 0, 2, number], 40_000)), target }
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
fn the_queue_is_bounded_in_all_and_by_host() {
    let mut queue = Queue::new();
    let mut waits = |hosts: u32| {
        let searches = (0..1_000).map(|target| of_host((target % hosts) as u8 + 10, target));
        let outcomes = searches
            .map(|search| queue.push(Instant::now(), Duration::from_secs(1), 0.5, search))
            .filter(|outcome| *outcome == Queued::Waits);
        outcomes.count()
    };
    assert_eq!(waits(1), 16);
    assert_eq!(waits(100), 64 - 16);
}

#[test]
fn announcements_come_at_least_once_an_interval() {
    let interval = Duration::from_secs(600);
    for _ in 0..100 {
        let spread = spread(interval);
        assert!(spread <= interval && spread >= interval * 89 / 100);
    }
}
