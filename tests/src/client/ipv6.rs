//! Reaching the gateway by IPv6.

use super::http::{self, Response};
use crate::lab::{ANSWER_TIMEOUT, Namespace};
use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};

/// An address as the host's `eth0` reaches it.
///
/// # Errors
/// When there is no `eth0`.
pub fn through_eth0(from: &Namespace, address: Ipv6Addr, port: u16) -> Result<SocketAddrV6> {
    let index = from.enter(|| nix::net::if_::if_nametoindex("eth0"))??;
    Ok(SocketAddrV6::new(address, port, 0, index))
}

/// The first address of `eth0` that `wanted` takes.
///
/// # Errors
/// When there is none.
pub fn address_of(of: &Namespace, interface: &str, scope: &str) -> Result<Ipv6Addr> {
    let listed = of.ip(&["-6", "-o", "address", "show", "dev", interface, "scope", scope])?;
    let mut words = listed.split_whitespace().skip_while(|word| *word != "inet6").skip(1);
    let address = words.next().with_context(|| format!("no address: {listed}"))?;
    Ok(address.split('/').next().unwrap_or_default().parse()?)
}

/// A UDP socket whose multicasts leave by `eth0`.
///
/// # Errors
/// When it cannot be had.
pub fn udp(from: &Namespace) -> Result<UdpSocket> {
    let socket = from.udp("[::]:0")?;
    let index = through_eth0(from, Ipv6Addr::UNSPECIFIED, 0)?.scope_id();
    socket2::SockRef::from(&socket).set_multicast_if_v6(index)?;
    Ok(socket)
}

/// Sends `request` as it is, and reads the answer.
///
/// # Errors
/// When the connection fails or the answer is no HTTP.
pub fn exchange(from: &Namespace, server: SocketAddrV6, request: &str) -> Result<Response> {
    let connect = || TcpStream::connect_timeout(&SocketAddr::V6(server), ANSWER_TIMEOUT);
    let mut stream = from.enter(connect)?.with_context(|| format!("cannot connect to {server}"))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    let response = http::read_response(&mut stream)?;
    ensure!(response.status != 0, "closed without an answer");
    Ok(response)
}
