//! What a row is played on.

use anyhow::{Result, ensure};
use nat_common::counters::CounterRecord;
use nat_common::peer::{PEER_DONE, PeerAction, PeerFrame, refusal};
use nat_common::ports::Endpoint;
use nat_common::session::{SessionKey, Side};
use nat_common::settings::Settings;
use nat_common::{BootTime, Counter, NetPort, Protocol};
use nat_ebpf::host::Forward;
use nat_ebpf::host::packet::Peer;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// Session entries that fit: two for each session.
pub const MAX_SESSION_ENTRIES: u32 = 256;
/// Internal endpoints that fit.
pub const MAX_ENDPOINTS: u32 = 128;
/// Contacts that fit.
pub const MAX_CONTACTS: u32 = 128;
/// Internal clients that fit.
pub const MAX_CLIENTS: u32 = 32;

/// External addresses that fit.
pub const MAX_ADDRESSES: u32 = 3;

/// A change of the NAT's surroundings.
#[derive(Clone, Debug)]
pub enum Change {
    /// So many seconds pass.
    Wait(u64),
    /// The daemon changes its settings.
    Settings(fn(&mut Settings)),
    /// A port forward is opened.
    OpenForward(Forward),
    /// A port forward is closed.
    CloseForward(Forward),
    /// A port forward is to end with the forwards' generation.
    MarkForward(Forward),
    /// A service of the router opens a socket.
    OpenSocket(Protocol, Ipv4Addr, u16),
    /// The daemon asks for a session for PCP's PEER, until so many seconds from now.
    Peer(PeerAction, Protocol, Peer, Peer, u64),
    /// The same, which is refused and counted here.
    PeerRefused(Counter, Protocol, Peer, Peer),
    /// Somebody has an external port, for so many seconds.
    TakePort(Protocol, u16, Endpoint, u64),
    /// Somebody has all of these ports but one, for so many seconds.
    TakePorts(Protocol, RangeInclusive<u16>, Option<u16>, Endpoint, u64),
    /// The external addresses are these.
    Pool(&'static [Ipv4Addr]),
    /// The daemon lists free ports.
    FillHints(Protocol),
    /// No further session fits.
    FillSessions,
    /// No further internal endpoint fits.
    FillEndpoints,
    /// No further contact fits.
    FillContacts,
    /// No further internal client fits.
    FillClients,
    /// The daemon sweeps, as far as clients are concerned.
    Sweep,
}

impl Change {
    /// The frame by which the daemon asks for a session, and what the program is to return.
    pub(super) fn peer(&self, now: BootTime) -> Option<(Vec<u8>, u32)> {
        let (action, protocol, client, remote, seconds, result) = match *self {
            Self::Peer(action, protocol, client, remote, seconds) => {
                (action, protocol, client, remote, seconds, PEER_DONE)
            }
            Self::PeerRefused(counter, protocol, client, remote) => {
                (PeerAction::Hold, protocol, client, remote, 600, refusal(counter as u32))
            }
            _ => return None,
        };
        let end = |(addr, port): Peer| (addr.into(), NetPort::new(port));
        let key = SessionKey::new(Side::Lan, protocol, end(client), end(remote));
        let frame = PeerFrame::new(action, &key, now.plus_secs(seconds));
        Some((frame.words().iter().flat_map(|word| word.to_ne_bytes()).collect(), result))
    }
}

/// Whether the program for PEER has returned what it should.
pub(super) fn check_peer(change: &Change, returned: u32, wanted: u32) -> Result<()> {
    ensure!(returned == wanted, "{change:?} returned {returned}, not {wanted}");
    Ok(())
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Left to the kernel.
    Pass,
    /// Dropped.
    Drop,
    /// Sent.
    Send,
    /// Given to the kernel, which is to find the neighbour's MAC address and send it.
    Resolve,
    /// Given to the kernel, which is to send it to everybody in every LAN.
    Broadcast,
}

/// What became of a frame, and what it looks like now.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What became of it.
    pub action: Action,
    /// The link that sends it, where the machine tells.
    pub link: Option<u8>,
    /// Its bytes, without VLAN tags.
    pub frame: Vec<u8>,
    /// Its tags, as they stand in it.
    pub tags: Vec<u16>,
    /// How far the counters have gone.
    pub counted: CounterRecord,
}

impl Outcome {
    /// How far a counter has gone.
    pub fn count(&self, counter: Counter) -> u64 {
        self.counted.get(counter as usize).copied().unwrap_or_default()
    }
}

/// The NAT in the [`topology`](super::topology).
pub trait Machine {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The shortest frame that it takes, bytes.
    fn shortest_frame(&self) -> usize;

    /// Forgets everything, and starts with the default settings.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn reset(&mut self) -> Result<()>;

    /// Changes its surroundings.
    ///
    /// # Errors
    /// When the kernel refuses, or a port is not free.
    fn change(&mut self, change: &Change) -> Result<()>;

    /// Has a frame come in by a link, with the link's tags put on.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn receive(&mut self, link: u8, frame: &[u8]) -> Result<Outcome>;
}
