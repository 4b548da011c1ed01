//! Who may send to a mapped port, with real sockets.

use anyhow::{Context, Result};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    EXTERNAL, LAN_HOST, Lab, OTHER_WAN_HOST, TcpReflector, UdpReflector, WAN_HOST, tcp_seen_as,
    udp_seen_as, wait_until,
};
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddrV4, TcpListener, UdpSocket};
use std::time::Duration;

const PORT: u16 = 5700;
const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
const SAME_HOST: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7001);
const STRANGER: SocketAddrV4 = SocketAddrV4::new(OTHER_WAN_HOST, 7000);

/// How long a connection may take that is not to be expected.
const REFUSAL: Duration = Duration::from_millis(700);

/// A configuration with this filtering, as the argument of `--config`.
fn configured(lab: &Lab, filtering: &str) -> Result<String> {
    let file = lab.directory().join(format!("{filtering}.toml"));
    let of = |protocol| format!("filtering-{protocol} = \"{filtering}\"\n");
    std::fs::write(&file, format!("[nat]\n{}{}{}", of("udp"), of("tcp"), of("icmp")))?;
    Ok(file.to_string_lossy().into_owned())
}

fn start<'lab>(lab: &'lab Lab, filtering: &str) -> Result<Daemon<'lab>> {
    let config = configured(lab, filtering)?;
    Daemon::builder(lab).argument("--config").argument(&config).start()
}

/// Whether what `from` sends to `seen` arrives at `socket`, rather than being filtered.
fn arrives(
    daemon: &Daemon<'_>,
    from: &UdpSocket,
    seen: SocketAddrV4,
    socket: &UdpSocket,
) -> Result<bool> {
    let filtered = daemon.counter("drop_filtered")?;
    from.send_to(b"hello", seen)?;
    socket.set_nonblocking(true)?;
    let mut arrived = false;
    wait_until("the packet to arrive or to be counted", Duration::from_secs(5), || {
        arrived = socket.recv_from(&mut [0; 64]).is_ok();
        Ok(arrived || daemon.counter("drop_filtered")? > filtered)
    })?;
    socket.set_nonblocking(false)?;
    Ok(arrived)
}

/// A port of the LAN host on which it listens, and from which it connects.
fn listen(lab: &Lab) -> Result<TcpListener> {
    lab.lan.enter(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddrV4::new(LAN_HOST, PORT).into())?;
        socket.listen(8)?;
        Ok(TcpListener::from(socket))
    })?
}

/// Filters UDP, TCP and pings: whether another port of a host that was sent to gets through, and
/// whether a host does that was not.
fn filters(filtering: &str, same_host: bool, stranger: bool) -> Result<()> {
    let lab = Lab::home()?;
    let daemon = start(&lab, filtering)?;
    let _servers = (
        UdpReflector::start(&lab.wan, &SERVER.to_string())?,
        TcpReflector::start(&lab.wan, &SERVER.to_string())?,
    );

    let socket = lab.lan.udp(&format!("{LAN_HOST}:{PORT}"))?;
    let seen = udp_seen_as(&socket, SERVER)?;
    for (from, expected) in [(SAME_HOST, same_host), (STRANGER, stranger)] {
        let from_socket = lab.wan.udp(&from.to_string())?;
        let found = arrives(&daemon, &from_socket, seen, &socket)?;
        assert_eq!(found, expected, "UDP from {from}, {filtering}");
    }
    let stranger_socket = lab.wan.udp(&SocketAddrV4::new(OTHER_WAN_HOST, 7002).to_string())?;
    socket.send_to(b"hello", stranger_socket.local_addr()?)?;
    stranger_socket.recv_from(&mut [0; 64])?;
    assert!(arrives(&daemon, &stranger_socket, seen, &socket)?, "an answer, {filtering}");

    // The connection first: its port cannot be listened on otherwise.
    let local = SocketAddrV4::new(LAN_HOST, PORT);
    let mut stream = lab.lan.tcp_connect_from(local, SERVER, Duration::from_secs(5))??;
    let seen = tcp_seen_as(&mut stream)?;
    let _listener = listen(&lab)?;
    for (from, expected) in [(SAME_HOST, same_host), (STRANGER, stranger)] {
        let found = lab.wan.tcp_connect_from(from, seen, REFUSAL)?.is_ok();
        assert_eq!(found, expected, "TCP from {from}, {filtering}");
    }
    assert_eq!(tcp_seen_as(&mut stream)?, seen, "the connection goes on");
    lab.lan.run("ping", &["-n", "-c", "2", "-i", "0.2", "-W", "3", &WAN_HOST.to_string()])?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn endpoint_independent_filtering_lets_in_everybody() -> Result<()> {
    filters("endpoint-independent", true, true)
}

#[test]
fn address_dependent_filtering_lets_in_the_hosts_that_were_sent_to() -> Result<()> {
    filters("address-dependent", true, false)
}

#[test]
fn address_and_port_dependent_filtering_lets_in_only_whom_was_sent_to() -> Result<()> {
    filters("address-and-port-dependent", false, false)
}

/// Two peers behind one gateway that know each other by their external endpoints.
#[test]
fn two_clients_behind_strict_filtering_meet() -> Result<()> {
    for filtering in ["address-dependent", "address-and-port-dependent"] {
        let lab = Lab::builder().second_lan().build()?;
        let daemon = start(&lab, filtering)?;
        let _server = UdpReflector::start(&lab.wan, &SERVER.to_string())?;
        let first = lab.lan.udp("0.0.0.0:0")?;
        let second = lab.second_lan()?.udp("0.0.0.0:0")?;
        let (first_seen, second_seen) =
            (udp_seen_as(&first, SERVER)?, udp_seen_as(&second, SERVER)?);
        assert!(!arrives(&daemon, &first, second_seen, &second)?, "{filtering}");
        assert!(arrives(&daemon, &second, first_seen, &first)?, "{filtering}");
        first.send_to(b"hello", second_seen)?;
        let (_, caller) = second.recv_from(&mut [0; 64])?;
        assert_eq!(caller, first_seen.into(), "{filtering}");
        assert_eq!(*first_seen.ip(), EXTERNAL);
        daemon.stop()?;
        lab.finish()?;
    }
    Ok(())
}

#[test]
fn pinned_tables_without_contacts_are_refused_for_strict_filtering() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    Daemon::builder(&lab).pinned(&bpffs).start()?.stop()?;
    let config = configured(&lab, "address-dependent")?;
    let strict = || Daemon::builder(&lab).argument("--config").argument(&config).pinned(&bpffs);
    let refused = strict().start().err().context("the daemon has started")?;
    assert!(format!("{refused:#}").contains("igd-control unload"), "{refused:#}");

    let directory = bpffs.path().join("igd-control").to_string_lossy().into_owned();
    let program = nat_tests::daemon::binary()?.to_string_lossy().into_owned();
    lab.router.run(&program, &["unload", "--pin-dir", &directory])?;
    strict().start()?.stop()?;
    drop(bpffs);
    lab.finish()
}
