//! PCP and NAT-PMP as hosts of a LAN use them: with frames made by hand, Debian's `natpmpc` and the crate
//! crab_nat.

use anyhow::{Context as _, Result, ensure};
use crab_nat::{GatewayAddress, InternetProtocol, PortMapping, PortMappingOptions};
use nat_tests::client::Gateway;
use nat_tests::client::events::{self, Subscriber};
use nat_tests::client::pcp::{ANNOUNCEMENTS, Client, Map, TCP};
use nat_tests::client::soap::{MAPPING, Mapping};
use nat_tests::daemon::Daemon;
use nat_tests::lab::packet::Packet;
use nat_tests::lab::{
    ANSWER_TIMEOUT, Capture, EXTERNAL, LAN_HOST, Lab, OTHER_WAN_HOST, ROUTER_LAN,
    ROUTER_SECOND_LAN, SECOND_LAN_HOST, TcpReflector, UdpReflector, WAN_HOST, tcp_seen_as,
    wait_until,
};
use nat_tests::lease::{SILENT_FOR, answers, tcp_is_shut, tcp_opens, udp_answers, udp_is_silent};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

/// How long something may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);
/// Behind the mappings.
const INSIDE: &str = "192.168.77.2:5600";
const NEW: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 2);

const SUCCESS: u8 = 0;
const NOT_AUTHORIZED: u8 = 2;
const CANNOT_PROVIDE_EXTERNAL: u8 = 11;
const ADDRESS_MISMATCH: u8 = 12;

const fn external(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(EXTERNAL, port)
}

fn client(lab: &Lab) -> Result<Client<'_>> {
    Client::new(&lab.lan, LAN_HOST, ROUTER_LAN)
}

/// An announcement that the server makes of itself.
fn is_announced(packet: &Packet, version: u8) -> bool {
    packet.destination == *ANNOUNCEMENTS.ip()
        && (packet.source_port, packet.destination_port) == (5351, ANNOUNCEMENTS.port())
        && packet.payload.first() == Some(&version)
}

#[test]
fn a_mapping_lets_packets_in_until_it_is_ended() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _servers = (UdpReflector::start(&lab.lan, INSIDE)?, TcpReflector::start(&lab.lan, INSIDE)?);
    let client = client(&lab)?;
    let answer = client.map(5600, 6000, 600)?;
    assert_eq!((answer.result(), answer.lifetime()), (SUCCESS, 600));
    assert_eq!(answer.external(), external(6000));
    ensure!(udp_answers(&lab.wan, external(6000))? && tcp_is_shut(&lab.wan, external(6000))?);
    let tcp = Map { protocol: TCP, ..Map::udp(LAN_HOST, 5600, 6000, 600) };
    assert_eq!(client.ask(&tcp.frame())?.external(), external(6000));
    assert_eq!(*tcp_seen_as(&mut lab.wan.tcp_connect(external(6000))?)?.ip(), WAN_HOST);
    let listed = daemon.mappings()?;
    ensure!(listed.iter().all(|mapping| mapping["via"] == "pcp"), "{listed:?}");

    assert_eq!(client.map(5600, 6000, 0)?.result(), SUCCESS);
    ensure!(udp_is_silent(&lab.wan, external(6000))? && tcp_opens(&lab.wan, external(6000))?);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn what_one_protocol_has_mapped_is_a_conflict_for_the_others() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let second = lab.second_lan()?;
    let other = Client::new(second, SECOND_LAN_HOST, ROUTER_SECOND_LAN)?;
    gateway.add(&MAPPING)?.success()?;
    let exactly = Map::udp(SECOND_LAN_HOST, 5600, 6000, 600).prefer_failure();
    assert_eq!(other.ask(&exactly.frame())?.result(), CANNOT_PROVIDE_EXTERNAL);
    let answer = other.map(5600, 6000, 600)?;
    assert_eq!(answer.result(), SUCCESS);
    let port = answer.external().port();
    ensure!(port != 6000, "another client has it");

    // And the other way round.
    let taken = port.to_string();
    let refused = gateway.add(&Mapping { external_port: &taken, ..MAPPING })?;
    assert_eq!(refused.error_code(), Some(718));
    let any =
        gateway.add_any(&Mapping { external_port: &taken, internal_port: "5601", ..MAPPING })?;
    ensure!(any.success()?.value("NewReservedPort") != Some(taken.as_str()));
    daemon.stop()?;
    lab.finish()
}

#[test]
fn upnps_subscribers_learn_of_mappings_by_pcp() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let subscriber = Subscriber::start(&lab.lan, &format!("{LAN_HOST}:0"))?;
    let path = "/igd2/event/WANIPConnection";
    events::subscribe(&lab.lan, gateway.server, path, &subscriber.url)?;
    subscriber.wait_for("PortMappingNumberOfEntries", "0", SOON)?;
    client(&lab)?.map(5600, 6000, 600)?;
    let event = subscriber.wait_for("PortMappingNumberOfEntries", "1", SOON)?;
    ensure!(event.value("SystemUpdateID").is_some(), "{event:?}");
    let listed = gateway.call("GetGenericPortMappingEntry", &[("NewPortMappingIndex", "0")])?;
    let listed = listed.success()?;
    assert_eq!(listed.value("NewExternalPort"), Some("6000"));
    assert_eq!(listed.value("NewPortMappingDescription"), Some("PCP"));
    client(&lab)?.map(5600, 6000, 0)?;
    subscriber.wait_for("SystemUpdateID", "2", SOON)?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn filters_are_enforced_by_the_packet_path_and_outlive_a_restart() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let state = lab.directory().join("state");
    let start = || Daemon::builder(&lab).pinned(&bpffs).state(&state).start();
    let first = start()?;
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    let client = client(&lab)?;
    let request = || Map::udp(LAN_HOST, 5600, 6000, 600);
    let port = 7001;
    let friend = SocketAddrV4::new(WAN_HOST, port);
    let strangers = [SocketAddrV4::new(OTHER_WAN_HOST, port), SocketAddrV4::new(WAN_HOST, 7002)];
    let lets_in = |from: SocketAddrV4, patience| {
        answers(&lab.wan.udp(&from.to_string())?, external(6000), patience)
    };
    let answered = |from| lets_in(from, ANSWER_TIMEOUT);
    let is_kept_out = |from| lets_in(from, SILENT_FOR).map(|answered| !answered);
    assert_eq!(client.ask(&request().filter(WAN_HOST, 32, port).frame())?.result(), SUCCESS);
    ensure!(answered(friend)?);
    for stranger in strangers {
        ensure!(is_kept_out(stranger)?, "{stranger} was let in");
    }
    let dropped = first.counter("drop_filtered")?;
    ensure!(dropped >= 2, "{dropped}");
    assert_eq!(first.mappings()?[0]["filters"][0], format!("{WAN_HOST}/32:{port}"));
    first.kill()?;

    let second = start()?;
    ensure!(answered(friend)? && is_kept_out(strangers[0])?);
    // One more, and then none.
    assert_eq!(client.ask(&request().filter(OTHER_WAN_HOST, 31, 0).frame())?.result(), SUCCESS);
    ensure!(answered(friend)? && answered(strangers[0])? && is_kept_out(strangers[1])?);
    assert_eq!(client.ask(&request().no_filter().frame())?.result(), SUCCESS);
    ensure!(answered(strangers[1])?);
    second.stop()?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn a_restart_keeps_mappings_their_nonces_and_the_epoch() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let state = lab.directory().join("state");
    let start = || Daemon::builder(&lab).pinned(&bpffs).state(&state).start();
    let first = start()?;
    let began = Instant::now();
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    let client = client(&lab)?;
    assert_eq!(client.map(5600, 6000, 600)?.result(), SUCCESS);
    let stranger = Map { nonce: [9; 12], ..Map::udp(LAN_HOST, 5600, 6000, 600) };
    assert_eq!(client.ask(&stranger.frame())?.result(), NOT_AUTHORIZED);
    let before = client.announce()?.epoch();
    first.kill()?;
    ensure!(udp_answers(&lab.wan, external(6000))?, "it is open all the while");

    let second = start()?;
    let after = client.announce()?.epoch();
    let passed = u32::try_from(began.elapsed().as_secs())?;
    ensure!(after >= before && after <= passed + 1, "{before}, {after}, {passed} s");
    assert_eq!(client.ask(&stranger.frame())?.result(), NOT_AUTHORIZED, "the nonce is known");
    assert_eq!(client.map(5600, 6000, 600)?.external(), external(6000));
    assert_eq!(client.map(5600, 6000, 0)?.result(), SUCCESS);
    second.stop()?;

    // Without what was kept the epoch begins anew.
    std::fs::remove_dir_all(&state)?;
    wait_until("a second epoch that can be told from the first", SOON, || {
        Ok(began.elapsed() > Duration::from_secs(4))
    })?;
    let third = start()?;
    ensure!(client.announce()?.epoch() <= 3);
    third.stop()?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn a_new_external_address_begins_an_epoch_and_is_announced_to_all() -> Result<()> {
    let lab = Lab::home()?;
    let seen = Capture::start(&lab.lan)?;
    let daemon = Daemon::start(&lab)?;
    // At the start, again and again.
    for version in [0, 2] {
        seen.wait_for("announcements", 3, SOON, |packet| is_announced(packet, version))?;
    }
    let client = client(&lab)?;
    client.map(5600, 6000, 600)?;
    let updates = lab.lan.udp(&format!("{LAN_HOST}:5350"))?;
    wait_until("an epoch that can be told from a new one", SOON, || {
        Ok(client.announce()?.epoch() >= 3)
    })?;

    lab.router.sysctl("net/ipv4/conf/wan0/promote_secondaries", "1")?;
    lab.router.ip(&["address", "add", &format!("{NEW}/24"), "dev", "wan0"])?;
    lab.router.ip(&["address", "del", &format!("{EXTERNAL}/24"), "dev", "wan0"])?;
    lab.router.ip(&["route", "replace", "default", "via", &WAN_HOST.to_string()])?;
    let told = seen.wait_for("NAT-PMP's announcement", 3, SOON, |packet| {
        is_announced(packet, 0) && packet.payload.get(8..12) == Some(&NEW.octets())
    })?;
    let epoch = |packet: &Packet| packet.payload.get(4..8).map(<[u8]>::to_vec);
    ensure!(epoch(&told[0]) == Some(vec![0; 4]), "{told:?}");
    // The client is told of its mapping, too.
    let mut buffer = [0; 1_500];
    let (length, from) = updates.recv_from(&mut buffer).context("no update")?;
    assert_eq!(from.to_string(), "192.168.77.1:5351");
    let update = nat_tests::client::pcp::Answer(buffer[..length].to_vec());
    assert_eq!((update.0[1], update.result()), (0x81, SUCCESS));
    assert_eq!(update.external(), SocketAddrV4::new(NEW, 6000));
    let answer = client.map(5600, 6000, 600)?;
    assert_eq!(answer.external(), SocketAddrV4::new(NEW, 6000));
    ensure!(answer.epoch() < 10, "{}", answer.epoch());
    daemon.stop()?;
    lab.finish()
}

#[test]
fn addresses_of_the_lan_that_come_are_served_and_those_that_go_are_not() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    lab.router.ip(&["address", "add", "192.168.99.1/24", "dev", "lan0"])?;
    lab.lan.ip(&["address", "add", "192.168.99.2/24", "dev", "eth0"])?;
    let (host, server) = (Ipv4Addr::new(192, 168, 99, 2), Ipv4Addr::new(192, 168, 99, 1));
    let mut guest = Client::new(&lab.lan, host, server)?;
    guest.patience = Duration::from_millis(200);
    wait_until("an answer at the new address", SOON, || Ok(guest.announce().is_ok()))?;
    // Nobody asks there who is of the other network.
    let stranger = Client::new(&lab.lan, LAN_HOST, server)?;
    let request = Map::udp(LAN_HOST, 5600, 6000, 600).frame();
    ensure!(stranger.is_ignored(&request)?);
    lab.router.ip(&["address", "del", "192.168.99.1/24", "dev", "lan0"])?;
    wait_until("silence at the old address", SOON, || Ok(guest.announce().is_err()))?;
    assert_eq!(client(&lab)?.map(5600, 6000, 600)?.result(), SUCCESS);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn forged_sources_and_the_wan_are_not_answered() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let second = lab.second_lan()?;
    let daemon = Daemon::start(&lab)?;
    let request = Map::udp(LAN_HOST, 5600, 6000, 600).frame();
    // Somebody in the second LAN takes the first one's host for himself.
    second.ip(&["address", "add", &format!("{LAN_HOST}/32"), "dev", "eth0"])?;
    for server in [ROUTER_LAN, ROUTER_SECOND_LAN] {
        ensure!(Client::new(second, LAN_HOST, server)?.is_ignored(&request)?, "{server}");
        // And the first LAN's own address of the router is not reached from there either.
        let other = Map::udp(SECOND_LAN_HOST, 5600, 6000, 600).frame();
        let honest = Client::new(second, SECOND_LAN_HOST, server)?;
        assert_eq!(honest.is_ignored(&other)?, server == ROUTER_LAN, "{server}");
    }
    let outside = Client::new(&lab.wan, WAN_HOST, EXTERNAL)?;
    ensure!(outside.is_ignored(&Map::udp(WAN_HOST, 5600, 6000, 600).frame())?);
    ensure!(outside.is_ignored(&[0, 0])?);
    let ports: Vec<_> = daemon.mappings()?.iter().map(|it| it["internal"].clone()).collect();
    assert_eq!(ports, ["192.168.78.2:5600"], "only the honest one's");

    let mismatch = client(&lab)?.ask(&Map::udp(SECOND_LAN_HOST, 5600, 6000, 600).frame())?;
    assert_eq!(mismatch.result(), ADDRESS_MISMATCH);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn natpmpc_tells_the_address_and_maps_renews_and_ends() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    let gateway = ROUTER_LAN.to_string();
    let natpmpc =
        |words: &[&str]| lab.lan.run("natpmpc", &[&["-g", gateway.as_str()], words].concat());
    let address = natpmpc(&[])?;
    ensure!(address.contains("Public IP address : 11.22.33.1"), "{address}");
    for _ in 0..2 {
        let mapped = natpmpc(&["-a", "6000", "5600", "udp", "600"])?;
        let wanted = "Mapped public port 6000 protocol UDP to local port 5600";
        ensure!(mapped.contains(wanted), "{mapped}");
    }
    ensure!(udp_answers(&lab.wan, external(6000))?);
    assert_eq!(daemon.mappings()?[0]["via"], "nat-pmp");
    // It asks for a port that another has, and gets another one.
    lab.lan.ip(&["address", "add", "192.168.77.3/24", "dev", "eth0"])?;
    let second = Client::new(&lab.lan, Ipv4Addr::new(192, 168, 77, 3), ROUTER_LAN)?;
    assert_eq!(second.map(7000, 7000, 600)?.external(), external(7000));
    let other = natpmpc(&["-a", "7000", "5700", "udp", "600"])?;
    ensure!(other.contains("Mapped public port") && !other.contains("port 7000 "), "{other}");
    // One, and then all that are left of the protocol.
    natpmpc(&["-a", "0", "5600", "udp", "0"])?;
    ensure!(udp_is_silent(&lab.wan, external(6000))?);
    assert_eq!(daemon.mappings()?.len(), 2);
    natpmpc(&["-a", "0", "0", "udp", "0"])?;
    let left = daemon.mappings()?;
    ensure!(left.len() == 1 && left[0]["internal"] == "192.168.77.3:7000", "{left:?}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn crab_nat_maps_by_both_protocols() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _servers = (UdpReflector::start(&lab.lan, INSIDE)?, TcpReflector::start(&lab.lan, INSIDE)?);
    let (lan, wan) = (&lab.lan, &lab.wan);
    let gateway = GatewayAddress::IpV4(ROUTER_LAN);
    let internal = NonZeroU16::new(5600).context("not 0")?;
    let options = PortMappingOptions {
        external_port: NonZeroU16::new(6000),
        lifetime_seconds: Some(600),
        timeout_config: None,
    };
    lan.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let udp = InternetProtocol::Udp;
            let mut mapping =
                PortMapping::new(gateway, LAN_HOST.into(), udp, internal, options).await?;
            ensure!(matches!(mapping.mapping_type(), crab_nat::PortMappingType::Pcp { .. }));
            assert_eq!((mapping.external_port().get(), mapping.lifetime()), (6000, 600));
            ensure!(udp_answers(wan, external(6000))?);
            mapping.renew().await?;
            mapping.try_drop().await.map_err(|(error, _)| error)?;
            ensure!(udp_is_silent(wan, external(6000))?);

            assert_eq!(crab_nat::natpmp::external_address(gateway, None).await?, EXTERNAL);
            let tcp = InternetProtocol::Tcp;
            let mapping = crab_nat::natpmp::port_mapping(gateway, tcp, internal, options).await?;
            assert_eq!(mapping.external_port().get(), 6000);
            ensure!(tcp_opens(wan, external(6000))?);
            mapping.try_drop().await.map_err(|(error, _)| error)?;
            ensure!(tcp_is_shut(wan, external(6000))?);
            Ok(())
        })
    })??;
    assert!(daemon.mappings()?.is_empty());
    daemon.stop()?;
    lab.finish()
}

#[test]
fn the_command_line_is_a_client_too() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    let binary = nat_tests::daemon::binary()?;
    let binary = binary.to_string_lossy();
    let pcp = |words: &[&str]| -> Result<Value> {
        let all = [&["pcp"], words, &["--json"]].concat();
        Ok(serde_json::from_str(&lab.lan.run(&binary, &all)?)?)
    };
    let words = ["map", "udp", "5600", "--external-port", "6000", "--lifetime", "600"];
    let told = pcp(&words)?;
    assert_eq!((&told["external_port"], &told["lifetime"]), (&6000.into(), &600.into()));
    assert_eq!(told["external_address"], EXTERNAL.to_string());
    ensure!(udp_answers(&lab.wan, external(6000))?);
    let nonce = told["nonce"].as_str().context("no nonce")?;
    let filtered = [&words[..], &["--nonce", nonce, "--filter", "11.22.33.77"]].concat();
    assert_eq!(pcp(&filtered)?["external_port"], 6000);
    ensure!(udp_is_silent(&lab.wan, external(6000))?, "filtered");
    ensure!(pcp(&["announce"])?["epoch"].is_u64());
    let listed = daemon.command(&["pcp", "list"])?.success()?;
    ensure!(listed.contains("192.168.77.2:5600"), "{listed}");

    let refused = lab.lan.output(&binary, &["pcp", "map", "udp", "5600"])?;
    ensure!(!refused.status.success() && refused.stderr.contains("NOT_AUTHORIZED"), "{refused:?}");
    pcp(&["unmap", "udp", "5600", "--nonce", nonce])?;
    assert!(daemon.mappings()?.is_empty());
    let words = ["pcp", "announce", "--server", "11.22.33.9", "--timeout", "1"];
    let nobody = lab.lan.output(&binary, &words)?;
    ensure!(nobody.stderr.contains("there is no server"), "{nobody:?}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_flood_of_requests_leaves_limits_in_force_and_others_served() -> Result<()> {
    let lab = Lab::home()?;
    lab.lan.ip(&["address", "add", "192.168.77.3/24", "dev", "eth0"])?;
    let daemon = Daemon::start(&lab)?;
    let quiet = client(&lab)?;
    assert_eq!(quiet.map(5600, 6000, 600)?.result(), SUCCESS);
    let flooder = Ipv4Addr::new(192, 168, 77, 3);
    let noisy = Client::new(&lab.lan, flooder, ROUTER_LAN)?;
    let server = SocketAddrV4::new(ROUTER_LAN, 5351);
    let begin = Instant::now();
    for number in 0..100_000_u32 {
        let port = 1_024 + u16::try_from(number % 60_000)?;
        // Half of them for new ports; the others guess at nonces.
        let mut request = Map::udp(flooder, port, port, 600);
        if number % 2 == 1 {
            request.internal = 1_024;
            request.nonce[..4].copy_from_slice(&number.to_be_bytes());
        }
        // The queue of the socket may be full for a moment.
        let _ = noisy.socket.send_to(&request.frame(), server);
    }
    let took = begin.elapsed();
    let answer = quiet.map(5600, 6000, 600)?;
    assert_eq!((answer.result(), answer.external()), (SUCCESS, external(6000)));
    let mappings = daemon.mappings()?;
    let of = |host: &str| {
        let internal = mappings.iter().filter_map(|it| it["internal"].as_str());
        internal.filter(|internal| internal.starts_with(host)).count()
    };
    assert_eq!(of("192.168.77.2:"), 1);
    ensure!((1..=256).contains(&of("192.168.77.3:")), "{}", of("192.168.77.3:"));
    println!("100,000 requests in {took:?}; {} mappings of the flooder's", of("192.168.77.3:"));
    daemon.stop()?;
    lab.finish()
}
