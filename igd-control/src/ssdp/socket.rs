//! The socket of one LAN interface.

use crate::wire::ssdp::GROUP;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
};
use tokio::net::UdpSocket;

/// Routers that an announcement may cross (UPnP Device Architecture 1.1, 1.1).
const TTL: u32 = 2;

/// A socket that hears and speaks on `interface` only; what it says to the group comes from `source`.
pub(super) fn bind(interface: &str, source: Ipv4Addr) -> io::Result<UdpSocket> {
    let index = if_nametoindex(interface)?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_multicast_all_v4(false)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, GROUP.port()).into())?;
    socket.join_multicast_v4_n(GROUP.ip(), &InterfaceIndexOrAddress::Index(index))?;
    socket.set_multicast_if_v4(&source)?;
    socket.set_multicast_ttl_v4(TTL)?;
    socket.set_multicast_loop_v4(false)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}
