//! Watching the packets of a namespace.
//!
//! A frame waits in the socket before a process in the namespace can have received it. So whoever
//! asks what was seen reads what waits first, and misses nothing that he knows of by other ways.

use super::namespace::Namespace;
use super::packet::Packet;
use super::stop::StoppableThread;
use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::setsockopt_impl;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Room in the socket for packets that wait to be read.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Packets beyond this many are judged, but not kept.
const KEPT_PACKETS: usize = 100_000;

/// Whether a packet socket tells the VLAN tag that the kernel has taken off a frame.
#[derive(Clone)]
struct AuxData;
setsockopt_impl!(AuxData, libc::SOL_PACKET, libc::PACKET_AUXDATA, bool, sockopt::SetBool);

#[derive(Debug, Default)]
struct Seen {
    packets: Vec<Packet>,
    leak: Option<Packet>,
    disarmed: bool,
}

impl Seen {
    fn push(&mut self, packet: Packet) {
        if !self.disarmed && self.leak.is_none() && packet.tells_private_address() {
            self.leak = Some(packet.clone());
        }
        if self.packets.len() < KEPT_PACKETS {
            self.packets.push(packet);
        }
    }
}

#[derive(Debug)]
struct Shared {
    socket: OwnedFd,
    /// Locked from before a frame is read until it is in `seen`.
    frame: Mutex<Vec<u8>>,
    seen: Mutex<Seen>,
    arrived: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all frames that wait in the socket.
    fn drain(&self) {
        let mut frame = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (length, tag) = match receive(&self.socket, &mut frame) {
                Ok(received) => received,
                Err(Errno::EINTR) => continue,
                Err(_) => return,
            };
            if let Some(packet) = frame.get(..length).and_then(|it| Packet::parse(it, tag)) {
                self.lock().push(packet);
                self.arrived.notify_all();
            }
        }
    }
}

/// All packets that pass the interfaces of a namespace, in both directions, from its start on.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    thread: StoppableThread,
}

impl Capture {
    /// Starts watching. What is sent after this returns is seen.
    ///
    /// # Errors
    /// When no packet socket can be had.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        Self::of(namespace, Some(SockProtocol::EthAll))
    }

    /// Watches nothing, and costs nothing: a packet socket without a protocol gets no packets.
    pub(super) fn blind(namespace: &Namespace) -> Result<Self> {
        Self::of(namespace, None)
    }

    fn of(namespace: &Namespace, protocol: Option<SockProtocol>) -> Result<Self> {
        let socket: OwnedFd = namespace.enter(|| {
            let packets = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
                protocol,
            )?;
            setsockopt(&packets, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
            setsockopt(&packets, AuxData, &true)?;
            Ok::<_, Errno>(packets)
        })??;
        let shared = Arc::new(Shared {
            socket,
            frame: Mutex::new(vec![0; 65_536]),
            seen: Mutex::default(),
            arrived: Condvar::new(),
        });
        let sink = Arc::clone(&shared);
        let thread = StoppableThread::spawn(move |stop| {
            while stop.wait_readable(&sink.socket) {
                sink.drain();
            }
        })?;
        Ok(Self { shared, thread })
    }

    /// The packets so far that `wanted` takes.
    pub fn packets(&self, wanted: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        self.shared.drain();
        self.shared.lock().packets.iter().filter(|packet| wanted(packet)).cloned().collect()
    }

    /// Waits for `count` packets that `wanted` takes, past ones included, and returns all of them.
    ///
    /// # Errors
    /// When `timeout` passes before.
    pub fn wait_for(
        &self,
        what: &str,
        count: usize,
        timeout: Duration,
        wanted: impl Fn(&Packet) -> bool,
    ) -> Result<Vec<Packet>> {
        let deadline = Instant::now() + timeout;
        let mut seen = self.shared.lock();
        loop {
            let found: Vec<_> =
                seen.packets.iter().filter(|packet| wanted(packet)).cloned().collect();
            if found.len() >= count {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{what}: {} of {count} packets were seen within {timeout:?}", found.len());
            }
            let waited = self.shared.arrived.wait_timeout(seen, left);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Stops judging sources: the router is about to stop translating.
    pub(crate) fn disarm(&self) {
        self.shared.drain();
        self.shared.lock().disarmed = true;
    }

    /// Judges sources again, of what comes from now on.
    pub fn arm(&self) {
        self.shared.drain();
        self.shared.lock().disarmed = false;
    }

    /// Stops watching, and returns the first packet with a private source or that told a private
    /// address in an ICMP error: once, since a lab that was finished is dropped, too.
    pub(super) fn finish(&mut self) -> Option<Packet> {
        self.thread.stop();
        self.shared.drain();
        self.shared.lock().leak.take()
    }
}

/// Reads a frame: its length, and the tag that is no longer in it.
fn receive(socket: &OwnedFd, frame: &mut [u8]) -> Result<(usize, Option<u16>), Errno> {
    let mut control = nix::cmsg_space!(libc::tpacket_auxdata);
    let mut buffers = [IoSliceMut::new(frame)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::empty())?;
    let tag = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Unknown(unknown)
            if unknown.cmsg_header.cmsg_type == libc::PACKET_AUXDATA =>
        {
            taken_tag(&unknown.data_bytes)
        }
        _ => None,
    });
    Ok((message.bytes, tag))
}

/// The tag in a `struct tpacket_auxdata`, where there is one.
fn taken_tag(auxiliary: &[u8]) -> Option<u16> {
    const TAG: usize = std::mem::offset_of!(libc::tpacket_auxdata, tp_vlan_tci);
    let status = u32::from_ne_bytes(auxiliary.get(..4)?.try_into().ok()?);
    let tag = u16::from_ne_bytes(auxiliary.get(TAG..TAG + 2)?.try_into().ok()?);
    (status & libc::TP_STATUS_VLAN_VALID != 0).then_some(tag)
}
