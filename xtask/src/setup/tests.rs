use super::lack::{CONTENDERS, Lack, Missing, TOOLS, Tool, VM_TOOLS};

const UPNPC: Tool = Tool { command: "upnpc", package: "miniupnpc" };

fn lack(tools: &[Tool], toolchain: Missing) -> Lack {
    Lack { tools: tools.to_vec(), toolchain }
}

fn linker(packages: &[&str]) -> Missing {
    Missing::Linker { llvm: 22, packages: packages.iter().map(|&name| name.to_owned()).collect() }
}

fn bookworm(package: &str) -> bool {
    !package.starts_with("libstd-rust-dev-bpf")
}

fn without_bpf_core(package: &str) -> bool {
    !package.ends_with("-bpf") && !package.starts_with("llvm-")
}

#[test]
fn a_machine_with_everything_needs_no_packages() {
    let nothing = Lack::default();
    assert!(!nothing.needs_packages());
    assert!(nothing.packages(&bookworm).is_empty());
}

#[test]
fn a_linker_that_can_be_built_needs_no_packages() {
    let lack = lack(&[], linker(&[]));
    assert!(!lack.needs_packages());
    assert_ne!(lack, Lack::default());
    assert_eq!(lack.commands(Some(&bookworm), true), "cargo xtask setup\n");
}

#[test]
fn the_compiler_that_stable_debian_keeps_up_to_date_is_preferred() {
    let lack = lack(&[UPNPC], Missing::Compiler);
    assert!(lack.needs_packages());
    let compiler = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
    let packages = lack.packages(&|_| true);
    assert_eq!(packages, [&["miniupnpc"][..], &compiler[..]].concat());
}

#[test]
fn debians_other_compiler_will_do() {
    let packages = lack(&[], Missing::Compiler).packages(&|package| !package.contains("-web"));
    assert_eq!(packages, ["rustc", "cargo", "libstd-rust-dev-bpf"]);
}

#[test]
fn without_a_compiler_in_apt_only_the_tools_are_installed() {
    assert_eq!(lack(&[UPNPC], Missing::Compiler).packages(&without_bpf_core), ["miniupnpc"]);
}

#[test]
fn a_linker_is_built_with_the_llvm_of_the_compiler() {
    let needs = ["llvm-22-dev", "zlib1g-dev"];
    assert_eq!(lack(&[], linker(&needs)).packages(&bookworm), needs);
    assert!(lack(&[], linker(&needs)).packages(&without_bpf_core).is_empty());
}

#[test]
fn commands_for_a_fresh_debian_read_the_llvm_from_the_new_compiler() {
    let commands = lack(&[UPNPC], Missing::Compiler).commands(Some(&bookworm), false);
    assert_eq!(
        commands,
        r"sudo apt-get update
sudo apt-get install --yes --no-install-recommends miniupnpc rustc-web cargo-web libstd-rust-web-dev-bpf
llvm=$(/usr/bin/rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
sudo apt-get install --yes --no-install-recommends llvm-$llvm-dev libpolly-$llvm-dev libzstd-dev zlib1g-dev
cargo xtask setup
"
    );
}

#[test]
fn commands_without_apt_name_the_programs_and_the_toolchain() {
    let commands = lack(&[UPNPC], Missing::Compiler).commands(None, false);
    assert_eq!(
        commands,
        "# By the system's packages, these programs: upnpc\n\
         rustup toolchain install nightly --component rust-src\n\
         cargo xtask setup\n"
    );
}

#[test]
fn without_the_llvm_in_apt_the_linker_is_named() {
    let commands = lack(&[], linker(&["llvm-22-dev"])).commands(Some(&without_bpf_core), true);
    assert!(commands.contains("bpf-linker with LLVM 22"), "{commands}");
    assert!(commands.contains("--features llvm-22"), "{commands}");
    assert!(!commands.contains("apt-get"), "{commands}");
}

#[test]
fn a_service_that_only_the_lab_is_to_run_is_masked_before_it_comes() {
    let turnserver = Tool { command: "turnserver", package: "coturn" };
    let commands = lack(&[turnserver], Missing::Nothing).commands(Some(&bookworm), true);
    let (before, after) = commands.split_once("apt-get install").unwrap();
    assert!(before.contains("systemctl mask coturn.service"), "{commands}");
    assert!(after.contains("coturn"), "{commands}");
}

#[test]
fn every_tool_is_named_once() {
    let tools = [&TOOLS[..], &VM_TOOLS, &CONTENDERS].concat();
    for (index, tool) in tools.iter().enumerate() {
        assert!(!tools.iter().skip(index + 1).any(|other| other.command == tool.command));
    }
}
