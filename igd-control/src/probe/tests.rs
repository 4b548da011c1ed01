use super::driver::{BASIC, NDO_XMIT, REDIRECT};
use super::interface::{Attached, Owner, findings, overlap};
use super::*;
use crate::datapath::{Offloads, XdpMode};
use std::{io, net::Ipv4Addr, path::Path};

fn link(name: &str, address: Option<(Ipv4Addr, u8)>) -> Link {
    Link {
        name: name.to_owned(),
        index: 2,
        ethernet: true,
        up: true,
        carrier: true,
        veth: false,
        addresses: address.into_iter().collect(),
        xdp: None,
        device: Some(2),
        carries_tags: false,
    }
}

fn wan(a: u8, b: u8, c: u8, d: u8) -> Link {
    link("wan0", Some((Ipv4Addr::new(a, b, c, d), 24)))
}

fn of<'a>(findings: &'a [Finding], check: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.check == check).unwrap()
}

fn status(findings: &[Finding], check: &str) -> Status {
    of(findings, check).status
}

fn good_host() -> Host {
    Host {
        release: "6.18.5".to_owned(),
        btf: Some(true),
        jit: Some(1),
        capabilities: u64::MAX,
        root: true,
    }
}

#[test]
fn a_good_host_has_nothing_to_mend() {
    let findings = good_host().findings();
    assert!(findings.iter().all(|f| f.status == Status::Ok && f.command.is_none()));
}

#[test]
fn kernels_before_5_12_fail() {
    let judge = |release: &str| {
        status(&Host { release: release.to_owned(), ..good_host() }.findings(), "kernel")
    };
    assert_eq!(judge("5.10.0-28-amd64"), Status::Failure);
    assert_eq!(judge("5.12.0"), Status::Ok);
    assert_eq!(judge("6.1.0-37-cloud-amd64"), Status::Ok);
    assert_eq!(judge("6.6-rc1"), Status::Ok);
    assert_eq!(judge("10.0"), Status::Ok);
    assert_eq!(judge("next"), Status::Unchecked);
}

#[test]
fn what_a_namespace_hides_is_unchecked_and_not_wrong() {
    let findings = Host { btf: None, jit: None, ..good_host() }.findings();
    assert_eq!(status(&findings, "btf"), Status::Unchecked);
    assert_eq!(status(&findings, "bpf jit"), Status::Unchecked);
}

#[test]
fn an_interpreter_is_warned_of() {
    let findings = Host { jit: Some(0), ..good_host() }.findings();
    let command = of(&findings, "bpf jit").command.as_deref();
    assert_eq!(command, Some("sysctl -w net.core.bpf_jit_enable=1"));
}

#[test]
fn three_capabilities_are_enough_and_none_can_be_missing() {
    let judge = |capabilities| {
        let host = Host { capabilities, root: false, ..good_host() };
        of(&host.findings(), "capabilities").clone()
    };
    assert_eq!(judge(1 << 12 | 1 << 38 | 1 << 39).status, Status::Ok);
    assert_eq!(judge(1 << 12 | 1 << 21).status, Status::Ok);
    let none = judge(0);
    assert_eq!(none.status, Status::Failure);
    assert_eq!(none.detail, "missing: CAP_BPF CAP_PERFMON CAP_NET_ADMIN");
    assert!(none.command.unwrap().contains("sudo"));
    assert_eq!(judge(1 << 12 | 1 << 39).detail, "missing: CAP_PERFMON");
}

#[test]
fn capabilities_are_read_from_the_status_file() {
    assert_eq!(host::effective("Name:\tx\nCapEff:\t000001fffeffffff\n"), 0x1ff_feff_ffff);
    assert_eq!(host::effective("Name:\tx\n"), 0);
}

#[test]
fn an_interface_that_is_missing_or_no_ethernet_fails() {
    assert_eq!(status(&findings("wan0", Side::Wan, None), "interface"), Status::Failure);
    let tunnel = Link { ethernet: false, ..wan(11, 22, 33, 1) };
    assert_eq!(status(&findings("wan0", Side::Wan, Some(&tunnel)), "interface"), Status::Failure);
}

#[test]
fn without_a_nat_any_interface_that_is_there_will_do() {
    let tunnel = Link { ethernet: false, ..wan(192, 0, 0, 2) };
    let found = interface::routed("wan0", Side::Wan, Some(&tunnel));
    assert!(found.iter().all(|finding| finding.status == Status::Ok), "{found:?}");
    let missing = interface::routed("wan0", Side::Wan, None);
    assert_eq!(status(&missing, "interface"), Status::Failure);
    let bare = link("wan0", None);
    let found = interface::routed("wan0", Side::Wan, Some(&bare));
    assert_eq!(status(&found, "address"), Status::Warning);
}

#[test]
fn an_interface_that_is_down_is_warned_of() {
    let down = Link { up: false, carrier: false, ..wan(11, 22, 33, 1) };
    let found = findings("wan0", Side::Wan, Some(&down));
    let found = of(&found, "interface");
    assert_eq!(found.status, Status::Warning);
    assert_eq!(found.command.as_deref(), Some("ip link set dev wan0 up"));
    assert_eq!(found.interface.as_deref(), Some("wan0"));
    let unplugged = Link { carrier: false, ..wan(11, 22, 33, 1) };
    let found = findings("wan0", Side::Wan, Some(&unplugged));
    assert!(of(&found, "interface").detail.contains("carrier"));
}

#[test]
fn a_wan_address_that_the_internet_cannot_reach_means_two_nats() {
    let judge = |link: &Link| of(&findings("wan0", Side::Wan, Some(link)), "address").clone();
    for address in [wan(10, 0, 0, 2), wan(100, 64, 0, 1), wan(100, 127, 9, 1), wan(169, 254, 1, 1)]
    {
        let found = judge(&address);
        assert_eq!(found.status, Status::Warning);
        assert!(found.detail.contains("another NAT"), "{found}");
    }
    for address in [wan(11, 22, 33, 1), wan(100, 128, 0, 1), wan(100, 63, 0, 1)] {
        assert_eq!(judge(&address).status, Status::Ok);
    }
    assert_eq!(judge(&link("wan0", None)).status, Status::Warning);
}

#[test]
fn a_private_lan_is_as_it_should_be_and_one_without_address_is_not() {
    let lan = link("lan0", Some((Ipv4Addr::new(192, 168, 77, 1), 24)));
    assert_eq!(status(&findings("lan0", Side::Lan, Some(&lan)), "address"), Status::Ok);
    let bare = findings("lan0", Side::Lan, Some(&link("lan0", None)));
    assert_eq!(status(&bare, "address"), Status::Warning);
}

#[test]
fn overlapping_networks_fail() {
    let lan = |third, prefix| link("lan0", Some((Ipv4Addr::new(192, 168, third, 1), prefix)));
    let judge = |lan: &Link, wan: &Link| overlap(&[lan], Some(wan));
    assert_eq!(judge(&lan(77, 24), &wan(192, 168, 78, 9)).status, Status::Ok);
    let same = judge(&lan(77, 24), &wan(192, 168, 77, 9));
    assert_eq!(same.status, Status::Failure);
    assert!(same.command.unwrap().starts_with("ip address del 192.168.77.1/24 dev lan0"));
    assert_eq!(judge(&lan(0, 16), &wan(192, 168, 77, 9)).status, Status::Failure);
    let everything = link("wan0", Some((Ipv4Addr::new(1, 1, 1, 1), 0)));
    assert_eq!(judge(&lan(77, 24), &everything).status, Status::Failure);
    assert_eq!(overlap(&[&lan(77, 24)], None).status, Status::Ok);
}

#[test]
fn only_a_program_that_can_be_taken_over_may_be_attached() {
    let judge = |owner| {
        let xdp = Some(Attached { mode: "xdpgeneric", id: 7, owner });
        let link = Link { xdp, ..wan(11, 22, 33, 1) };
        interface::program(&link)
    };
    assert_eq!(judge(Owner::Adoptable).status, Status::Ok);
    let other = judge(Owner::OtherGateway);
    assert_eq!(other.status, Status::Failure);
    assert!(other.command.unwrap().starts_with("igd-control unload"));
    let foreign = judge(Owner::Foreign(Some("xdp_dispatcher".to_owned())));
    assert_eq!(foreign.status, Status::Failure);
    assert_eq!(foreign.command.as_deref(), Some("ip link set dev wan0 xdpgeneric off"));
    assert!(foreign.detail.contains("xdp_dispatcher"));
}

const ALL: u64 = BASIC | REDIRECT | NDO_XMIT;

fn driver(features: Option<u64>, lro: bool, tx_checksum: bool) -> Driver {
    let offloads = Offloads { lro, tx_checksum, rx_vlan: true, tx_vlan: true };
    Driver { features, offloads: Some(offloads) }
}

#[test]
fn a_driver_without_native_xdp_matters_as_the_mode_says() {
    let judge = |features, mode| {
        let link = wan(11, 22, 33, 1);
        status(&driver(features, false, true).findings(&link, mode), "xdp mode")
    };
    assert_eq!(judge(Some(ALL), XdpMode::Auto), Status::Ok);
    assert_eq!(judge(Some(BASIC | REDIRECT), XdpMode::Native), Status::Ok);
    assert_eq!(judge(Some(BASIC), XdpMode::Auto), Status::Warning);
    assert_eq!(judge(Some(0), XdpMode::Native), Status::Failure);
    assert_eq!(judge(Some(0), XdpMode::Generic), Status::Ok);
    assert_eq!(judge(None, XdpMode::Auto), Status::Unchecked);
}

#[test]
fn large_receive_offload_is_warned_of() {
    let findings = driver(Some(ALL), true, true).findings(&wan(11, 22, 33, 1), XdpMode::Auto);
    let found = of(&findings, "lro");
    assert_eq!(found.status, Status::Warning);
    assert_eq!(found.command.as_deref(), Some("ethtool -K wan0 lro off"));
}

#[test]
fn tags_that_the_card_takes_out_are_told_where_there_are_vlans() {
    let judge = |link: &Link, rx_vlan, tx_vlan| {
        let offloads = Offloads { rx_vlan, tx_vlan, ..Offloads::default() };
        let driver = Driver { features: Some(ALL), offloads: Some(offloads) };
        of(&driver.findings(link, XdpMode::Auto), "vlan tags").clone()
    };
    let card = Link { carries_tags: true, ..wan(11, 22, 33, 1) };
    let taken = judge(&card, true, false);
    assert_eq!(taken.status, Status::Warning);
    assert_eq!(taken.command.as_deref(), Some("ethtool -K wan0 rxvlan off txvlan off"));
    assert_eq!(judge(&card, false, true).status, Status::Ok);
    let veth = Link { veth: true, ..card };
    assert!(judge(&veth, false, true).command.unwrap().contains("rxvlan off txvlan off # and"));
    assert_eq!(judge(&veth, true, false).status, Status::Ok);
    let plain = driver(Some(ALL), false, false).findings(&wan(11, 22, 33, 1), XdpMode::Auto);
    assert!(plain.iter().all(|finding| finding.check != "vlan tags"));
}

#[test]
fn a_vlan_in_a_vlan_in_a_vlan_fails() {
    let deep = Link { device: None, ..wan(11, 22, 33, 1) };
    let found = findings("wan0", Side::Wan, Some(&deep));
    assert_eq!(status(&found, "vlan tags"), Status::Failure);
}

#[test]
fn the_traps_of_veth_are_told_for_veth_alone() {
    let veth = Link { veth: true, ..wan(11, 22, 33, 1) };
    let bad = driver(Some(BASIC | REDIRECT), false, true);
    let findings = bad.findings(&veth, XdpMode::Auto);
    assert_eq!(status(&findings, "veth peer"), Status::Warning);
    assert_eq!(status(&findings, "veth checksum"), Status::Warning);
    let good = driver(Some(ALL), false, false).findings(&veth, XdpMode::Auto);
    assert!(good.iter().all(|finding| finding.status == Status::Ok));
    let card = bad.findings(&wan(11, 22, 33, 1), XdpMode::Auto);
    assert!(card.iter().all(|finding| finding.status == Status::Ok), "{card:?}");
}

#[test]
fn forwarding_fails_only_where_it_cannot_be_switched_on() {
    let judge = |on, writable| Forwarding { on, writable }.finding("wan0").status;
    assert_eq!(judge(Some(true), false), Status::Ok);
    assert_eq!(judge(Some(false), true), Status::Ok);
    assert_eq!(judge(Some(false), false), Status::Failure);
    assert_eq!(judge(None, false), Status::Unchecked);
}

#[test]
fn a_local_port_range_that_leaves_nothing_fails() {
    let narrow = settings::local_ports(Ok((32_768, 60_999)));
    assert_eq!(narrow.status, Status::Ok);
    assert!(narrow.detail.contains("36280"), "{narrow}");
    let wide = settings::local_ports(Ok((1_024, 65_535)));
    assert_eq!(wide.status, Status::Failure);
    assert!(wide.command.unwrap().contains("ip_local_port_range"));
}

#[test]
fn a_pin_directory_must_be_on_a_bpf_file_system_of_this_version() {
    let judge = |path: &str, bpf, others: &[&str]| {
        let others = others.iter().map(|&name| name.to_owned()).collect();
        PinDir { path: path.into(), bpf, others }.finding()
    };
    assert_eq!(judge("/sys/fs/bpf/igd-control", Some(true), &[]).status, Status::Ok);
    let usual = judge("/sys/fs/bpf/igd-control", Some(false), &[]);
    assert_eq!(usual.status, Status::Failure);
    assert_eq!(usual.command.as_deref(), Some("mount -t bpf bpf /sys/fs/bpf"));
    let own = judge("/run/bpf/igd", Some(false), &[]).command.unwrap();
    assert_eq!(own, "mkdir -p /run/bpf && mount -t bpf bpf /run/bpf");
    let old = judge("/sys/fs/bpf/igd-control", Some(true), &["layout-0"]);
    assert_eq!(old.status, Status::Failure);
    assert!(old.command.unwrap().starts_with("igd-control unload --pin-dir"));
}

#[test]
fn a_daemon_that_answers_fails() {
    let judge = |connected| place::judge_socket(Path::new("/run/x.sock"), connected).status;
    assert_eq!(judge(Ok(())), Status::Failure);
    assert_eq!(judge(Err(io::ErrorKind::NotFound.into())), Status::Ok);
    assert_eq!(judge(Err(io::ErrorKind::ConnectionRefused.into())), Status::Ok);
    assert_eq!(judge(Err(io::ErrorKind::PermissionDenied.into())), Status::Unchecked);
}

const TABLES: Tables =
    Tables { max_sessions: 262_144, max_forwards: 4_096, addresses: 1, contacts: false };

#[test]
fn the_default_tables_take_90_mib_and_contacts_24_more() {
    assert_eq!(memory::needed(TABLES) >> 20, 90);
    assert_eq!(memory::needed(Tables { contacts: true, ..TABLES }) >> 20, 114);
}

#[test]
fn forwards_leave_room_for_the_endpoints_of_others() {
    let few = Tables { max_sessions: 1_024, ..TABLES };
    let bytes = |max_forwards| memory::needed(Tables { max_forwards, ..few });
    assert_eq!(bytes(512), bytes(0));
    assert_eq!(bytes(5_120) - bytes(512), 9_216 * 64 + (16_384 - 1_024) * 16);
    // Not more than one for each external port.
    assert_eq!(bytes(1 << 20), bytes(131_070));
}

#[test]
fn memory_that_is_short_is_told_with_the_size_that_fits() {
    let judge = |mib: u64| Memory { available: Some(mib << 20), pinned: false }.finding(TABLES);
    assert_eq!(judge(1_024).status, Status::Ok);
    assert_eq!(judge(128).status, Status::Warning);
    let short = judge(72);
    assert_eq!(short.status, Status::Failure);
    assert!(short.command.unwrap().contains("max-sessions = 65536"));
    let pinned = Memory { available: Some(0), pinned: true }.finding(TABLES);
    assert_eq!(pinned.status, Status::Ok);
    assert_eq!(memory::available("MemFree: 1 kB\nMemAvailable:   2 kB\n"), Some(2_048));
}

#[test]
fn a_finding_is_one_line_with_its_command() {
    let finding = Finding::warning("lro", "it is on").mend("ethtool -K wan0 lro off").on("wan0");
    let line = "lro (wan0): it is on; to mend it: ethtool -K wan0 lro off";
    assert_eq!(finding.to_string(), line);
}

mod rules;

#[test]
fn a_state_directory_that_cannot_be_written_is_a_warning() {
    let judge =
        |writable, room| place::judge_state_dir(Path::new("/var/lib/igd-control"), writable, room);
    assert_eq!(judge(Ok(()), Some(1 << 30)).status, Status::Ok);
    assert_eq!(judge(Ok(()), None).status, Status::Ok);
    let read_only = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
    for (writable, room) in [(Err(read_only), None), (Ok(()), Some(4096))] {
        let finding = judge(writable, room);
        assert_eq!(finding.status, Status::Warning);
        assert!(finding.detail.contains("would not outlive a reboot"), "{}", finding.detail);
    }
}
