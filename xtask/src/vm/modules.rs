//! Which files the kernel modules of the guest are in.

use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};

/// What the lab, the tests and the tools ask the kernel for. Dependencies come with them.
pub(super) const MODULES: [&str; 26] = [
    // Interfaces.
    "veth",
    "8021q",
    "bridge",
    "dummy",
    "ifb",
    "macvlan",
    "tun",
    // Traffic control.
    "sch_ingress",
    "cls_bpf",
    "sch_netem",
    "sch_tbf",
    // The firewall.
    "nf_tables",
    "nfnetlink",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_nat",
    "nft_chain_nat",
    "nft_masq",
    "nft_nat",
    "nft_ct",
    "nft_flow_offload",
    "nf_flow_table",
    "nf_flow_table_inet",
    // What lists sockets.
    "inet_diag",
    "af_packet_diag",
    // What sends packets.
    "pktgen",
];

/// The contents of `modules.dep`: which files each module needs.
pub(super) struct Dependencies<'a> {
    /// By the module's name: its file, and those before it.
    modules: BTreeMap<&'a str, (&'a str, Vec<&'a str>)>,
}

impl<'a> Dependencies<'a> {
    /// Reads lines such as `kernel/a.ko: kernel/b.ko kernel/c.ko`.
    pub(super) fn parse(text: &'a str) -> Self {
        let line = |line: &'a str| {
            let (file, needs) = line.split_once(':')?;
            Some((name(file), (file, needs.split_whitespace().collect())))
        };
        Self { modules: text.lines().filter_map(line).collect() }
    }

    /// The files of these modules and of all that they need; those that the kernel has built in, or
    /// has not at all, are left out.
    pub(super) fn files(&self, names: &[&'a str]) -> Result<BTreeSet<&'a str>> {
        let mut files = BTreeSet::new();
        let mut open: Vec<&str> =
            names.iter().copied().filter(|name| self.modules.contains_key(name)).collect();
        while let Some(name) = open.pop() {
            let (file, needs) =
                self.modules.get(name).with_context(|| format!("{name} is needed and missing"))?;
            if files.insert(*file) {
                open.extend(needs.iter().map(|file| self::name(file)));
            }
        }
        Ok(files)
    }
}

/// `kernel/net/8021q/8021q.ko`, also compressed, is `8021q`.
fn name(file: &str) -> &str {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split_once(".ko").map_or(base, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/net/8021q/8021q.ko: kernel/net/802/garp.ko\n\
                       kernel/net/802/garp.ko: kernel/net/llc/llc.ko.xz\n\
                       kernel/net/llc/llc.ko.xz:\n\
                       kernel/drivers/net/veth.ko:\n";

    #[test]
    fn modules_come_with_what_they_need() {
        let files = Dependencies::parse(DEP).files(&["8021q", "built_in"]).unwrap();
        let expected =
            ["kernel/net/802/garp.ko", "kernel/net/8021q/8021q.ko", "kernel/net/llc/llc.ko.xz"];
        assert_eq!(files.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_module_whose_need_is_missing_is_an_error() {
        let dependencies = Dependencies::parse("kernel/a.ko: kernel/b.ko\n");
        assert!(dependencies.files(&["a"]).is_err());
    }
}
