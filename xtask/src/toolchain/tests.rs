use super::compiler::{Candidate, Core, RustcVersion, choose, parse_release};
use super::environment::leaks;
use super::linker::parse_llvm;
use std::path::PathBuf;

const OLDEST: (u32, u32) = (1, 95);

fn candidate(rustc: &str, minor: u32, llvm: u32, core: Core) -> Candidate {
    Candidate {
        rustc: rustc.into(),
        cargo: Some(PathBuf::from(rustc).with_file_name("cargo")),
        version: Some(RustcVersion { release: (1, minor), llvm }),
        core,
    }
}

#[test]
fn debian_rustc_tells_release_and_llvm() {
    let text = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\n\
                binary: rustc\n\
                host: x86_64-unknown-linux-gnu\n\
                release: 1.96.0\n\
                LLVM version: 22.1.8\n";
    assert_eq!(RustcVersion::parse(text), Some(RustcVersion { release: (1, 96), llvm: 22 }));
}

#[test]
fn nightly_rustc_tells_release_and_llvm() {
    let text = "release: 1.98.0-nightly\nLLVM version: 23.0.0-rust-1.98.0-nightly\n";
    assert_eq!(RustcVersion::parse(text), Some(RustcVersion { release: (1, 98), llvm: 23 }));
}

#[test]
fn a_compiler_without_llvm_tells_nothing() {
    assert_eq!(RustcVersion::parse("release: 1.96.0\n"), None);
    assert_eq!(RustcVersion::parse("release: x\nLLVM version: 22.1\n"), None);
    assert_eq!(RustcVersion::parse(""), None);
}

#[test]
fn the_workspace_declares_a_release_that_can_be_compared() {
    assert!(parse_release(env!("CARGO_PKG_RUST_VERSION")) >= Some(OLDEST));
}

#[test]
fn compiled_core_is_preferred_to_its_source() {
    let machine = [
        candidate("/rustup/stable/bin/rustc", 95, 22, Core::Absent),
        candidate("/rustup/nightly/bin/rustc", 98, 23, Core::Source),
        candidate("/usr/bin/rustc", 96, 22, Core::Compiled),
    ];
    let chosen = choose(&machine, OLDEST).unwrap();
    assert_eq!(chosen.rustc, PathBuf::from("/usr/bin/rustc"));
    assert_eq!(chosen.cargo, PathBuf::from("/usr/bin/cargo"));
    assert_eq!((chosen.version.llvm, chosen.core), (22, Core::Compiled));
}

#[test]
fn the_source_of_core_will_do() {
    let machine = [
        candidate("/rustup/stable/bin/rustc", 95, 22, Core::Absent),
        candidate("/rustup/nightly/bin/rustc", 98, 23, Core::Source),
    ];
    let chosen = choose(&machine, OLDEST).unwrap();
    assert_eq!((chosen.rustc, chosen.core), ("/rustup/nightly/bin/rustc".into(), Core::Source));
}

#[test]
fn every_rejected_compiler_is_named_with_its_fault() {
    let mut lonely = candidate("/opt/rustc", 96, 22, Core::Compiled);
    lonely.cargo = None;
    let mut mute = candidate("/opt/mute/rustc", 96, 22, Core::Compiled);
    mute.version = None;
    let machine = [
        candidate("/usr/bin/rustc", 85, 19, Core::Compiled),
        candidate("/rustup/stable/bin/rustc", 95, 22, Core::Absent),
        lonely,
        mute,
    ];
    let message = choose(&machine, OLDEST).unwrap_err().to_string();
    for fault in [
        "/usr/bin/rustc: is 1.85; 1.95 is needed",
        "/rustup/stable/bin/rustc: has neither `core`",
        "/opt/rustc: has no cargo beside it",
        "/opt/mute/rustc: `rustc -vV` says nothing",
        "cargo xtask setup",
    ] {
        assert!(message.contains(fault), "{fault:?} not in {message:?}");
    }
}

#[test]
fn a_machine_without_any_compiler_has_none() {
    assert!(choose(&[], OLDEST).unwrap_err().rejected.is_empty());
}

#[test]
fn a_linker_tells_its_llvm() {
    assert_eq!(parse_llvm("Debian LLVM version 22.1.8\n  Optimized build.\n"), Some(22));
    let official = "LLVM (http://llvm.org/):\n  LLVM version 23.1.0-rust\n  Optimized build.\n";
    assert_eq!(parse_llvm(official), Some(23));
    assert_eq!(parse_llvm("bpf-linker 0.13.0"), None);
}

#[test]
fn one_toolchains_settings_do_not_reach_another() {
    for name in [
        "CARGO",
        "CARGO_MANIFEST_DIR",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_RUSTC",
        "CARGO_MAKEFLAGS",
        "LD_LIBRARY_PATH",
        "MAKEFLAGS",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
    ] {
        assert!(leaks(name), "{name}");
    }
    for name in ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_TERM_COLOR", "RUSTUP_HOME", "PATH"] {
        assert!(!leaks(name), "{name}");
    }
}
