//! Types that the XDP program and user space share: the keys and values of the BPF maps, the
//! counters, and the port-claim protocol that both sides run on the same memory.
//!
//! Addresses and ports are held in network byte order behind [`NetAddr`] and [`NetPort`]; times are
//! nanoseconds of `CLOCK_BOOTTIME` ([`BootTime`]), so that a suspended box does not stretch a lease.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![cfg_attr(not(any(test, feature = "user")), no_std)]

pub mod addr;
pub mod atomic;
pub mod client;
pub mod contact;
pub mod counters;
pub mod filters;
pub mod fragments;
pub mod hints;
pub mod link;
pub mod mapping_note;
pub mod maps;
pub mod peer;
pub mod ports;
pub mod protocol;
pub mod session;
pub mod settings;
pub mod sweep;
pub mod time;

pub use addr::{NetAddr, NetPort};
pub use counters::Counter;
pub use protocol::Protocol;
pub use time::BootTime;
