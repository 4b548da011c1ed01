//! The packet path, without a kernel: parse, look up, choose a port, rewrite, verdict.
//!
//! Everything here is generic over [`Frame`] (the packet's bytes) and [`Tables`] (maps, clock, routes)
//! and has neither `unsafe` nor system calls. The XDP program (`src/xdp`) binds it to packet memory
//! and BPF maps; `host` (a feature) binds it to byte slices and hash maps, so that tests run the same code.
//!
//! A packet's way: [`parse`] finds the flow's five-tuple; [`process()`] looks up its session, or has
//! [`open`] make one, for which [`mapping`] finds the external port; [`track`] follows TCP and keeps
//! the deadlines; [`fragments`] has later fragments follow the first; [`rewrite`] changes the headers; the [`Verdict`] says what becomes of the packet.
#![cfg_attr(not(any(test, feature = "host")), no_std)]
#![forbid(unsafe_code)]

pub mod broadcast;
pub mod checksum;
pub mod egress;
pub mod filter;
pub mod fragments;
pub mod frame;
pub mod halves;
#[cfg(feature = "host")]
pub mod host;
pub mod icmp_error;
pub mod limits;
pub mod mapping;
pub mod mss;
pub mod next_hop;
pub mod open;
pub mod parse;
pub mod peer;
pub mod process;
pub mod rewrite;
pub mod tables;
pub mod track;
pub mod verdict;
pub mod vlan;
pub mod wildcard;

pub use frame::Frame;
pub use process::process;
pub use tables::Tables;
pub use verdict::{Decision, Verdict};
