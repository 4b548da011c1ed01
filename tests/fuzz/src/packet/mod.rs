//! Packets through the pipeline: arbitrary frames, well-formed ones between the stations of the
//! tests' topology, answers, ICMP errors, port forwards, and time that passes.
//!
//! What holds for every frame is in `check.rs`.

mod check;
mod steps;

use check::{check_passed, check_sent};
use nat_common::Counter;
use nat_tests::packets::host::HostMachine;
use nat_tests::packets::topology::{LAN, WAN};
use nat_tests::packets::{Action, Change, Machine as _};
use steps::{Sent, Step, Steps};

/// The most steps of an input; more find nothing that fewer do not.
const MOST_STEPS: usize = 64;

/// Takes an input as a sequence of steps, and checks what becomes of every frame.
pub fn run(input: &[u8]) {
    let mut machine = HostMachine::default();
    let mut steps = Steps::new(input);
    let mut last_sent = None;
    // Whether somebody inside, or the daemon, has opened the NAT to the outside at all.
    let mut opened = false;
    for _ in 0..MOST_STEPS {
        let Some(step) = steps.next(last_sent.as_ref()) else {
            break;
        };
        match step {
            Step::Change(change) => {
                opened |= matches!(change, Change::OpenForward(_));
                // A port that is taken already stays with its owner.
                let _ = machine.change(&change);
            }
            Step::Frame { link, frame } => {
                let Ok(outcome) = machine.receive(link, &frame) else {
                    continue;
                };
                // A packet of a client opens it also where the kernel answers that its TTL is too small.
                opened |= link != WAN && outcome.count(Counter::MappingsCreated) > 0;
                match (outcome.action, outcome.link) {
                    (Action::Send | Action::Resolve, Some(out)) => {
                        assert!(opened || link != WAN, "let in by nobody: {frame:02x?}");
                        check_sent(link, &frame, out, &outcome.frame);
                        last_sent = Some(Sent { link: out, frame: outcome.frame });
                    }
                    (Action::Broadcast, _) => {
                        assert!(opened, "let in by nobody: {frame:02x?}");
                        check_sent(link, &frame, LAN, &outcome.frame);
                    }
                    (Action::Pass, _) => check_passed(link, &frame, &outcome.frame),
                    (Action::Drop, _) => {}
                    (action, None) => assert_eq!(action, Action::Drop, "sent by no link"),
                }
            }
        }
    }
}
