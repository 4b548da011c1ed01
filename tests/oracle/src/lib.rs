//! The oracle: a NAT as plain as it can be (`reference`), and a [`World`] in
//! which random things happen to it and to a [`Machine`], whose every answer is compared with its own to
//! the last byte. The machine is the pipeline in memory here, and the XDP program beside it in
//! `nat-tests`.
//!
//! Few hosts and ports, so that sessions meet: collisions, answers, calls by the external address, port
//! forwards, expiry.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "only tests use it, and they may fail loudly"
)]

mod machine;
mod reference;
mod run;
mod world;

pub use machine::{Action, HostMachine, Machine, Outcome};
pub use run::{Run, Tally};
pub use world::topology::EXTERNALS;
pub use world::{Event, Rules, World, event, rules};
