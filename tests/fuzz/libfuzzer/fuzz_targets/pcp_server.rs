//! See [`nat_fuzz::pcp_server`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nat_fuzz::pcp_server::run(input));
