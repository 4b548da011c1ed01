//! What came in and what should become of it, whole or in fragments.

use super::topology::{self, EXTERNALS, WAN};
use crate::machine::{Action, Outcome};
use crate::reference::Fate;
use nat_ebpf::host::packet::{Body, Packet, protocol};

/// In the word of flags and offset: more fragments follow.
const MORE: u16 = 0x2000;
/// The offset in it.
const OFFSET: u16 = 0x1fff;

/// A packet in two fragments, if it may be fragmented and is long enough.
pub(super) fn pieces(packet: &Packet) -> Vec<Packet> {
    let (header, payload) = match &packet.body {
        // The ports and the flags are in the first one.
        Body::Tcp { payload, .. } => (20, payload.len()),
        Body::Udp { payload, .. } | Body::Icmp { payload, .. } => (8, payload.len()),
        Body::Other { .. } => (0, 0),
    };
    let enough = header + payload > first_len(packet);
    pieces_of(packet, if packet.fragment == 0 && enough { 2 } else { 1 })
}

/// A packet whole or in two fragments.
fn pieces_of(packet: &Packet, number: usize) -> Vec<Packet> {
    match number {
        1 => vec![packet.clone()],
        _ => packet.fragments(&[first_len(packet)]),
    }
}

/// What the first fragment carries, bytes.
fn first_len(packet: &Packet) -> usize {
    if packet.protocol() == protocol::TCP { 24 } else { 8 }
}

/// Compares what became of a packet, or of a fragment of it, with what should. Tells what was sent by which
/// link, whole.
pub(super) fn judge(
    fate: &Fate,
    outcome: &Outcome,
    came: &Packet,
) -> Result<Option<(u8, Packet)>, String> {
    let found = &outcome.frame;
    // As much of a packet as came in.
    let as_came = |packet: &Packet| {
        let number = if came.fragment & (MORE | OFFSET) == 0 { 1 } else { 2 };
        pieces_of(packet, number).swap_remove(usize::from(came.fragment & OFFSET != 0))
    };
    match (fate, outcome.action) {
        (Fate::Pass, Action::Pass) | (Fate::Drop, Action::Drop) if *found == came.to_bytes() => {
            Ok(None)
        }
        (Fate::PassAs(wanted), Action::Pass) if *found == as_came(wanted).to_bytes() => Ok(None),
        // The kernel writes the MAC addresses, one copy after the other.
        (Fate::Broadcast(wanted), Action::Broadcast) if *found == as_came(wanted).to_bytes() => {
            Ok(None)
        }
        (Fate::Send(wanted), Action::Send) => {
            let mut wanted = Packet::clone(wanted);
            let (link, next_hop) = topology::next_hop(wanted.dst);
            wanted.dst_mac = topology::neighbour_mac(link, next_hop);
            wanted.src_mac = topology::router_mac(link);
            is_sent(outcome, link, &as_came(&wanted))?;
            Ok(Some((link, wanted)))
        }
        (_, action) => {
            let found = Packet::parse(found);
            Err(format!("{action:?} as {found:?}, not {fate:?}, for {came:?}"))
        }
    }
}

/// Whether a packet was sent like this by a link.
fn is_sent(outcome: &Outcome, link: u8, wanted: &Packet) -> Result<(), String> {
    let Outcome { action, link: by, frame } = outcome;
    let by_it = by.is_none_or(|by| by == link);
    if *action != Action::Send || !by_it || *frame != wanted.to_bytes() {
        let found = Packet::parse(frame);
        return Err(format!("{action:?} by {by:?} is {found:?}, not by {link} {wanted:?}"));
    }
    if link == WAN && !EXTERNALS.contains(&wanted.src) {
        return Err(format!("a source of its own on the WAN: {wanted:?}"));
    }
    Ok(())
}
