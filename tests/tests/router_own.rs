//! The router's own traffic works beside the NAT although the NAT's ports are used up.

use anyhow::{Context, Result, ensure};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, LAN_HOST, Lab, Namespace, ROUTER_LAN, Receiver, TcpReflector,
    UdpReflector, WAN_HOST, tcp_seen_as, udp_seen_as, wait_until,
};
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
/// A service of the router on a port that the NAT might take.
const SERVICE: SocketAddrV4 = SocketAddrV4::new(EXTERNAL, 64_444);
const SSH: SocketAddrV4 = SocketAddrV4::new(EXTERNAL, 22);
/// What is left to the NAT above the kernel's own ports.
const NAT_PORTS: usize = 65_535 - 64_000;
/// Larger than any MTU here.
const LARGE: usize = 4_000;

/// A lab whose router keeps nearly all ports to itself.
fn narrow_lab() -> Result<Lab> {
    let lab = Lab::home()?;
    lab.router.sysctl("net/ipv4/ip_local_port_range", "1024 64000")?;
    Ok(lab)
}

/// Has the LAN host take every port that the NAT has, for UDP and TCP, until none is left.
fn use_up(lab: &Lab, daemon: &Daemon<'_>) -> Result<()> {
    lab.lan.enter(|| -> Result<()> {
        for port in 20_000..20_000 + u16::try_from(3 * NAT_PORTS)? {
            let source = SocketAddrV4::new(LAN_HOST, port);
            UdpSocket::bind(source)?.send_to(b"one more", SERVER)?;
            let opening = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            opening.set_nonblocking(true)?;
            opening.bind(&source.into())?;
            match opening.connect(&SERVER.into()) {
                Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
                other => other?,
            }
        }
        Ok(())
    })??;
    wait_until("used-up ports", ANSWER_TIMEOUT, || Ok(daemon.counter("drop_no_port")? > 0))?;
    let taken = daemon.counter("mappings_created")?;
    let most = u64::try_from(2 * NAT_PORTS)?;
    ensure!(taken > most - most / 20, "only {taken} of {most} ports are taken");
    Ok(())
}

/// Asks with `question` bytes and takes an answer of `answer` bytes, as with DNS.
fn query(from: &Namespace, server: &Namespace, at: SocketAddrV4, sizes: [usize; 2]) -> Result<()> {
    let [question, answer] = sizes;
    let socket = server.udp(&at.to_string())?;
    let _server = Receiver::start(socket, move |socket, datagram, from| {
        if datagram.len() == question {
            let _ = socket.send_to(&vec![b'a'; answer], from);
        }
    })?;
    let client = from.udp("0.0.0.0:0")?;
    client.send_to(&vec![b'q'; question], at)?;
    let mut buffer = vec![0; 2 * LARGE];
    let (length, _) = client.recv_from(&mut buffer).context("no answer")?;
    ensure!(length == answer, "{length} of {answer} bytes");
    Ok(())
}

/// A socket for DHCP on one interface.
fn dhcp(namespace: &Namespace, interface: &str, port: u16) -> Result<UdpSocket> {
    let socket = namespace.udp(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).to_string())?;
    let socket = Socket::from(socket);
    socket.set_broadcast(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    Ok(socket.into())
}

/// Sends a UDP broadcast from 0.0.0.0:68 to port 67 by a packet socket, as DHCP clients do: a socket
/// of the usual kind would take some other interface's address.
const DISCOVER: &str = r#"
import socket, struct, sys
packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
packets.bind((sys.argv[1], 0))
udp = struct.pack("!HHHH", 68, 67, 16, 0) + b"discover"
ip = struct.pack("!BBHHHBBHII", 0x45, 0, 36, 0, 0, 64, 17, 0, 0, 0xffffffff)
total = sum(struct.unpack("!10H", ip))
total = ~((total & 0xffff) + (total >> 16)) & 0xffff
ip = ip[:10] + struct.pack("!H", total) + ip[12:]
packets.send(b"\xff" * 6 + packets.getsockname()[4] + b"\x08\0" + ip + udp)
"#;

/// A broadcast from port 68 to port 67 and one back.
fn dhcp_exchange(client: (&Namespace, &str), server: (&Namespace, &str)) -> Result<()> {
    const TO_CLIENTS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
    let (asking, answering) = (dhcp(client.0, client.1, 68)?, dhcp(server.0, server.1, 67)?);
    let mut buffer = [0; 64];
    client.0.run("python3", &["-c", DISCOVER, client.1])?;
    let (length, from) = answering.recv_from(&mut buffer).context("no discover")?;
    ensure!(length == 8 && buffer.starts_with(b"discover"));
    ensure!(from.ip().is_unspecified() && from.port() == 68, "{from}");
    answering.send_to(b"offer", TO_CLIENTS)?;
    let (length, _) = asking.recv_from(&mut buffer).context("no offer")?;
    ensure!(length == 5 && buffer.starts_with(b"offer"));
    Ok(())
}

#[test]
fn queries_and_connections_of_the_router_work_when_no_port_is_left() -> Result<()> {
    let lab = narrow_lab()?;
    let daemon = Daemon::start(&lab)?;
    let _servers = (
        TcpReflector::start(&lab.wan, &SERVER.to_string())?,
        TcpReflector::start(&lab.router, &SERVICE.to_string())?,
        TcpReflector::start(&lab.router, &SSH.to_string())?,
        UdpReflector::start(&lab.router, &SERVICE.to_string())?,
        UdpReflector::start(&lab.router, &SocketAddrV4::new(ROUTER_LAN, 53).to_string())?,
    );
    let mut long = lab.router.tcp_connect(SERVER)?;
    let before = tcp_seen_as(&mut long)?;
    use_up(&lab, &daemon)?;

    assert_eq!(tcp_seen_as(&mut long)?, before, "a connection from before goes on");
    assert_eq!(*tcp_seen_as(&mut lab.router.tcp_connect(SERVER)?)?.ip(), EXTERNAL);
    let dns = SocketAddrV4::new(WAN_HOST, 53);
    for sizes in [[40, 400], [40, LARGE], [LARGE, 400]] {
        query(&lab.router, &lab.wan, dns, sizes).with_context(|| format!("{sizes:?}"))?;
    }
    for service in [SSH, SERVICE] {
        assert_eq!(*tcp_seen_as(&mut lab.wan.tcp_connect(service)?)?.ip(), WAN_HOST);
    }
    assert_eq!(*udp_seen_as(&lab.wan.udp("11.22.33.9:0")?, SERVICE)?.ip(), WAN_HOST);
    let resolver = SocketAddrV4::new(ROUTER_LAN, 53);
    assert_eq!(*udp_seen_as(&lab.lan.udp("0.0.0.0:0")?, resolver)?.ip(), LAN_HOST);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn many_connections_of_the_router_find_ports_beside_the_nats() -> Result<()> {
    let lab = narrow_lab()?;
    let daemon = Daemon::start(&lab)?;
    let _server = UdpReflector::start(&lab.wan, &SERVER.to_string())?;
    use_up(&lab, &daemon)?;
    for _ in 0..200 {
        let seen = udp_seen_as(&lab.router.udp("0.0.0.0:0")?, SERVER)?;
        ensure!((1_024..=64_000).contains(&seen.port()), "{seen}");
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn dhcp_works_on_both_sides_when_no_port_is_left() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    lab.router.sysctl("net/ipv4/ip_local_port_range", "1024 64000")?;
    let daemon = Daemon::start(&lab)?;
    use_up(&lab, &daemon)?;
    let newcomer = lab.second_lan()?;
    newcomer.ip(&["address", "flush", "dev", "eth0"])?;
    dhcp_exchange((newcomer, "eth0"), (&lab.router, "lan1")).context("LAN")?;
    // A renewal, from the address that the router has, by unicast.
    let server = SocketAddrV4::new(WAN_HOST, 67);
    let renewing =
        (lab.router.udp("11.22.33.1:68")?, UdpReflector::start(&lab.wan, "11.22.33.9:67")?);
    assert_eq!(udp_seen_as(&renewing.0, server)?, SocketAddrV4::new(EXTERNAL, 68));
    drop(renewing);
    lab.router.ip(&["address", "flush", "dev", "wan0"])?;
    dhcp_exchange((&lab.router, "wan0"), (&lab.wan, "eth0")).context("WAN")?;
    daemon.stop()?;
    lab.finish()
}
