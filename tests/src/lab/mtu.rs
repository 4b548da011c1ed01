//! Whether packets may be fragmented on their way.

use anyhow::Result;
use nix::setsockopt_impl;
use nix::sys::socket::{setsockopt, sockopt::SetStruct};
use std::net::UdpSocket;

/// Whether the kernel sets "don't fragment".
#[derive(Clone)]
struct MtuDiscover;
setsockopt_impl!(MtuDiscover, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, i32, SetStruct<'_, i32>);

/// Says whether packets of `socket` may be fragmented, by the sender or on their way. Those that may not
/// are sent in whatever size, and nothing is learnt of a path before.
///
/// # Errors
/// When the kernel refuses.
pub fn may_be_fragmented(socket: &UdpSocket, may: bool) -> Result<()> {
    let mode = if may { libc::IP_PMTUDISC_DONT } else { libc::IP_PMTUDISC_PROBE };
    Ok(setsockopt(socket, MtuDiscover, &mode)?)
}
