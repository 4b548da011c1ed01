//! The sockets of one LAN interface.

use crate::{lan::LanAddress, wire::ssdp::Scope};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
};
use tokio::net::UdpSocket;

/// Routers that an announcement may cross (UPnP Device Architecture 1.1, 1.1).
const HOPS: u32 = 2;

/// A socket that hears what is said to the group of `scope` on the interface of `address`, and nothing
/// else.
pub(super) fn hearing(address: &LanAddress, scope: Scope) -> io::Result<UdpSocket> {
    let group = scope.group();
    let socket = open(address, scope)?;
    match group {
        SocketAddr::V4(group) => {
            socket.set_multicast_all_v4(false)?;
            socket.bind(&group.into())?;
            let interface = InterfaceIndexOrAddress::Index(address.index);
            socket.join_multicast_v4_n(group.ip(), &interface)?;
        }
        SocketAddr::V6(group) => {
            socket.bind(&SocketAddrV6::new(*group.ip(), group.port(), 0, address.index).into())?;
            socket.join_multicast_v6(group.ip(), address.index)?;
        }
    }
    finish(socket)
}

/// A socket that speaks from `address`, to the group too, and hears what is said to it alone.
pub(super) fn speaking(address: &LanAddress, scope: Scope) -> io::Result<UdpSocket> {
    let socket = open(address, scope)?;
    socket.bind(&address.at(scope.group().port()).into())?;
    match address.ip() {
        IpAddr::V4(own) => {
            socket.set_multicast_if_v4(&own)?;
            socket.set_multicast_ttl_v4(HOPS)?;
            socket.set_multicast_loop_v4(false)?;
        }
        IpAddr::V6(_) => {
            socket.set_multicast_if_v6(address.index)?;
            socket.set_multicast_hops_v6(HOPS)?;
            socket.set_multicast_loop_v6(false)?;
        }
    }
    finish(socket)
}

fn open(address: &LanAddress, scope: Scope) -> io::Result<Socket> {
    let domain = if scope.group().is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.bind_device(Some(address.interface.as_bytes()))?;
    Ok(socket)
}

fn finish(socket: Socket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}
