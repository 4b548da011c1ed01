//! What a cargo, or the rustup proxy in front of it, leaves in the environment of the programs it
//! runs. Another toolchain's cargo would take it for its own settings.

use std::process::Command;

/// Cargo's settings that a user makes on purpose and that hold for every toolchain.
const KEPT: [&str; 8] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "CARGO_BUILD_JOBS",
];

/// Whether another toolchain's cargo must not see this variable.
pub(super) fn leaks(name: &str) -> bool {
    match name {
        "CARGO"
        | "LD_LIBRARY_PATH"
        | "MAKEFLAGS"
        | "MFLAGS"
        | "RUSTFLAGS"
        | "RUSTDOCFLAGS"
        | "RUSTUP_TOOLCHAIN"
        | "RUST_RECURSION_COUNT" => true,
        _ if name.starts_with("RUSTC") || name.starts_with("RUSTDOC") => true,
        _ => name.starts_with("CARGO_") && !KEPT.iter().any(|kept| name.starts_with(kept)),
    }
}

/// Takes everything that leaks out of the command's environment.
pub(super) fn scrub(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(leaks) {
            command.env_remove(name);
        }
    }
}
