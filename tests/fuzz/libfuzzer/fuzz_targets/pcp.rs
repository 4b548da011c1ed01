//! See [`nat_fuzz::pcp`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nat_fuzz::pcp::run(input));
