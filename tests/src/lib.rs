//! A lab of network namespaces around the gateway, and what runs in it: the demonstration
//! ([`demo`]) and the integration tests (in `tests/`); and packets as data, for the pipeline and the
//! kernel ([`packets`]).
//!
//! Every guard of [`lab`] takes back what it made when it is dropped, also when a test panics.

pub mod beneath;
pub mod client;
pub mod crowd;
pub mod daemon;
pub mod demo;
pub mod lab;
pub mod lease;
pub mod ledger;
pub mod packets;
pub mod stream;
