//! What the machine lacks, and how to get it.

use crate::steps;
use crate::toolchain::{LINKER_VERSION, Linker, find_compiler, llvm_prefix};
use crate::workspace::Workspace;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A program that the lab or the tests run, and the Debian package that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tool {
    pub(super) command: &'static str,
    pub(super) package: &'static str,
}

/// Everything that the lab and the tests run.
pub(super) const TOOLS: [Tool; 14] = [
    tool("ip", "iproute2"),
    tool("ethtool", "ethtool"),
    tool("ping", "iputils-ping"),
    tool("curl", "curl"),
    tool("upnpc", "miniupnpc"),
    tool("natpmpc", "natpmpc"),
    tool("nft", "nftables"),
    tool("python3", "python3"),
    tool("traceroute", "traceroute"),
    tool("tracepath", "iputils-tracepath"),
    tool("iperf3", "iperf3"),
    tool("conntrack", "conntrack"),
    tool("turnserver", "coturn"),
    tool("xmllint", "libxml2-utils"),
];

/// What `cargo xtask vm` runs besides; no other verb needs it.
pub(super) const VM_TOOLS: [Tool; 4] = [
    tool("qemu-system-x86_64", "qemu-system-x86"),
    tool("busybox", "busybox-static"),
    tool("dpkg-deb", "dpkg"),
    tool("strip", "binutils"),
];

/// What `cargo xtask bench control` runs besides: the daemon to compare with, without its service.
pub(super) const CONTENDERS: [Tool; 1] = [tool("miniupnpd", "miniupnpd-nftables")];

const fn tool(command: &'static str, package: &'static str) -> Tool {
    Tool { command, package }
}

/// Packages whose service would be started at once, and the service. Only the lab is to run it.
const SERVICES: [(&str, &str); 3] = [
    ("coturn", "coturn.service"),
    ("transmission-daemon", "transmission-daemon.service"),
    ("miniupnpd", "miniupnpd.service"),
];

/// The services that these packages would start.
pub(super) fn services(packages: &[String]) -> impl Iterator<Item = &'static str> {
    let comes = |package: &str| packages.iter().any(|wanted| wanted == package);
    SERVICES.into_iter().filter(move |(package, _)| comes(package)).map(|(_, service)| service)
}

/// Debian's compilers with `core` for the BPF targets, newest first: `rustc-web` is the one that
/// stable releases keep up to date.
const COMPILERS: [[&str; 3]; 2] = [
    ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"],
    ["rustc", "cargo", "libstd-rust-dev-bpf"],
];

/// Tells whether the package manager has a package.
pub(super) type Knows<'a> = &'a dyn Fn(&str) -> bool;

/// What the machine lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) tools: Vec<Tool>,
    pub(super) toolchain: Missing,
}

/// What is missing for the XDP program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Missing {
    #[default]
    Nothing,
    /// bpf-linker for this LLVM; to build it, these Debian packages.
    Linker { llvm: u32, packages: Vec<String> },
    /// The compiler, so that nothing is known of the linker either.
    Compiler,
}

impl Lack {
    /// Looks for the toolchain and for these tools.
    pub(super) fn look(workspace: &Workspace, tools: &[Tool]) -> Self {
        let absent = |tool: &&Tool| steps::on_path(tool.command).is_empty();
        let toolchain = match find_compiler() {
            Err(_) => Missing::Compiler,
            Ok(compiler) => {
                let llvm = compiler.version.llvm;
                if Linker::find(workspace, llvm).is_some() {
                    Missing::Nothing
                } else {
                    let packages = linker_needs(&llvm_prefix(llvm), &llvm.to_string());
                    let absent = packages.into_iter().filter(|(file, _)| !file.exists());
                    Missing::Linker { llvm, packages: absent.map(|(_, package)| package).collect() }
                }
            }
        };
        Self { tools: tools.iter().filter(absent).copied().collect(), toolchain }
    }

    /// Whether anything must be installed. A linker that can be built at once is no such thing.
    pub(super) fn needs_packages(&self) -> bool {
        !self.tools.is_empty()
            || match &self.toolchain {
                Missing::Nothing => false,
                Missing::Linker { packages, .. } => !packages.is_empty(),
                Missing::Compiler => true,
            }
    }

    /// The Debian packages to install now. After a compiler there can be more.
    pub(super) fn packages(&self, knows: Knows<'_>) -> Vec<String> {
        let mut packages: Vec<String> =
            self.tools.iter().map(|tool| tool.package.to_owned()).collect();
        match &self.toolchain {
            Missing::Nothing => {}
            Missing::Linker { packages: libraries, .. } => {
                if libraries.iter().all(|package| knows(package)) {
                    packages.extend_from_slice(libraries);
                }
            }
            Missing::Compiler => packages.extend(compiler(knows).into_iter().flatten()),
        }
        packages
    }

    /// Shell commands that get everything: with apt, given what it knows, or else as far as they
    /// are the same everywhere.
    pub(super) fn commands(&self, apt: Option<Knows<'_>>, root: bool) -> String {
        let mut text = String::new();
        let now = apt.map(|knows| self.packages(knows)).unwrap_or_default();
        let sudo = if root { "" } else { "sudo " };
        let install = format!("{sudo}apt-get install --yes --no-install-recommends");
        for service in services(&now) {
            let _ = writeln!(
                text,
                "test ! -d /run/systemd/system || {sudo}systemctl mask {service}  # the lab runs it"
            );
        }
        if !now.is_empty() {
            let _ = writeln!(text, "{sudo}apt-get update\n{install} {}", now.join(" "));
        } else if !self.tools.is_empty() {
            let names: Vec<_> = self.tools.iter().map(|tool| tool.command).collect();
            let _ =
                writeln!(text, "# By the system's packages, these programs: {}", names.join(" "));
        }
        match &self.toolchain {
            Missing::Nothing => {}
            Missing::Linker { packages, .. } if packages.iter().all(|p| now.contains(p)) => {}
            Missing::Linker { llvm, .. } => {
                let _ = writeln!(
                    text,
                    "# A bpf-linker with LLVM {llvm} on PATH, either a release from\n\
                     # https://github.com/aya-rs/bpf-linker/releases, or with LLVM {llvm} installed:\n\
                     LLVM_PREFIX=/usr/lib/llvm-{llvm} cargo install bpf-linker --version \
                     {LINKER_VERSION} --locked --no-default-features --features llvm-{llvm}"
                );
            }
            Missing::Compiler if apt.and_then(compiler).is_some() => {
                let libraries = linker_needs(Path::new(""), "$llvm").map(|(_, package)| package);
                let _ = writeln!(
                    text,
                    r"llvm=$(/usr/bin/rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')"
                );
                let _ = writeln!(text, "{install} {}", libraries.join(" "));
            }
            Missing::Compiler => {
                text.push_str("rustup toolchain install nightly --component rust-src\n");
            }
        }
        text.push_str("cargo xtask setup\n");
        text
    }
}

/// The packages of the first compiler that apt has.
fn compiler(knows: Knows<'_>) -> Option<[String; 3]> {
    let family = COMPILERS.into_iter().find(|family| family.iter().all(|name| knows(name)))?;
    Some(family.map(str::to_owned))
}

/// What building bpf-linker takes: a file that shows that it is there, and the package.
fn linker_needs(llvm_prefix: &Path, llvm: &str) -> [(PathBuf, String); 4] {
    [
        (llvm_prefix.join("bin/llvm-config"), format!("llvm-{llvm}-dev")),
        (llvm_prefix.join("lib/libPolly.a"), format!("libpolly-{llvm}-dev")),
        ("/usr/include/zstd.h".into(), "libzstd-dev".into()),
        ("/usr/include/zlib.h".into(), "zlib1g-dev".into()),
    ]
}
