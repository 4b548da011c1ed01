//! See [`nat_fuzz::soap`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nat_fuzz::soap::run(input));
