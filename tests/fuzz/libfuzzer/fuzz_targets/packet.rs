//! See [`nat_fuzz::packet`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nat_fuzz::packet::run(input));
