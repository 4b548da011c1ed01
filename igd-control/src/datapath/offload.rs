//! A driver's offloads, asked by the ethtool ioctl.

use std::ffi::c_char;
use std::io;
use std::os::fd::AsRawFd as _;

const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_TXVLAN: u32 = 1 << 7;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
const ETH_FLAG_LRO: u32 = 1 << 15;

/// `struct ethtool_value`
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Offloads that matter to XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Large receive offload: received packets are merged before XDP could see them.
    pub lro: bool,
    /// The driver finishes the checksums of what is sent.
    pub tx_checksum: bool,
    /// VLAN tags are taken out of received frames before XDP sees them.
    pub rx_vlan: bool,
    /// VLAN tags are handed to the driver beside the frames that are sent.
    pub tx_vlan: bool,
}

/// The offloads of an interface.
///
/// # Errors
/// When there is no such interface, or its driver answers no such questions.
pub fn offloads(interface: &str) -> io::Result<Offloads> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    let flags = ask(&socket, interface, ETHTOOL_GFLAGS)?;
    Ok(Offloads {
        lro: flags & ETH_FLAG_LRO != 0,
        rx_vlan: flags & ETH_FLAG_RXVLAN != 0,
        tx_vlan: flags & ETH_FLAG_TXVLAN != 0,
        tx_checksum: ask(&socket, interface, ETHTOOL_GTXCSUM)? != 0,
    })
}

fn ask(socket: &socket2::Socket, interface: &str, command: u32) -> io::Result<u32> {
    let mut value = EthtoolValue { command, data: 0 };
    let mut name = [0; libc::IFNAMSIZ];
    // The last byte stays 0.
    if interface.len() >= name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in name.iter_mut().zip(interface.bytes()) {
        *to = from as c_char;
    }
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut value).cast() },
    };
    // SAFETY: the request and the value that it points to outlive the call, and for these commands
    // the kernel reads and writes no more than one `struct ethtool_value` there.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value.data) }
}
