//! See [`nat_fuzz::config`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nat_fuzz::config::run(input));
