//! `docs/nat-conformance.md`, `docs/igd-conformance.md` and `docs/pcp-conformance.md` keep their word: a row for every requirement, and in every row tests that
//! exist, or the reason why there are none.

use anyhow::{Context as _, Result};
use nat_tests::packets::rows;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What must have a row in the page about the NAT, in its order.
const REQUIREMENTS: &str = "
    4787-1 4787-2 4787-3 4787-4 4787-5 4787-6 4787-7 4787-8 4787-9 4787-10 4787-11 4787-12 4787-13
    4787-14
    5382-1 5382-2 5382-3 5382-4 5382-5 5382-6 5382-7 5382-8 5382-9 5382-10
    5508-1 5508-2 5508-3 5508-4 5508-5 5508-6 5508-7 5508-8 5508-9 5508-10 5508-11
    7857-2.1 7857-3 7857-6 7857-9
    6888-3 6888-4 6888-9 6888-12 6888-13
    6056 1812/791 strangers udp-checksum untouched router-own expiry boot-time
    wanip-2.3.17 wanip-2.3.18 wanip-2.3.21 wanip-2.5.16
    forwards-disabled precedence two-players last-port sweep path-mtu
    links-vlan links-lans links-mtu links-mss links-jumbo links-generic links-replug
    next-hops next-hops-unresolved address-change leaks spoofing life-cycle probe explained malformed
    two-cpus real-tools random
";

/// What must have a row in the page about UPnP, in its order.
const IGD_REQUIREMENTS: &str = "
    SetConnectionType GetConnectionTypeInfo RequestConnection RequestTermination ForceTermination
    SetAutoDisconnectTime SetIdleDisconnectTime SetWarnDisconnectDelay GetStatusInfo
    GetAutoDisconnectTime GetIdleDisconnectTime GetWarnDisconnectDelay GetNATRSIPStatus
    GetGenericPortMappingEntry GetSpecificPortMappingEntry AddPortMapping AddAnyPortMapping
    DeletePortMapping DeletePortMappingRange GetExternalIPAddress GetListOfPortMappings
    NewConnectionType NewPossibleConnectionTypes NewAutoDisconnectTime NewIdleDisconnectTime
    NewWarnDisconnectDelay NewConnectionStatus NewLastConnectionError NewUptime NewRSIPAvailable
    NewNATEnabled NewPortMappingIndex NewRemoteHost NewExternalPort NewProtocol NewInternalPort
    NewInternalClient NewEnabled NewPortMappingDescription NewLeaseDuration NewReservedPort
    NewStartPort NewEndPort NewManage NewNumberOfPorts NewPortListing NewExternalIPAddress
    var-ConnectionType var-PossibleConnectionTypes var-ConnectionStatus var-Uptime
    var-LastConnectionError var-AutoDisconnectTime var-IdleDisconnectTime var-WarnDisconnectDelay
    var-RSIPAvailable var-NATEnabled var-ExternalIPAddress var-PortMappingNumberOfEntries
    var-PortMappingEnabled var-PortMappingLeaseDuration var-RemoteHost var-ExternalPort
    var-InternalPort var-PortMappingProtocol var-InternalClient var-PortMappingDescription
    var-SystemUpdateID var-A_ARG_TYPE_Manage var-A_ARG_TYPE_PortListing 400-499 500-599 600-699 606
    703 704 705 706 707 708 709 710 711 713 714 715 716 718 724 725 726 727 728 729 730 731 732 733
    1.1 1.2-nat 1.2-lan 1.2-byebye 1.2-zero 1.2-remote 1.2-port 1.3.1-send 1.3.1-take 1.4 2.3.11
    2.3.13-format 2.3.13-empty 2.3.16 2.3.17 2.3.18 2.3.21-format 2.3.21-broadcast 2.3.25 2.4.4
    2.5-range 2.5-policy 2.5-default 2.5.1.3 2.5.3-30s 2.5.3.2 2.5.3.4 2.5.4.4 2.5.5.4 2.5.14
    2.5.15.2-all 2.5.15.2-empty 2.5-protocol 2.5.16-trigger 2.5.16-724 2.5.16-725 2.5.16-726
    2.5.16-727 2.5.16.2-default 2.5.16.4 figure-2-3 figure-2-4 2.5.19-own 2.5.19-all 2.5.19.2-skip
    2.5.19.2-730 2.5.19.2-manage 2.5.19.2-atomic 2.5.21-all 2.5.23 2.6.1 2.6.2 3.1.1.1 3.1.2 3.2.1
    control-points tree-igd2 tree-igd1 tree-announced tree-landevice tree-optional
    SetEnabledForInternet GetEnabledForInternet GetCommonLinkProperties GetWANAccessProvider
    GetMaximumActiveConnections GetTotalBytes GetTotalPackets GetActiveConnections
    DefaultConnectionService gena-subscribe gena-errors gena-first gena-seq gena-message
    gena-timeout gena-urls gena-412 gena-expiry gena-retry gena-variables gena-moderated
    gena-callback gena-bounds gena-ipv6 ssdp-goodbye ssdp-repeat ssdp-targets ssdp-mx ssdp-unicast
    ssdp-answers ssdp-location ssdp-bootid ssdp-update ssdp-addresses ssdp-searchport ssdp-ipv6
    ssdp-wan ssdp-garbage http-old http-bodies http-mpost http-headers http-host http-floods
    soap-xml soap-fault soap-order again clients persistence policy-own policy-ports policy-entries policy-open
    policy-narrow policy-any policy-static limit-mappings limit-rate limit-metrics
";

/// What must have a row in the page about PCP and NAT-PMP, in its order.
const PCP_REQUIREMENTS: &str = "
    5 7-size 7.2-reserved 7.3-padding 7.3-mandatory 7.3-optional 7.3-malformed 7.3-once
    7.3-response 7.3-rollback 7.4-codes 7.4-lifetimes 8.2-interface 8.2-silent 8.2-opcode 8.2-copy
    8.2-mismatch 8.2-overload 8.5-counts 8.5-kept 8.5-reset 9 11.3-create 11.3-nonce 11.3-renew
    11.3-implicit 11.3-static 11.3-other 11.3-any 11.3-address 11.3-protocol 11.3-all-ports
    11.3-all 11.3-senseless 11.3-policy 11.3-quota 11.3-network 15-lifetime 15-end 15.1-delete
    15.1-static 15.1-all 12-option 12-eim 12.1-zero 12.2-suggested 12.2-prefer 12.3-create
    12.3-extend 12.3-map 12.3-nonce 12.3-policy 12.3-quota 12.3-end 12.3-tcp 15-zero 8.5-peer
    13.1-prohibited 13.1-authorized 13.1-own 13.2 13.3-enforced
    13.3-add 13.3-limit 13.3-prefix 14.1-request 14.1-unsolicited 14.1-repeats 14.2 6886-3-layout
    6886-3.2 6886-3.2.1 6886-3.3-create 6886-3.3-companion 6886-3.3-other 6886-3.3-existing
    6886-3.3-source 6886-3.3-lifetime 6886-3.4-delete 6886-3.4-manual 6886-3.4-rst 6886-3.4-all
    6886-3.5-version 6886-3.5-opcode 6886-3.5-errors 6886-3.6 table-conflicts table-events
    table-kept table-policy table-clients table-bytes
    client-8.1.1 client-8.3 client-8.5 client-9 client-11.2 client-11.2.1 client-5-ipv6 client-12 client-13.1 client-13 client-13.2
    client-14.1 client-15 client-nat-pmp-3.1 client-nat-pmp-3.2 client-nat-pmp-3.3
    client-nat-pmp-3.6 client-bytes client-random iwf-4.1-address iwf-4.1-lease iwf-4.1-enabled
    iwf-4.1-port iwf-4.1-remote iwf-4.1-client iwf-4.1-description iwf-4.1-local iwf-4.2-specific
    iwf-4.2-local iwf-4.3 iwf-5.1-discovery iwf-5.1-several iwf-5.1-local iwf-5.2 iwf-5.3 iwf-5.4 iwf-5.5
    iwf-ds-lite iwf-nat64 iwf-5.6
    iwf-5.6-lifetime iwf-5.7.1 iwf-5.7.2 iwf-5.8 iwf-5.9 iwf-pcp iwf-peer iwf-double stun
";

/// The pages, with what must have a row in each.
const PAGES: [(&str, &str); 3] = [
    ("docs/nat-conformance.md", REQUIREMENTS),
    ("docs/igd-conformance.md", IGD_REQUIREMENTS),
    ("docs/pcp-conformance.md", PCP_REQUIREMENTS),
];

/// How a last column without tests begins.
const REASON: &str = "No test: ";

/// A row of the page: the requirement's name, and its last column.
#[derive(Debug, PartialEq, Eq)]
struct Requirement<'a> {
    id: &'a str,
    shown: &'a str,
}

/// Where a test may be found.
struct Tests {
    rows: HashSet<&'static str>,
    /// The workspace's source files, as their paths without `.rs`, and what they say.
    sources: Vec<(String, String)>,
}

/// The rows of all tables, without headings and rules.
fn requirements(page: &str) -> Result<Vec<Requirement<'_>>> {
    let mut found = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        match cells[..] {
            ["id", ..] => {}
            [id, _, _, shown] => found.push(Requirement { id, shown }),
            _ => anyhow::bail!("not four columns: {line}"),
        }
    }
    Ok(found)
}

/// What stands in backticks.
fn names(shown: &str) -> impl Iterator<Item = &str> {
    shown.split('`').skip(1).step_by(2)
}

impl Tests {
    fn of_the_workspace() -> Result<Self> {
        let mut sources = Vec::new();
        for folder in ["nat-common", "nat-ebpf", "igd-control", "tests", "xtask"] {
            collect(&root().join(folder), &mut sources)?;
        }
        Ok(Self { rows: rows::all().iter().map(|row| row.name).collect(), sources })
    }

    /// What is wrong with the name of a test.
    fn fault(&self, name: &str) -> Option<&'static str> {
        let Some((file, test)) = name.split_once("::") else {
            return (!self.rows.contains(name)).then_some("no packet row is called so");
        };
        let end = format!("/{file}");
        let here = |(path, text): &&(String, String)| path.ends_with(&end) && has_test(text, test);
        match self.sources.iter().filter(here).count() {
            0 => Some("no file of that name has such a test"),
            1 => None,
            _ => Some("there are several of them: write more of the path"),
        }
    }
}

/// Reads all source files below a folder.
fn collect(folder: &Path, sources: &mut Vec<(String, String)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            sources.push((path.with_extension("").to_string_lossy().into_owned(), text));
        }
    }
    Ok(())
}

/// Whether a source file has a function of this name that is marked as a test.
fn has_test(source: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    let mut marked = false;
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if line.starts_with("fn ") || line.starts_with("async fn ") {
            if marked && line.trim_start_matches("async ").starts_with(&head) {
                return true;
            }
            marked = false;
        }
    }
    false
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

#[test]
fn every_requirement_has_one_row() -> Result<()> {
    for (path, wanted) in PAGES {
        let page = page(path)?;
        let found: Vec<_> = requirements(&page)?.iter().map(|requirement| requirement.id).collect();
        assert_eq!(found, wanted.split_whitespace().collect::<Vec<_>>(), "{path}");
    }
    Ok(())
}

#[test]
fn every_row_names_tests_that_exist_or_says_why_there_are_none() -> Result<()> {
    let tests = Tests::of_the_workspace()?;
    let mut faults = Vec::new();
    for (path, _) in PAGES {
        for Requirement { id, shown } in requirements(&page(path)?)? {
            if names(shown).next().is_none() && shown.strip_prefix(REASON).is_none_or(str::is_empty)
            {
                let expected = format!("neither a test nor \"{REASON}\" and a reason");
                faults.push(format!("{path}: {id}: {expected}: {shown:?}"));
            }
            let wrong = |name| Some(format!("{path}: {id}: `{name}`: {}", tests.fault(name)?));
            faults.extend(names(shown).filter_map(wrong));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

#[test]
fn tests_that_do_not_exist_are_noticed() -> Result<()> {
    let tests = Tests::of_the_workspace()?;
    let here = "conformance::tests_that_do_not_exist_are_noticed";
    let known = [here, "ip_options_stay", "mapping/tests::leases_end_at_their_second"];
    assert!(known.iter().all(|name| tests.fault(name).is_none()));
    // A row that is no more, a test in another file, a function that is no test, half a name.
    let unknown = ["no_such_row", "forwards::ip_options_stay", "conformance::page", "lab::a_lab"];
    assert!(unknown.iter().all(|name| tests.fault(name).is_some()));
    Ok(())
}

#[test]
fn rows_are_read_as_they_stand() -> Result<()> {
    let page =
        "# T\n\n| id | asks | does | shown by |\n|---|---|---|---|\n| 1 | a | b | `c`, `d::e` |";
    let found = requirements(page)?;
    assert_eq!(found, [Requirement { id: "1", shown: "`c`, `d::e`" }]);
    assert_eq!(names(found[0].shown).collect::<Vec<_>>(), ["c", "d::e"]);
    assert!(requirements("| 1 | a | b |").is_err());
    Ok(())
}
