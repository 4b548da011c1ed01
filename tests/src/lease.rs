//! Measuring when a port forward ends.

use crate::lab::{ANSWER_TIMEOUT, Lab, Namespace, WAN_HOST};
use anyhow::Result;
use std::net::{SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// How long somebody listens who should hear nothing. An answer that should come is awaited longer
/// ([`ANSWER_TIMEOUT`]): a machine may be slow.
pub const SILENT_FOR: Duration = Duration::from_millis(400);

/// Time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// Where the probes' source ports begin: below those that the kernel gives out by itself.
const FIRST_SOURCE_PORT: u16 = 20_000;

/// A port counts as closed when it has been silent for so long.
const SILENCE: Duration = Duration::from_millis(1_500);

/// When a port was last seen open, and first seen closed.
#[derive(Clone, Copy, Debug)]
pub struct Closing {
    /// The last probe that was answered was sent then.
    pub last_open: Instant,
    /// The first probe that was not answered was sent then.
    pub first_closed: Instant,
}

/// Probes a UDP port, behind which something answers, until it stays silent. Each probe has a source
/// port of its own, and is therefore a flow that no NAT has seen before.
///
/// # Errors
/// When the port is not open at the start, or still open after `patience`.
pub fn watch_udp_close(
    from: &Namespace,
    port: SocketAddrV4,
    patience: Duration,
) -> Result<Closing> {
    let started = Instant::now();
    let mut last_open = None;
    let mut first_closed = None;
    for source_port in FIRST_SOURCE_PORT.. {
        let sent = Instant::now();
        if answers(&from.udp(&format!("0.0.0.0:{source_port}"))?, port, SILENT_FOR)? {
            last_open = Some(sent);
            first_closed = None;
        } else {
            first_closed.get_or_insert(sent);
        }
        let Some(last_open) = last_open else { anyhow::bail!("{port} is not open at all") };
        if let Some(first_closed) = first_closed
            && last_open.elapsed() > SILENCE
        {
            return Ok(Closing { last_open, first_closed });
        }
        if started.elapsed() > patience {
            break;
        }
        std::thread::sleep(PROBE_INTERVAL.saturating_sub(sent.elapsed()));
    }
    anyhow::bail!("{port} is still open after {patience:?}")
}

/// Whether something answers at a UDP port, asked once from a new socket.
///
/// # Errors
/// When the socket cannot be made.
pub fn udp_answers(from: &Namespace, port: SocketAddrV4) -> Result<bool> {
    answers(&from.udp("0.0.0.0:0")?, port, ANSWER_TIMEOUT)
}

/// Whether nothing answers at a UDP port, asked once from a new socket.
///
/// # Errors
/// When the socket cannot be made.
pub fn udp_is_silent(from: &Namespace, port: SocketAddrV4) -> Result<bool> {
    Ok(!answers(&from.udp("0.0.0.0:0")?, port, SILENT_FOR)?)
}

/// Whether a datagram to `port` is answered within `patience`.
///
/// # Errors
/// When it cannot be sent.
pub fn answers(socket: &UdpSocket, port: SocketAddrV4, patience: Duration) -> Result<bool> {
    socket.set_read_timeout(Some(patience))?;
    socket.send_to(b"probe", port)?;
    Ok(socket.recv(&mut [0; 64]).is_ok())
}

/// Whether packets of a LAN client come back within `patience` from the WAN host, where something
/// answers at port 9999.
///
/// # Errors
/// When they cannot be sent.
pub fn crosses(lab: &Lab, patience: Duration) -> Result<bool> {
    answers(&lab.lan.udp("192.168.77.2:0")?, SocketAddrV4::new(WAN_HOST, 9999), patience)
}

/// Whether a TCP connection to `port` can be opened.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn tcp_opens(from: &Namespace, port: SocketAddrV4) -> Result<bool> {
    connects(from, port, ANSWER_TIMEOUT)
}

/// Whether no TCP connection to `port` can be opened.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn tcp_is_shut(from: &Namespace, port: SocketAddrV4) -> Result<bool> {
    Ok(!connects(from, port, SILENT_FOR)?)
}

fn connects(from: &Namespace, port: SocketAddrV4, patience: Duration) -> Result<bool> {
    let any = SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0);
    Ok(from.tcp_connect_from(any, port, patience)?.is_ok())
}
