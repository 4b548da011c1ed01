//! What fuzzing feeds arbitrary bytes to: one module for each target, with a function `run` that
//! panics when something holds no longer.
//!
//! The same functions run twice. `cargo xtask fuzz` has libFuzzer look for new inputs with them (the
//! binaries in `libfuzzer/`, a workspace of its own, since they build only with libFuzzer); and the
//! test of this package replays the committed inputs, `corpus/<target>/`, without libFuzzer. An
//! input that made a target panic becomes a file there, so that it is never forgotten.
//!
//! A new target is a module here, a line in [`TARGETS`], a file in `libfuzzer/fuzz_targets`, an
//! entry in `libfuzzer/Cargo.toml`, and at least one seed; the test says which of them is missing.

pub mod config;
pub mod gena;
pub mod packet;
mod path;
pub mod pcp;
pub mod pcp_server;
mod reader;
pub mod soap;
pub mod ssdp;
pub mod upstream;

/// Something that takes arbitrary bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the target, its corpus and its binary.
    pub name: &'static str,
    /// Takes one input.
    ///
    /// # Panics
    /// When something is wrong.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 8] = [
    Target { name: "config", run: config::run },
    Target { name: "gena", run: gena::run },
    Target { name: "packet", run: packet::run },
    Target { name: "pcp", run: pcp::run },
    Target { name: "pcp_server", run: pcp_server::run },
    Target { name: "soap", run: soap::run },
    Target { name: "ssdp", run: ssdp::run },
    Target { name: "upstream", run: upstream::run },
];
