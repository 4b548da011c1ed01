//! From the request of a mapping to the first packet that it lets in.
//!
//! The WAN host sends packets as fast as it can, each with the time in it, and from a port of its own, since
//! the kernel's connection tracking holds on to what became of a flow before. The kernel notes when the first
//! one comes to the LAN host's socket, and when the answer comes to the client's. On a busy machine the WAN
//! host may have to pause just then; then nothing is known, and another mapping is tried.

use super::gateway::Gateway;
use super::http::{connect, parse};
use super::load::accepted;
use anyhow::{Context as _, Result, bail};
use nat_tests::lab::{EXTERNAL, LAN_HOST};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use std::io::{IoSliceMut, Write as _};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the first packet may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One mapping. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Opening {
    /// From the request to the first packet that came.
    pub(crate) packet: f64,
    /// From that packet to the answer; less than nothing when the answer came before.
    pub(crate) lead: f64,
}

/// When things were, microseconds by the clock of the kernel's notes.
#[derive(Clone, Copy, Debug)]
struct Times {
    begun: f64,
    answered: f64,
    /// The first packet that came.
    came: f64,
    /// When the last one left that did not come; before that one.
    lost: f64,
}

impl Times {
    /// What they tell. Nothing, if no packet left between the answer and the last one before it that was let
    /// in no more.
    fn opening(&self) -> Option<Opening> {
        let opening = Opening { packet: self.came - self.begun, lead: self.answered - self.came };
        (opening.lead > 0.0 || self.lost > self.answered).then_some(opening)
    }
}

/// Opens the UDP port `port`, which nothing has yet.
pub(crate) fn open(gateway: &Gateway<'_>, port: u16) -> Result<Option<Opening>> {
    let lab = gateway.lab;
    let socket = lab.lan.udp(&format!("{LAN_HOST}:{port}"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    let request = gateway.service.add_as(LAN_HOST, "UDP", port, false);
    let stop = AtomicBool::new(false);
    let times = std::thread::scope(|scope| {
        let sender = scope.spawn(|| lab.wan.enter(|| flood(port, &stop)));
        let exchanged = lab.lan.enter(|| -> Result<_> {
            let begun = now();
            let mut stream = connect(gateway.service.server)?;
            setsockopt(&stream, sockopt::ReceiveTimestampns, &true)?;
            stream.write_all(&request)?;
            let mut bytes = Vec::new();
            let (mut length, answered) = receive(&stream, &mut bytes)?;
            while length > 0 {
                length = receive(&stream, &mut bytes)?.0;
            }
            let (answer, _) = parse(&bytes, true)?.context("no answer")?;
            accepted(&answer)?;
            let mut first = Vec::new();
            let (_, came) = receive(&socket, &mut first).context("no packet came")?;
            Ok((begun, answered, came, first))
        });
        stop.store(true, Ordering::Relaxed);
        let Ok(sent) = sender.join() else { bail!("the sender panicked") };
        let sent = sent??;
        let (begun, answered, came, first) = exchanged??;
        let first = f64::from_le_bytes(first.as_slice().try_into().context("another packet")?);
        // The kernel takes a while to note times, after it was asked for the first.
        let (Some(answered), Some(came)) = (answered, came) else { return Ok(None) };
        let before = sent.iter().copied().filter(|sent| *sent < first);
        anyhow::Ok(Some(Times { begun, answered, came, lost: before.fold(0.0, f64::max) }))
    })?;
    Ok(times.and_then(|times| times.opening()))
}

/// Sends until it is told to stop; tells when.
fn flood(port: u16, stop: &AtomicBool) -> Result<Vec<f64>> {
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let time = now();
        socket.send_to(&time.to_le_bytes(), (EXTERNAL, port))?;
        sent.push(time);
    }
    Ok(sent)
}

/// Receives, and tells when the kernel had it; at the end of a stream it has nothing and no time.
fn receive(from: &impl AsFd, bytes: &mut Vec<u8>) -> Result<(usize, Option<f64>)> {
    let mut buffer = [0; 4_096];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<SockaddrStorage>(
        from.as_fd().as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let mut time = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmTimestampns(stamp) = control {
            time = Some(Duration::from(stamp).as_secs_f64() * 1e6);
        }
    }
    let length = message.bytes;
    bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
    Ok((length, time))
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { begun: 100.0, answered: 900.0, came: 600.0, lost: 590.0 };

    #[test]
    fn a_packet_before_the_answer_is_one() {
        assert_eq!(TIMES.opening(), Some(Opening { packet: 500.0, lead: 300.0 }));
    }

    #[test]
    fn a_packet_that_is_lost_after_the_answer_shows_that_the_answer_came_first() {
        let late = Times { came: 1_000.0, lost: 950.0, ..TIMES };
        assert_eq!(late.opening(), Some(Opening { packet: 900.0, lead: -100.0 }));
    }

    #[test]
    fn a_sender_that_paused_tells_nothing() {
        assert_eq!(Times { came: 1_000.0, lost: 850.0, ..TIMES }.opening(), None);
    }
}
