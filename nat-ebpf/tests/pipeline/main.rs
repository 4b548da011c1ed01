//! The pipeline under random packets: what it does is compared with a plain reference, and whatever
//! comes in does no harm. `PROPTEST_CASES` sets how many sequences are tried.
// For clippy, which would not know it for a test otherwise.
#![cfg(test)]

mod arbitrary_bytes;
mod config;
mod oracle;
mod reference;
mod world;
