use super::*;
use std::sync::Barrier;

fn endpoint(last: u8, port: u16) -> Endpoint {
    Endpoint { addr: NetAddr::from_octets([10, 0, 0, last]), port: NetPort::new(port) }
}

fn owner_of(slot: &PortSlot, now: BootTime) -> Option<Endpoint> {
    match slot.state(now) {
        SlotState::Held { owner, .. } => Some(owner.endpoint()),
        _ => None,
    }
}

const T0: BootTime = BootTime(1_000);
/// Nothing yields.
const NO_TIME: BootTime = BootTime(0);

#[test]
fn owner_word_keeps_endpoint_and_flags() {
    let owner = Owner::new(endpoint(7, 40_000), Owner::ANY_REMOTE);
    assert_eq!(owner.endpoint(), endpoint(7, 40_000));
    assert!(owner.has(Owner::ANY_REMOTE) && !owner.has(Owner::OPENED_INSIDE));
}

#[test]
fn a_zeroed_slot_is_free_and_an_expired_one_is_again() {
    let slot = PortSlot::default();
    assert_eq!(slot.state(T0), SlotState::Free);
    slot.claim(T0, Owner::new(endpoint(1, 1), 0), T0.plus_secs(1)).unwrap();
    assert_eq!(owner_of(&slot, T0), Some(endpoint(1, 1)));
    assert_eq!(slot.claim(T0, Owner::new(endpoint(2, 2), 0), T0.plus_secs(9)), Err(InUse));
    let later = T0.plus_secs(1);
    assert_eq!(slot.state(later), SlotState::Free);
    slot.claim(later, Owner::new(endpoint(2, 2), 0), later.plus_secs(1)).unwrap();
    assert_eq!(owner_of(&slot, later), Some(endpoint(2, 2)));
}

#[test]
fn a_lease_ends_at_its_second_and_leaves_what_sessions_hold() {
    let slot = PortSlot::default();
    slot.open_forward(T0, endpoint(1, 80), Owner::ANY_REMOTE, T0.plus_secs(10), NO_TIME).unwrap();
    assert!(matches!(slot.state(T0.plus_secs(9)), SlotState::Held { leased: true, .. }));
    assert_eq!(slot.state(T0.plus_secs(10)), SlotState::Free);
    slot.extend(T0, endpoint(1, 80), T0.plus_secs(100)).unwrap();
    assert!(matches!(slot.state(T0.plus_secs(10)), SlotState::Held { leased: false, .. }));
}

#[test]
fn leases_that_are_marked_end_together_and_leave_what_sessions_hold() {
    let (one, other) = (PortSlot::default(), PortSlot::default());
    let lease = T0.plus_secs(10);
    for slot in [&one, &other] {
        slot.open_forward(T0, endpoint(1, 80), Owner::ANY_REMOTE, lease, NO_TIME).unwrap();
    }
    other.extend(T0, endpoint(1, 80), T0.plus_secs(100)).unwrap();
    let before = T0.plus_secs(1).in_generation(7);
    assert!(!one.end_with(endpoint(2, 80), 7), "somebody else's");
    assert!(one.end_with(endpoint(1, 80), 7) && other.end_with(endpoint(1, 80), 7));
    for slot in [&one, &other] {
        assert!(matches!(slot.state(before), SlotState::Held { leased: true, .. }));
        assert_eq!(slot.claim(before, Owner::new(endpoint(2, 2), 0), lease), Err(InUse));
    }
    let after = T0.plus_secs(1).in_generation(8);
    assert_eq!(one.state(after), SlotState::Free);
    assert!(matches!(other.state(after), SlotState::Held { leased: false, .. }));
    // Somebody else may have the port before it is cleared.
    one.claim(after, Owner::new(endpoint(2, 2), 0), lease).unwrap();
    for slot in [&one, &other] {
        slot.clear_ended();
        assert_eq!(slot.lease(), BootTime(0));
    }
    assert_eq!(owner_of(&one, after), Some(endpoint(2, 2)));
    assert!(
        matches!(other.state(after), SlotState::Held { owner, leased: false } if !owner.is_open())
    );
}

#[test]
fn what_a_dead_daemon_has_marked_goes_on() {
    let slot = PortSlot::default();
    slot.open_forward(T0, endpoint(1, 80), Owner::ANY_REMOTE, BootTime::NEVER, NO_TIME).unwrap();
    assert!(slot.end_with(endpoint(1, 80), 3));
    slot.resume();
    assert!(matches!(slot.state(T0.in_generation(4)), SlotState::Held { leased: true, .. }));
    assert_eq!(slot.lease(), BootTime::NEVER);
    slot.clear_ended();
    assert_eq!(slot.lease(), BootTime::NEVER, "only what ends is cleared");
}

#[test]
fn a_forward_takes_over_the_dynamic_mapping_of_the_same_endpoint_only() {
    let slot = PortSlot::default();
    slot.claim(T0, Owner::new(endpoint(1, 80), Owner::OPENED_INSIDE), T0.plus_secs(60)).unwrap();
    let lease = T0.plus_secs(600);
    assert_eq!(
        slot.open_forward(T0, endpoint(2, 80), Owner::ANY_REMOTE, lease, NO_TIME),
        Err(InUse)
    );
    slot.open_forward(T0, endpoint(1, 80), Owner::ANY_REMOTE, lease, NO_TIME).unwrap();
    let SlotState::Held { owner, leased: true } = slot.state(T0) else { panic!("not leased") };
    assert!(owner.has(Owner::ANY_REMOTE | Owner::OPENED_INSIDE));
    slot.close_forward(T0, endpoint(1, 80)).unwrap();
    let SlotState::Held { owner, leased: false } = slot.state(T0) else { panic!("not held") };
    assert!(!owner.has(Owner::ANY_REMOTE) && owner.has(Owner::OPENED_INSIDE));
}

#[test]
fn a_lease_that_lets_nobody_in_holds_the_slot_for_nobody() {
    let slot = PortSlot::default();
    let lease = T0.plus_secs(600);
    slot.open_forward(T0, endpoint(1, 80), 0, lease, NO_TIME).unwrap();
    assert!(matches!(slot.state(T0), SlotState::Held { owner, leased: true } if !owner.is_open()));
    assert_eq!(slot.claim(T0, Owner::new(endpoint(1, 80), 0), lease), Err(InUse));
    assert_eq!(slot.open_inside(T0, endpoint(1, 80), T0.plus_secs(9)), Err(InUse));
    slot.open_forward(T0, endpoint(1, 80), Owner::ANY_REMOTE, lease, NO_TIME).unwrap();
    slot.open_inside(T0, endpoint(1, 80), T0.plus_secs(9)).unwrap();
    slot.open_forward(T0, endpoint(1, 80), 0, lease, NO_TIME).unwrap();
    let while_held = T0.plus_secs(8);
    slot.open_inside(while_held, endpoint(1, 80), while_held.plus_secs(9)).unwrap();
    let later = while_held.plus_secs(9);
    assert_eq!(slot.open_inside(later, endpoint(1, 80), later.plus_secs(9)), Err(InUse));
}

#[test]
fn a_forward_takes_a_slot_over_from_the_wildcard_only() {
    let until = T0.plus_secs(60);
    let lease = T0.plus_secs(600);
    let open = |flags, yielding| {
        let slot = PortSlot::default();
        slot.claim(T0, Owner::new(endpoint(1, 80), flags), until).unwrap();
        assert_eq!(
            slot.is_others(T0, endpoint(2, 7), yielding),
            slot.open_forward(T0, endpoint(2, 7), Owner::ANY_REMOTE, lease, yielding).is_err()
        );
        owner_of(&slot, T0).unwrap()
    };
    assert_eq!(open(Owner::BY_WILDCARD, until), endpoint(2, 7));
    assert_eq!(open(Owner::BY_WILDCARD, BootTime(until.0 - 1)), endpoint(1, 80));
    assert_eq!(open(Owner::BY_WILDCARD | Owner::OPENED_INSIDE, until), endpoint(1, 80));
    assert_eq!(open(Owner::OPENED_INSIDE, until), endpoint(1, 80));
}

/// The new owner's slot is never marked by the former one, which never believes that it has it.
#[test]
fn a_take_over_and_an_opening_from_inside_exclude_each_other() {
    const ROUNDS: u64 = 2_000;
    let until = T0.plus_secs(60);
    let slots: Vec<PortSlot> = (0..ROUNDS).map(|_| PortSlot::default()).collect();
    for slot in &slots {
        slot.claim(T0, Owner::new(endpoint(1, 1), Owner::BY_WILDCARD), until).unwrap();
    }
    let start = Barrier::new(2);
    let (opened, taken) = std::thread::scope(|scope| {
        let opener = scope.spawn(|| {
            start.wait();
            let open = |slot: &PortSlot| slot.open_inside(T0, endpoint(1, 1), until).is_ok();
            slots.iter().map(open).collect::<Vec<_>>()
        });
        start.wait();
        let take = |slot: &PortSlot| {
            slot.open_forward(T0, endpoint(2, 2), Owner::ANY_REMOTE, until, until).is_ok()
        };
        let taken: Vec<_> = slots.iter().map(take).collect();
        (opener.join().unwrap(), taken)
    });
    for (index, slot) in slots.iter().enumerate() {
        assert!(!(opened[index] && taken[index]), "slot {index} has two owners");
        let SlotState::Held { owner, .. } = slot.state(T0) else { panic!("slot {index} is free") };
        let wanted = if taken[index] { endpoint(2, 2) } else { endpoint(1, 1) };
        assert_eq!(owner.endpoint(), wanted, "slot {index}");
        assert!(!taken[index] || !owner.has(Owner::OPENED_INSIDE), "slot {index} is marked");
    }
}

#[test]
fn an_abandoned_claim_frees_itself() {
    let slot = PortSlot::default();
    slot.hold.set(pack(T0.plus_nanos(CLAIM_NANOS)) | CLAIMING);
    assert_eq!(slot.state(T0), SlotState::Claiming);
    assert_eq!(slot.claim(T0, Owner::new(endpoint(1, 1), 0), T0.plus_secs(5)), Err(InUse));
    let later = T0.plus_nanos(CLAIM_NANOS);
    assert_eq!(slot.state(later), SlotState::Free);
    slot.claim(later, Owner::new(endpoint(1, 1), 0), later.plus_secs(5)).unwrap();
}

#[test]
fn only_the_owner_can_extend() {
    let slot = PortSlot::default();
    slot.claim(T0, Owner::new(endpoint(1, 1), 0), T0.plus_secs(1)).unwrap();
    assert_eq!(slot.extend(T0, endpoint(2, 1), T0.plus_secs(9)), Err(InUse));
    slot.extend(T0, endpoint(1, 1), T0.plus_secs(9)).unwrap();
    assert_eq!(slot.hold(), T0.plus_secs(9));
    slot.extend(T0, endpoint(1, 1), T0.plus_secs(3)).unwrap();
    assert_eq!(slot.hold(), T0.plus_secs(9), "a hold is never shortened");
}

#[test]
fn a_hold_is_shortened_only_as_it_was_observed() {
    let slot = PortSlot::default();
    slot.claim(T0, Owner::new(endpoint(1, 1), 0), T0.plus_secs(100)).unwrap();
    let observed = slot.hold();
    assert!(!slot.shorten(observed, T0.plus_secs(200)), "that would prolong it");
    slot.extend(T0, endpoint(1, 1), T0.plus_secs(110)).unwrap();
    assert!(!slot.shorten(observed, T0.plus_secs(5)), "it was prolonged meanwhile");
    assert!(slot.shorten(slot.hold(), T0.plus_secs(5)));
    assert_eq!(slot.state(T0.plus_secs(5)), SlotState::Free);
}

#[test]
fn of_many_claimers_at_once_exactly_one_wins() {
    const ROUNDS: u64 = 2_000;
    let slots: Vec<PortSlot> = (0..ROUNDS).map(|_| PortSlot::default()).collect();
    let start = Barrier::new(4);
    let claim_all = |id: u8| {
        start.wait();
        let own = Owner::new(endpoint(id, 1), 0);
        slots.iter().map(|slot| slot.claim(T0, own, T0.plus_secs(5)).is_ok()).collect::<Vec<_>>()
    };
    let wins = std::thread::scope(|scope| {
        let claim_all = &claim_all;
        let threads: Vec<_> = (1..=4).map(|id| scope.spawn(move || claim_all(id))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for (index, slot) in slots.iter().enumerate() {
        let winners: Vec<_> = (0..4).filter(|id| wins[*id][index]).collect();
        assert_eq!(winners.len(), 1, "slot {index}");
        assert_eq!(owner_of(slot, T0), Some(endpoint(winners[0] as u8 + 1, 1)));
    }
}
