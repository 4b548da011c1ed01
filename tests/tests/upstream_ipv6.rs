//! A PCP server upstream that is asked by IPv6: MiniUPnP's daemon, which speaks PCP by both, as DS-Lite's AFTR
//! and as a carrier's NAT before ours.

use anyhow::{Context, Result, ensure};
use nat_tests::beneath::{INSIDE, NOTICED, SOON, beyond, opened_by_upnpc, says, served, start};
use nat_tests::client::pcp::Client;
use nat_tests::client::soap::{MAPPING, Mapping};
use nat_tests::client::{Gateway, independent};
use nat_tests::daemon::binary;
use nat_tests::lab::{
    BENEATH, CARRIER_6, CARRIER_LINK, Carrier, Feature, LAN_HOST, Lab, OTHER_CARRIER_6,
    OTHER_FAR_SIDE, ROUTER_6, ROUTER_LAN, Receiver, TcpReflector, UdpReflector, WAN_FAR_SIDE,
    wait_until,
};
use nat_tests::lease::{tcp_opens, udp_answers};
use serde_json::Value;
use std::fs;
use std::net::{Ipv6Addr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Looks for a server whose address has changed are so far apart, and one that does not answer is given up
/// after ten seconds.
const FOLLOWED: Duration = Duration::from_secs(60);

fn runs() -> bool {
    independent::Client::Miniupnpd.lets_run()
}

/// Two NATs, and IPv6 between them.
fn beneath() -> Result<Lab> {
    Lab::builder().ipv6().beneath_carrier().build()
}

fn upstream(server: &str) -> String {
    format!("[upstream]\nserver = \"{server}\"\n")
}

#[test]
fn dual_stack_lite_maps_at_the_aftr_for_the_hosts_own_addresses() -> Result<()> {
    if !runs() || !Feature::Softwire.lets_run()? {
        return Ok(());
    }
    let lab = Lab::builder().dual_stack_lite().build()?;
    let configuration = upstream(&CARRIER_6.to_string()) + "[nat]\nenabled = false\n";
    let (carrier, daemon) = served(&lab, &configuration)?;
    let _servers = (UdpReflector::start(&lab.lan, INSIDE)?, TcpReflector::start(&lab.lan, INSIDE)?);
    let upnpc = opened_by_upnpc(&lab, &carrier, &daemon)?;
    carrier.wait_for(&format!("request received from [{ROUTER_6}]"))?;
    let far = lab.far()?;
    let status = daemon.status()?;
    assert_eq!(status["external_address"], WAN_FAR_SIDE.to_string());
    says(&daemon, &format!("[{CARRIER_6}]:5351: 2 of 2 mappings in force"))?;
    upnpc.run(&["-d", "6000", "TCP"])?;
    wait_until("the end of the mapping", SOON, || Ok(!tcp_opens(far, beyond(6000))?))?;
    let client = Client::new(&lab.lan, LAN_HOST, ROUTER_LAN)?;
    let answer = client.map(5601, 6001, 3600)?;
    assert_eq!((answer.result(), answer.external()), (0, beyond(6001)));
    daemon.stop()?;
    lab.finish()
}

#[test]
fn with_a_nat_here_too_the_server_is_told_our_own_address_of_ipv4() -> Result<()> {
    if !runs() {
        return Ok(());
    }
    let lab = beneath()?;
    let (mut carrier, daemon) = served(&lab, &upstream(&CARRIER_LINK.to_string()))?;
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&Mapping { lease: "604800", ..MAPPING })?.success()?;
    carrier.wait_for(&format!("6000->{BENEATH}:6000"))?;
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    let far = lab.far()?;
    ensure!(udp_answers(far, beyond(6000))?, "through both NATs");
    says(&daemon, &format!("[{CARRIER_LINK}]:5351: 1 of 1 mappings in force"))?;

    carrier.forget()?;
    carrier.serve(OTHER_FAR_SIDE)?;
    let moved = SocketAddrV4::new(OTHER_FAR_SIDE, 6000);
    wait_until("the mapping made again", NOTICED, || udp_answers(far, moved))?;
    ensure!(daemon.log().contains("has lost its mappings"), "{}", daemon.log());
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_server_is_followed_and_one_that_does_not_answer_is_left_for_the_next() -> Result<()> {
    if !runs() {
        return Ok(());
    }
    let lab = beneath()?;
    let mut carrier = Carrier::start(&lab)?;
    carrier.serve(WAN_FAR_SIDE)?;
    let file = lab.directory().join("pcp-servers");
    // Nobody has the first one.
    fs::write(&file, format!("OPTION_86=\"fd00:77::dead {CARRIER_6}\"\n"))?;
    let daemon = start(&lab, &format!("[upstream]\nserver-file = \"{}\"\n", file.display()))?;
    let at = |address: Ipv6Addr, count| {
        format!("[{address}]:5351: {count} of {count} mappings in force")
    };
    daemon.wait_for_upstream(FOLLOWED, &at(CARRIER_6, 0))?;
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    ensure!(udp_answers(lab.far()?, beyond(6000))?);
    fs::write(&file, format!("OPTION_86=\"{OTHER_CARRIER_6}\"\n"))?;
    daemon.wait_for_upstream(FOLLOWED, &at(OTHER_CARRIER_6, 1))?;
    ensure!(udp_answers(lab.far()?, beyond(6000))?);
    daemon.stop()?;
    lab.finish()
}

/// A server at [`CARRIER_6`] that grants everything, counts, and says that its epoch is what it is told.
struct Server {
    socket: UdpSocket,
    epoch: Arc<AtomicU32>,
    asked: Arc<AtomicUsize>,
    /// The option with which the last request has begun.
    option: Arc<Mutex<Vec<u8>>>,
    _receiver: Receiver,
}

impl Server {
    fn start(lab: &Lab, epoch: u32) -> Result<Self> {
        let socket = lab.wan.udp(&format!("[{CARRIER_6}]:5351"))?;
        let (epoch, asked) = (Arc::new(AtomicU32::new(epoch)), Arc::new(AtomicUsize::new(0)));
        let (told, count) = (Arc::clone(&epoch), Arc::clone(&asked));
        let option = Arc::new(Mutex::new(Vec::new()));
        let first = Arc::clone(&option);
        let receiver = Receiver::start(socket.try_clone()?, move |socket, datagram, from| {
            // What stands before the external port, and behind the external address.
            let parts = (datagram.get(4..8), datagram.get(24..42), datagram.get(60..));
            let (Some(lifetime), Some(asked), Some(options)) = parts else { return };
            let port = 6000_u16.to_be_bytes();
            let address = WAN_FAR_SIDE.to_ipv6_mapped().octets();
            let head = head(1, lifetime, &told);
            let answer = [&head, asked, &port, &address, options].concat();
            *first.lock().unwrap_or_else(PoisonError::into_inner) = options.to_vec();
            count.fetch_add(1, Ordering::Relaxed);
            // A client that has gone away is no matter of the server.
            let _ = socket.send_to(&answer, from);
        })?;
        Ok(Self { socket, epoch, asked, option, _receiver: receiver })
    }

    /// Tells that it has lost its state.
    fn announce(&self, epoch: u32, to: SocketAddrV6) -> Result<()> {
        self.epoch.store(epoch, Ordering::Relaxed);
        self.socket.send_to(&head(0, &[0; 4], &self.epoch), to)?;
        Ok(())
    }
}

/// The header of a response that grants.
fn head(opcode: u8, lifetime: &[u8], epoch: &AtomicU32) -> Vec<u8> {
    let epoch = epoch.load(Ordering::Relaxed).to_be_bytes();
    [&[2, 128 | opcode, 0, 0], lifetime, &epoch, &[0; 12]].concat()
}

#[test]
fn announcements_are_heard_by_ipv6() -> Result<()> {
    let lab = beneath()?;
    let server = Server::start(&lab, 100_000)?;
    let daemon = start(&lab, &upstream(&CARRIER_6.to_string()))?;
    says(&daemon, "0 of 0 mappings in force")?;
    let links: Value = serde_json::from_str(&lab.wan.ip(&["-j", "link", "show", "eth0"])?)?;
    let link = u32::try_from(links[0]["ifindex"].as_u64().context("no index")?)?;
    let everybody = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    for (to, scope, epoch) in [(everybody, link, 500), (ROUTER_6, 0, 50)] {
        let before = server.asked.load(Ordering::Relaxed);
        server.announce(epoch, SocketAddrV6::new(to, 5350, 0, scope))?;
        let asked = || Ok(server.asked.load(Ordering::Relaxed) > before);
        wait_until("the mapping asked for again", SOON, asked)?;
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn the_server_of_a_nat64_is_asked_for_what_it_sees_of_us() -> Result<()> {
    let lab = beneath()?;
    let server = Server::start(&lab, 100_000)?;
    let prefix = "clat-prefix = \"2001:db8:64::/96\"\n";
    let daemon = start(&lab, &(upstream(&CARRIER_6.to_string()) + prefix))?;
    says(&daemon, "0 of 0 mappings in force")?;
    let internal = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, 0, 0).to_bits();
    let internal = internal | u128::from(BENEATH.to_bits());
    // THIRD_PARTY, of 16 bytes.
    let expected = [&[1, 0, 0, 16][..], &internal.to_be_bytes()].concat();
    assert_eq!(*server.option.lock().unwrap_or_else(PoisonError::into_inner), expected);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn the_command_line_asks_servers_of_ipv6() -> Result<()> {
    if !runs() {
        return Ok(());
    }
    let lab = beneath()?;
    let mut carrier = Carrier::start(&lab)?;
    carrier.serve(WAN_FAR_SIDE)?;
    let binary = binary()?;
    let binary = binary.to_string_lossy();
    let pcp = |words: &[&str]| -> Result<Value> {
        let all = [&["pcp"], words, &["--json"]].concat();
        Ok(serde_json::from_str(&lab.router.run(&binary, &all)?)?)
    };
    let (link, host) = (format!("{CARRIER_LINK}%wan0"), LAN_HOST.to_string());
    let site = format!("[{CARRIER_6}]:5351");
    for (server, port) in [(&link, "6000"), (&site, "6001")] {
        let of = ["udp", port, "--third-party", &host, "--server", server];
        let told = pcp(&[["map"].as_slice(), &of, &["--external-port", port]].concat())?;
        assert_eq!(told["external_address"], WAN_FAR_SIDE.to_string(), "{told}");
        assert_eq!(told["external_port"].to_string(), port);
        let nonce = told["nonce"].as_str().context("no nonce")?;
        let ended = pcp(&[["unmap"].as_slice(), &of, &["--nonce", nonce]].concat())?;
        assert_eq!(ended["lifetime"], 0);
    }
    ensure!(pcp(&["announce", "--server", &link])?["epoch"].is_u64());
    lab.finish()
}
