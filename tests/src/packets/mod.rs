//! Packets through the NAT, as data: every [`Row`] tells what comes in, what becomes of it, and what
//! goes out, and is played twice, on the pipeline in memory ([`host`]) and on the XDP program that the
//! kernel runs ([`kernel`], by `BPF_PROG_RUN`).
//!
//! What goes out is compared byte for byte with a frame built anew, checksums summed up from scratch.
//! Every frame also comes in cut off at every length first, and must do nothing then.

pub mod host;
pub mod kernel;
mod machine;
mod play;
pub mod rows;
pub mod topology;

pub use machine::{Action, Change, Machine, Outcome};
pub use play::{Report, play_all};

use nat_common::peer::PeerAction;
use nat_common::settings::Settings;
use nat_common::{Counter, Protocol};
use nat_ebpf::host::Forward;
use nat_ebpf::host::packet::{Packet, Peer};
use std::net::Ipv4Addr;
use topology::{EGRESS, LAN, LAN1, WAN};

/// Stands for the external port that the NAT has chosen, in rows where it does not keep the internal
/// one. No row uses port 9 otherwise.
pub const CHOSEN: u16 = 9;

/// A test: what happens, one thing after another.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it shows.
    pub name: &'static str,
    /// What happens.
    pub events: Vec<Event>,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A frame comes in.
    Frame(Box<FrameEvent>),
    /// Something else changes.
    Change(Change),
}

/// A frame comes in.
#[derive(Clone, Debug)]
pub struct FrameEvent {
    /// The link's index.
    pub link: u8,
    /// The frame.
    pub input: Input,
    /// What becomes of it.
    pub expect: Expect,
    /// How far these counters go beside it.
    pub counted: Vec<(Counter, u64)>,
}

/// A frame that comes in.
#[derive(Clone, Debug)]
pub enum Input {
    /// A well-formed packet, and bytes of its frame that are changed then.
    Packet(Packet, Vec<(usize, u8)>),
    /// Something else than untagged IPv4.
    Bytes(Vec<u8>),
}

/// What becomes of a frame.
#[derive(Clone, Debug)]
pub enum Expect {
    /// It is left to the kernel as it came, and counted here.
    Pass(Counter),
    /// It is dropped, and counted here.
    Drop(Counter),
    /// It is sent on between these two, with one hop less and otherwise as it came.
    Send {
        /// Source after translation.
        src: Peer,
        /// Destination after translation.
        dst: Peer,
    },
    /// It is sent on as this packet, MAC addresses aside.
    Become(Packet),
    /// It is left to the kernel, between these two and otherwise as it came, and counted here.
    PassTranslated {
        /// Where it is counted.
        counter: Counter,
        /// Source after translation.
        src: Peer,
        /// Destination after translation.
        dst: Peer,
    },
    /// It leaves by the WAN as this packet.
    Leave(Packet),
    /// It is sent to everybody in every LAN, otherwise as for `Send`.
    Broadcast {
        /// Source after translation.
        src: Peer,
        /// Destination port after translation.
        port: u16,
    },
    /// As for `Send`, but the kernel must find out the next hop's MAC address.
    Resolve {
        /// Source after translation.
        src: Peer,
        /// Destination after translation.
        dst: Peer,
    },
}

/// It is left to the kernel.
pub fn passes(counter: Counter) -> Expect {
    Expect::Pass(counter)
}

/// It is dropped.
pub fn drops(counter: Counter) -> Expect {
    Expect::Drop(counter)
}

/// It is left to the kernel with these addresses and ports.
pub fn passes_translated(counter: Counter, src: Peer, dst: Peer) -> Expect {
    Expect::PassTranslated { counter, src, dst }
}

/// It leaves by the WAN like this.
pub fn leaves(packet: Packet) -> Expect {
    Expect::Leave(packet)
}

/// It is sent on with these addresses and ports.
pub fn sends(src: Peer, dst: Peer) -> Expect {
    Expect::Send { src, dst }
}

/// It is sent on by way of the kernel's neighbour table.
pub fn resolves(src: Peer, dst: Peer) -> Expect {
    Expect::Resolve { src, dst }
}

/// It is sent to everybody in every LAN.
pub fn broadcasts(src: Peer, port: u16) -> Expect {
    Expect::Broadcast { src, port }
}

/// It is sent on as this packet, MAC addresses aside.
pub fn becomes(packet: Packet) -> Expect {
    Expect::Become(packet)
}

/// The end of a flow that has no port: of a ping, the one that is asked.
pub fn portless(addr: Ipv4Addr) -> Peer {
    (addr, 0)
}

impl Row {
    /// A test of this name, which says what holds.
    pub fn new(name: &'static str) -> Self {
        Self { name, events: Vec::new() }
    }

    /// A packet comes from the LAN.
    #[must_use]
    pub fn lan(self, packet: Packet, expect: Expect) -> Self {
        self.packet(LAN, packet, Vec::new(), expect)
    }

    /// A packet comes from the second LAN.
    #[must_use]
    pub fn lan1(self, packet: Packet, expect: Expect) -> Self {
        self.packet(LAN1, packet, Vec::new(), expect)
    }

    /// A packet comes from the WAN.
    #[must_use]
    pub fn wan(self, packet: Packet, expect: Expect) -> Self {
        self.packet(WAN, packet, Vec::new(), expect)
    }

    /// The kernel sends a packet by the WAN.
    #[must_use]
    pub fn kernel(self, packet: Packet, expect: Expect) -> Self {
        self.packet(EGRESS, packet, Vec::new(), expect)
    }

    /// A packet comes in, some bytes of its frame changed.
    #[must_use]
    pub fn packet(
        self,
        link: u8,
        mut packet: Packet,
        patches: Vec<(usize, u8)>,
        expect: Expect,
    ) -> Self {
        if packet.dst_mac == [0; 6] {
            packet.dst_mac = topology::router_mac(link);
        }
        packet.src_mac = topology::sender_mac(link, packet.src);
        self.frame(link, Input::Packet(packet, patches), expect)
    }

    /// A frame comes in that is no untagged IPv4.
    #[must_use]
    pub fn bytes(self, link: u8, frame: Vec<u8>, expect: Expect) -> Self {
        self.frame(link, Input::Bytes(frame), expect)
    }

    fn frame(mut self, link: u8, input: Input, expect: Expect) -> Self {
        let frame = FrameEvent { link, input, expect, counted: Vec::new() };
        self.events.push(Event::Frame(Box::new(frame)));
        self
    }

    /// By the last frame a counter goes as far as this.
    #[must_use]
    pub fn counting(mut self, counter: Counter, amount: u64) -> Self {
        if let Some(Event::Frame(frame)) = self.events.last_mut() {
            frame.counted.push((counter, amount));
        }
        self
    }

    /// Time passes.
    #[must_use]
    pub fn wait(self, seconds: u64) -> Self {
        self.change(Change::Wait(seconds))
    }

    /// The daemon changes its settings.
    #[must_use]
    pub fn settings(self, change: fn(&mut Settings)) -> Self {
        self.change(Change::Settings(change))
    }

    /// A port forward is opened.
    #[must_use]
    pub fn open(self, forward: Forward) -> Self {
        self.change(Change::OpenForward(forward))
    }

    /// A port forward is closed.
    #[must_use]
    pub fn close(self, forward: Forward) -> Self {
        self.change(Change::CloseForward(forward))
    }

    /// A port forward is to end with the forwards' generation.
    #[must_use]
    pub fn mark(self, forward: Forward) -> Self {
        self.change(Change::MarkForward(forward))
    }

    /// The daemon asks for a session for so many seconds, for PCP's PEER.
    #[must_use]
    pub fn hold(self, protocol: Protocol, client: Peer, remote: Peer, seconds: u64) -> Self {
        self.change(Change::Peer(PeerAction::Hold, protocol, client, remote, seconds))
    }

    /// Something else than a frame.
    #[must_use]
    pub fn change(mut self, change: Change) -> Self {
        self.events.push(Event::Change(change));
        self
    }
}
