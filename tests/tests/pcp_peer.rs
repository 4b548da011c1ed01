//! PCP's PEER: sessions that last as agreed, whether packets flow, whether the daemon lives.

use anyhow::{Context as _, Result, ensure};
use nat_tests::client::pcp::{Answer, Client, Peer, TCP};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    EXTERNAL, LAN_HOST, Lab, OTHER_WAN_HOST, ROUTER_LAN, TcpReflector, UdpReflector, WAN_HOST,
    tcp_seen_as, wait_until,
};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

/// How long something may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);
/// How long a connection may take that is not to be expected.
const SHORT: Duration = Duration::from_secs(2);
const INSIDE: &str = "192.168.77.2:5600";
const FRIEND: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7001);
const SAME_HOST: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7002);
const STRANGER: SocketAddrV4 = SocketAddrV4::new(OTHER_WAN_HOST, 7001);
const SECOND: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 3);
const NEW: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 2);

const SUCCESS: u8 = 0;
const NOT_AUTHORIZED: u8 = 2;
const UNSUPP_OPCODE: u8 = 4;
const NO_RESOURCES: u8 = 8;
const USER_EX_QUOTA: u8 = 10;
const CANNOT_PROVIDE_EXTERNAL: u8 = 11;

const STRICT: &str = "[nat]\nfiltering-udp = \"address-and-port-dependent\"\n\
                      filtering-tcp = \"address-and-port-dependent\"\n";

/// A configuration, as the argument of `--config`.
fn configured(lab: &Lab, config: &str) -> Result<String> {
    let file = lab.directory().join("config.toml");
    std::fs::write(&file, config)?;
    Ok(file.to_string_lossy().into_owned())
}

fn start<'lab>(lab: &'lab Lab, config: &str) -> Result<Daemon<'lab>> {
    Daemon::builder(lab).argument("--config").argument(&configured(lab, config)?).start()
}

fn client(lab: &Lab) -> Result<Client<'_>> {
    Client::new(&lab.lan, LAN_HOST, ROUTER_LAN)
}

const fn external(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(EXTERNAL, port)
}

fn peer(lifetime: u32) -> Peer {
    Peer::udp(LAN_HOST, 5600, FRIEND, lifetime)
}

fn granted(answer: &Answer) -> (u8, u32, SocketAddrV4) {
    (answer.result(), answer.lifetime(), answer.external())
}

/// Whether the LAN host answers what `from` sends to its port.
fn answered(lab: &Lab, from: SocketAddrV4, to: SocketAddrV4) -> Result<bool> {
    let socket = lab.wan.udp(&from.to_string())?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    socket.send_to(b"hello", to)?;
    Ok(socket.recv(&mut [0; 100]).is_ok())
}

fn expires_in(session: &Value) -> u64 {
    session["expires_in"].as_u64().unwrap_or_default()
}

#[test]
fn a_silent_client_is_reached_by_its_peer_and_by_nobody_else() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = start(&lab, STRICT)?;
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    let client = client(&lab)?;
    let answer = client.ask(&peer(3_600).frame())?;
    assert_eq!(granted(&answer), (SUCCESS, 3_600, external(5600)));
    assert_eq!(answer.remote(), FRIEND);
    let again = client.ask(&peer(3_600).frame())?;
    assert_eq!(granted(&again), (SUCCESS, 3_600, external(5600)));
    let sessions = daemon.sessions()?;
    ensure!(sessions.len() == 1 && expires_in(&sessions[0]) > 3_500, "{sessions:?}");
    ensure!(daemon.mappings()?.is_empty(), "it is no port mapping");

    // The LAN host has not sent anything.
    let dropped = daemon.counter("drop_filtered")?;
    for stranger in [SAME_HOST, STRANGER] {
        ensure!(!answered(&lab, stranger, external(5600))?, "{stranger} was let in");
    }
    assert_eq!(daemon.counter("drop_filtered")?, dropped + 2);
    ensure!(answered(&lab, FRIEND, external(5600))?);
    // By its answer it has become no shorter.
    ensure!(expires_in(&daemon.sessions()?[0]) > 3_500);

    // Another nonce does not end it, its own one does: the traffic has its idle time then.
    let foreign = Peer { nonce: [9; 12], ..peer(0) };
    assert_eq!(client.ask(&foreign.frame())?.result(), NOT_AUTHORIZED);
    assert_eq!(client.ask(&peer(0).frame())?.result(), SUCCESS);
    let left = expires_in(&daemon.sessions()?[0]);
    ensure!((200..=400).contains(&left), "{left}");
    // One that no packet has used is over at once.
    let other = Peer::udp(LAN_HOST, 5600, STRANGER, 600);
    assert_eq!(granted(&client.ask(&other.frame())?), (SUCCESS, 600, external(5600)));
    let end = Peer::udp(LAN_HOST, 5600, STRANGER, 0);
    assert_eq!(client.ask(&end.frame())?.result(), SUCCESS);
    ensure!(!answered(&lab, STRANGER, external(5600))?);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_connection_keeps_its_port_and_can_be_called_by_its_peer() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = start(&lab, STRICT)?;
    let _server = TcpReflector::start(&lab.lan, INSIDE)?;
    let client = client(&lab)?;
    let request = Peer { protocol: TCP, ..Peer::udp(LAN_HOST, 5600, FRIEND, 30_000) };
    assert_eq!(granted(&client.ask(&request.frame())?), (SUCCESS, 30_000, external(5600)));
    let connect = |from: SocketAddrV4| lab.wan.tcp_connect_from(from, external(5600), SHORT);
    ensure!(connect(STRANGER)?.is_err(), "a stranger was let in");
    let mut stream = connect(FRIEND)??;
    assert_eq!(tcp_seen_as(&mut stream)?, FRIEND);
    // The connection's own deadline is nearer; the next sweep states what was agreed upon again.
    wait_until("the session to be held again", Duration::from_secs(90), || {
        let sessions = daemon.sessions()?;
        Ok(sessions.iter().any(|session| expires_in(session) > 29_000))
    })?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_second_client_gets_another_port_and_no_port_that_is_held() -> Result<()> {
    let lab = Lab::home()?;
    lab.lan.ip(&["address", "add", &format!("{SECOND}/24"), "dev", "eth0"])?;
    let daemon = Daemon::start(&lab)?;
    let first = client(&lab)?;
    let second = Client::new(&lab.lan, SECOND, ROUTER_LAN)?;
    let wish = Peer { external: 6000, ..peer(600) };
    assert_eq!(granted(&first.ask(&wish.frame())?), (SUCCESS, 600, external(6000)));
    let same = Peer { external: 6000, ..Peer::udp(SECOND, 5600, FRIEND, 600) };
    assert_eq!(second.ask(&same.frame())?.result(), CANNOT_PROVIDE_EXTERNAL);
    let own = second.ask(&Peer::udp(SECOND, 6000, FRIEND, 600).frame())?;
    assert_eq!(own.result(), SUCCESS);
    ensure!(own.external().port() != 6000);
    // A mapping of the held port goes elsewhere; one of its client's own port has it.
    ensure!(second.map(6000, 6000, 600)?.external() == own.external());
    assert_eq!(first.map(5600, 0, 600)?.external(), external(6000));
    let router = Peer { external: 22, ..Peer::udp(SECOND, 5601, FRIEND, 600) };
    assert_eq!(second.ask(&router.frame())?.result(), CANNOT_PROVIDE_EXTERNAL);
    // Nobody in the LAN is reached by way of the NAT.
    let inside = Peer::udp(LAN_HOST, 5602, SocketAddrV4::new(SECOND, 53), 600);
    assert_eq!(first.ask(&inside.frame())?.result(), NOT_AUTHORIZED);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn what_was_agreed_upon_outlives_the_daemon_and_ends_on_time_without_it() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let state = lab.directory().join("state");
    let config = configured(&lab, &format!("{STRICT}[pcp]\nmin-lifetime = 1\n"))?;
    let start = || {
        let builder = Daemon::builder(&lab).pinned(&bpffs).state(&state);
        builder.argument("--config").argument(&config).start()
    };
    let first = start()?;
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    let client = client(&lab)?;
    assert_eq!(client.ask(&peer(3_600).frame())?.result(), SUCCESS);
    first.kill()?;
    ensure!(answered(&lab, FRIEND, external(5600))? && !answered(&lab, STRANGER, external(5600))?);

    let second = start()?;
    ensure!(expires_in(&second.sessions()?[0]) > 3_500);
    let foreign = Peer { nonce: [9; 12], ..peer(3_600) };
    assert_eq!(client.ask(&foreign.frame())?.result(), NOT_AUTHORIZED, "the nonce is known");
    let renewed = client.ask(&peer(3_600).frame())?;
    assert_eq!(granted(&renewed), (SUCCESS, 3_600, external(5600)));
    second.stop()?;

    let third = start()?;
    assert_eq!(client.ask(&foreign.frame())?.result(), NOT_AUTHORIZED);
    // A short one, of another port, that nobody answers: its peer is let in for as long as it lasts.
    let short = Peer::udp(LAN_HOST, 5601, FRIEND, 6);
    let socket = lab.lan.udp(&format!("{LAN_HOST}:5601"))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let begin = Instant::now();
    assert_eq!(granted(&client.ask(&short.frame())?), (SUCCESS, 6, external(5601)));
    third.kill()?;
    let knock = lab.wan.udp(&FRIEND.to_string())?;
    let mut last = Duration::ZERO;
    wait_until("the end of what was agreed upon", SOON * 2, || {
        let asked = begin.elapsed();
        knock.send_to(b"hello", external(5601))?;
        if socket.recv(&mut [0; 100]).is_ok() {
            last = asked;
        }
        Ok(begin.elapsed() > Duration::from_secs(9))
    })?;
    ensure!((4.0..=7.0).contains(&last.as_secs_f64()), "the last one came in after {last:?}");
    // Another client has the port then.
    let fourth = start()?;
    ensure!(fourth.sessions()?.iter().all(|session| session["internal"] != "192.168.77.2:5601"));
    fourth.stop()?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn a_new_external_address_ends_what_was_agreed_upon() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = start(&lab, STRICT)?;
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    let client = client(&lab)?;
    assert_eq!(client.ask(&peer(3_600).frame())?.result(), SUCCESS);
    lab.router.sysctl("net/ipv4/conf/wan0/promote_secondaries", "1")?;
    lab.router.ip(&["address", "add", &format!("{NEW}/24"), "dev", "wan0"])?;
    lab.router.ip(&["address", "del", &format!("{EXTERNAL}/24"), "dev", "wan0"])?;
    wait_until("the new address", SOON, || {
        Ok(daemon.status()?["external_address"] == NEW.to_string())
    })?;
    ensure!(daemon.sessions()?.is_empty());
    ensure!(!answered(&lab, FRIEND, SocketAddrV4::new(NEW, 5600))?);
    // A new epoch: who asks again, with whichever nonce, is somebody new.
    let again = Peer { nonce: [9; 12], ..peer(600) };
    let answer = client.ask(&again.frame())?;
    assert_eq!(granted(&answer), (SUCCESS, 600, SocketAddrV4::new(NEW, 5600)));
    ensure!(answered(&lab, FRIEND, SocketAddrV4::new(NEW, 5600))?);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn limits_hold_and_a_full_table_takes_no_more() -> Result<()> {
    let lab = Lab::home()?;
    lab.lan.ip(&["address", "add", &format!("{SECOND}/24"), "dev", "eth0"])?;
    let config = "[nat]\nmax-sessions = 1024\n[policy]\nmax-mappings-per-client = 900\n\
                  requests-per-second = 0\n";
    let daemon = start(&lab, config)?;
    let first = client(&lab)?;
    let second = Client::new(&lab.lan, SECOND, ROUTER_LAN)?;
    let ask = |client: &Client<'_>, host, port| {
        Ok::<_, anyhow::Error>(client.ask(&Peer::udp(host, port, FRIEND, 600).frame())?.result())
    };
    for port in (10_000..).take(900) {
        assert_eq!(ask(&first, LAN_HOST, port)?, SUCCESS, "{port}");
    }
    assert_eq!(ask(&first, LAN_HOST, 9_999)?, USER_EX_QUOTA);
    assert_eq!(ask(&first, LAN_HOST, 10_000)?, SUCCESS, "what it has it keeps");
    let mut held = 0;
    for port in 20_000..20_400 {
        match ask(&second, SECOND, port)? {
            SUCCESS => held += 1,
            code => {
                assert_eq!(code, NO_RESOURCES);
                break;
            }
        }
    }
    // A hash map may take a few more than it was made for.
    ensure!((100..400).contains(&held), "{held}");
    assert_eq!(ask(&first, LAN_HOST, 10_001)?, SUCCESS);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_flood_of_requests_leaves_limits_in_force_for_peer_too() -> Result<()> {
    let lab = Lab::home()?;
    lab.lan.ip(&["address", "add", &format!("{SECOND}/24"), "dev", "eth0"])?;
    let daemon = Daemon::start(&lab)?;
    let quiet = client(&lab)?;
    assert_eq!(quiet.ask(&peer(600).frame())?.result(), SUCCESS);
    let noisy = lab.lan.udp(&format!("{SECOND}:0"))?;
    let server = SocketAddrV4::new(ROUTER_LAN, nat_tests::client::pcp::PORT);
    for number in 0..50_000_u32 {
        let port = 1_024 + u16::try_from(number % 60_000)?;
        // Half of them for new sessions; the others guess at nonces.
        let mut request = Peer::udp(SECOND, port, FRIEND, 600);
        if number % 2 == 1 {
            request.internal = 1_024;
            request.nonce[..4].copy_from_slice(&number.to_be_bytes());
        }
        // The queue of the socket may be full for a moment.
        let _ = noisy.send_to(&request.frame(), server);
    }
    assert_eq!(granted(&quiet.ask(&peer(600).frame())?), (SUCCESS, 600, external(5600)));
    let sessions = daemon.sessions()?;
    let of = |host: &str| {
        let internal = sessions.iter().filter_map(|it| it["internal"].as_str());
        internal.filter(|internal| internal.starts_with(host)).count()
    };
    assert_eq!(of("192.168.77.2:"), 1);
    ensure!((1..=256).contains(&of("192.168.77.3:")), "{}", of("192.168.77.3:"));
    daemon.stop()?;
    lab.finish()
}

#[test]
fn the_command_line_holds_and_lets_go() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = start(&lab, STRICT)?;
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    let binary = nat_tests::daemon::binary()?;
    let binary = binary.to_string_lossy();
    let remote = FRIEND.to_string();
    let pcp = |words: &[&str]| -> Result<Value> {
        let fixed = ["pcp", "peer", "udp", "5600", "--remote", &remote, "--json"];
        Ok(serde_json::from_str(&lab.lan.run(&binary, &[&fixed, words].concat())?)?)
    };
    let told = pcp(&["--lifetime", "600", "--external-port", "6000"])?;
    assert_eq!((&told["external_port"], &told["lifetime"]), (&6000.into(), &600.into()));
    ensure!(answered(&lab, FRIEND, external(6000))?);
    let nonce = told["nonce"].as_str().context("no nonce")?;
    let ended = pcp(&["--lifetime", "0", "--nonce", nonce])?;
    assert_eq!(ended["lifetime"], 0);
    daemon.stop()?;

    let off = start(&lab, "[pcp]\npeer = false\n")?;
    assert_eq!(client(&lab)?.ask(&peer(600).frame())?.result(), UNSUPP_OPCODE);
    off.stop()?;
    lab.finish()
}
