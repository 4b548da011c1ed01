//! Playing rows.

use super::machine::{Action, Machine, Outcome};
use super::topology::{self, EGRESS, host_mac, next_hop, router_mac, side};
use super::{CHOSEN, Event, Expect, FrameEvent, Input, Row};
use anyhow::{Context as _, Result, bail, ensure};
use nat_common::Counter;
use nat_common::counters::Kind;
use nat_common::session::Side;
use nat_ebpf::host::packet::{Packet, Peer, protocol};
use std::fmt;
use std::net::Ipv4Addr;

/// Bytes before an IP packet.
const ETHERNET: usize = 14;

/// What playing the rows has shown.
#[derive(Debug, Default)]
pub struct Report {
    /// Rows that held.
    pub held: usize,
    /// Rows that did not, and why.
    pub failed: Vec<String>,
    /// What the machine could not be made to do.
    pub not_run: Vec<String>,
    /// Frames that were cut off.
    pub cut_frames: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} rows held, with {} cut frames", self.held, self.cut_frames)?;
        for what in &self.not_run {
            writeln!(f, "NOT RUN: {what}")?;
        }
        for why in &self.failed {
            writeln!(f, "FAILED: {why}")?;
        }
        Ok(())
    }
}

/// Plays all rows, each on a machine that knows nothing of the others.
pub fn play_all(machine: &mut impl Machine, rows: &[Row]) -> Report {
    let mut report = Report::default();
    if machine.shortest_frame() > 0 {
        report.not_run.push(format!(
            "{}: frames cut off below {} bytes, which it does not take",
            machine.name(),
            machine.shortest_frame()
        ));
    }
    for row in rows {
        match play(machine, row) {
            Ok(cut_frames) => {
                report.held += 1;
                report.cut_frames += cut_frames;
            }
            Err(error) => {
                report.failed.push(format!("{}: {}: {error:#}", machine.name(), row.name));
            }
        }
    }
    report
}

fn play(machine: &mut impl Machine, row: &Row) -> Result<usize> {
    machine.reset()?;
    let mut chosen = None;
    let mut cut_frames = 0;
    for (number, event) in (1..).zip(&row.events) {
        match event {
            Event::Change(change) => {
                machine.change(change).with_context(|| format!("event {number}, {change:?}"))?;
            }
            Event::Frame(event) => {
                let mut frame = Arrival { event, chosen };
                cut_frames += frame
                    .receive_cut(machine)
                    .with_context(|| format!("event {number}, cut off"))?;
                frame
                    .receive(machine)
                    .with_context(|| format!("event {number}, {:?}", event.expect))?;
                chosen = frame.chosen;
            }
        }
    }
    Ok(cut_frames)
}

/// A frame that comes in.
struct Arrival<'a> {
    event: &'a FrameEvent,
    /// The port for which [`CHOSEN`] stands, once it is known.
    chosen: Option<u16>,
}

impl Arrival<'_> {
    fn frame(&self) -> Vec<u8> {
        match &self.event.input {
            Input::Bytes(frame) => frame.clone(),
            Input::Packet(packet, patches) => {
                let mut packet = packet.clone();
                packet.set_source(self.known(packet.source()));
                packet.set_destination(self.known(packet.destination()));
                let mut frame = packet.to_bytes();
                for (at, value) in patches {
                    if let Some(byte) = frame.get_mut(*at) {
                        *byte = *value;
                    }
                }
                frame
            }
        }
    }

    /// A peer, with the port for which [`CHOSEN`] stands.
    fn known(&self, peer: Peer) -> Peer {
        match self.chosen {
            Some(port) if peer.1 == CHOSEN => (peer.0, port),
            _ => peer,
        }
    }

    /// The frame comes in cut off at every length.
    fn receive_cut(&self, machine: &mut impl Machine) -> Result<usize> {
        let frame = self.frame();
        let (lengths, is_ipv4) = match &self.event.input {
            Input::Bytes(_) => (machine.shortest_frame()..frame.len(), false),
            Input::Packet(_, patches) if !patches.is_empty() => return Ok(0),
            // The kernel sends whole packets.
            Input::Packet(..) if self.event.link == EGRESS => return Ok(0),
            // Without its padding it is whole still.
            Input::Packet(packet, _) => {
                (machine.shortest_frame()..ETHERNET + packet.ip_len(), true)
            }
        };
        let count = lengths.len();
        for len in lengths {
            let cut = frame.get(..len).unwrap_or_default();
            let outcome = machine.receive(self.event.link, cut)?;
            let (action, counter) = if is_ipv4 && len >= ETHERNET {
                (Action::Drop, Counter::DropMalformed)
            } else {
                (Action::Pass, Counter::PassNotIpv4)
            };
            unchanged(&outcome, cut, action, counter).with_context(|| format!("{len} bytes"))?;
        }
        Ok(count)
    }

    /// The whole frame comes in.
    fn receive(&mut self, machine: &mut impl Machine) -> Result<()> {
        let frame = self.frame();
        let outcome = machine.receive(self.event.link, &frame)?;
        if outcome.action == Action::Pass {
            let tags = topology::words(topology::arrival(self.event.link).words());
            ensure!(outcome.tags == tags, "the tags are {:04x?}", outcome.tags);
        }
        match &self.event.expect {
            Expect::Pass(counter) => unchanged(&outcome, &frame, Action::Pass, *counter)?,
            Expect::Drop(counter) => unchanged(&outcome, &frame, Action::Drop, *counter)?,
            Expect::PassTranslated { counter, src, dst } => {
                let mut wanted = self.translated(&frame, &outcome, *src, *dst)?;
                wanted.ttl = frame.get(22).copied().context("no TTL")?;
                unchanged(&outcome, &wanted.to_bytes(), Action::Pass, *counter)?;
            }
            Expect::Leave(packet) => {
                let macs = Packet::parse(&frame).context("what came in is no packet")?;
                let wanted =
                    Packet { dst_mac: macs.dst_mac, src_mac: macs.src_mac, ..packet.clone() };
                ensure!(outcome.action == Action::Pass, "{}", described(&outcome));
                ensure!(
                    outcome.frame == wanted.to_bytes(),
                    "what left is {:?}, not {wanted:?}",
                    Packet::parse(&outcome.frame)
                );
            }
            Expect::Broadcast { src, port } => {
                let all = (Ipv4Addr::BROADCAST, *port);
                let wanted = self.translated(&frame, &outcome, *src, all)?;
                self.sent(&outcome, Action::Broadcast, wanted)?;
            }
            Expect::Become(packet) => self.sent(&outcome, Action::Send, packet.clone())?,
            Expect::Send { src, dst } | Expect::Resolve { src, dst } => {
                let resolve = matches!(self.event.expect, Expect::Resolve { .. });
                let action = if resolve { Action::Resolve } else { Action::Send };
                let wanted = self.translated(&frame, &outcome, *src, *dst)?;
                self.sent(&outcome, action, wanted)?;
            }
        }
        for (counter, amount) in &self.event.counted {
            let counted = outcome.count(*counter);
            ensure!(counted == *amount, "{} counted {counted}, not {amount}", counter.name());
        }
        Ok(())
    }

    /// What came in, between these two and with one hop less.
    fn translated(
        &mut self,
        frame: &[u8],
        outcome: &Outcome,
        src: Peer,
        dst: Peer,
    ) -> Result<Packet> {
        let mut wanted = Packet::parse(frame).context("what came in is no packet")?;
        if let Some(found) = Packet::parse(&outcome.frame)
            && self.chosen.is_none()
            && (src.1 == CHOSEN || dst.1 == CHOSEN)
        {
            let port = if src.1 == CHOSEN { found.source().1 } else { found.destination().1 };
            let own = if src.1 == CHOSEN { wanted.source().1 } else { wanted.destination().1 };
            ensure!(port != own && port % 2 == own % 2, "port {port} was chosen for {own}");
            // Identifiers of pings have no such range.
            let is_ping = wanted.protocol() == protocol::ICMP;
            ensure!(is_ping || port >= 1024, "port {port} is not the NAT's to choose");
            self.chosen = Some(port);
        }
        wanted.set_source(self.known(src));
        wanted.set_destination(self.known(dst));
        wanted.ttl = wanted.ttl.wrapping_sub(1);
        Ok(wanted)
    }

    fn sent(&self, outcome: &Outcome, action: Action, mut wanted: Packet) -> Result<()> {
        ensure!(outcome.action == action, "{}", described(outcome));
        let found = Packet::parse(&outcome.frame).context("what went out is no packet")?;
        let total_len = wanted.ip_len();
        let (link, neighbour) = next_hop(wanted.dst);
        (wanted.dst_mac, wanted.src_mac) = match action {
            Action::Send => (host_mac(link, neighbour), router_mac(link)),
            // The kernel writes them.
            _ => (found.dst_mac, found.src_mac),
        };
        ensure!(found == wanted, "what went out is {found:?}, not {wanted:?}");
        // Also what parsing does not tell, the checksum of the IP header among it.
        ensure!(outcome.frame == wanted.to_bytes(), "what went out is not right to the last byte");
        if let Some(by) = outcome.link {
            ensure!(by == link, "sent by link {by}, not {link}");
        }
        if action == Action::Send {
            let tags = topology::arrival(self.event.link).leaving(topology::tags(link).1);
            ensure!(outcome.tags == topology::words(tags), "the tags are {:04x?}", outcome.tags);
        }
        let (packets, bytes) = match (side(self.event.link), side(link)) {
            (Side::Wan, _) => (Counter::InboundPackets, Counter::InboundBytes),
            (Side::Lan, _) if action == Action::Broadcast => {
                (Counter::HairpinPackets, Counter::HairpinBytes)
            }
            (Side::Lan, Side::Wan) => (Counter::OutboundPackets, Counter::OutboundBytes),
            (Side::Lan, Side::Lan) => (Counter::HairpinPackets, Counter::HairpinBytes),
        };
        counted_once(outcome, packets)?;
        ensure!(outcome.count(bytes) == total_len as u64, "the bytes are not counted");
        let slow = u64::from(action == Action::Resolve);
        ensure!(outcome.count(Counter::SlowNeighbour) == slow, "SlowNeighbour is miscounted");
        Ok(())
    }
}

/// The frame is as it came, and counted once.
fn unchanged(outcome: &Outcome, frame: &[u8], action: Action, counter: Counter) -> Result<()> {
    ensure!(outcome.action == action, "{}", described(outcome));
    ensure!(outcome.frame == frame, "the frame was changed to {:02x?}", outcome.frame);
    counted_once(outcome, counter)
}

/// Of the counters that tell what became of packets only this one has gone one further.
fn counted_once(outcome: &Outcome, counter: Counter) -> Result<()> {
    for other in Counter::ALL.iter().filter(|other| other.kind() != Kind::Event) {
        let wanted = u64::from(*other == counter);
        if outcome.count(*other) != wanted {
            bail!("{} is to be counted once: {}", counter.name(), described(outcome));
        }
    }
    Ok(())
}

fn described(outcome: &Outcome) -> String {
    let counted: Vec<_> = Counter::ALL
        .iter()
        .filter(|counter| outcome.count(**counter) > 0)
        .map(|counter| format!("{} {}", counter.name(), outcome.count(*counter)))
        .collect();
    let frame = Packet::parse(&outcome.frame);
    let peers = frame.map(|packet| format!("{:?} > {:?}", packet.source(), packet.destination()));
    format!("{:?} ({}), {}", outcome.action, counted.join(", "), peers.unwrap_or_default())
}
