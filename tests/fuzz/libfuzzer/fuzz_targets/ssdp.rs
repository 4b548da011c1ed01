//! See [`nat_fuzz::ssdp`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nat_fuzz::ssdp::run(input));
