//! See [`nat_fuzz::gena`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nat_fuzz::gena::run(input));
