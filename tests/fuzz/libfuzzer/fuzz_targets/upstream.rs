//! See [`nat_fuzz::upstream`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nat_fuzz::upstream::run(input));
