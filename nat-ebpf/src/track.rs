//! Following sessions: TCP's state and everybody's deadlines.
//!
//! TCP's state is a set of things seen, which only grows, so that both halves of a session and all
//! CPUs agree on it without locks: each side has spoken, the opener has completed the handshake, each
//! side has sent its FIN, somebody has reset. That covers every valid opening, simultaneous open
//! included (RFC 5382 REQ-2). Only an opening SYN on a connection that is over starts anew.

use crate::filter::{self, Pair};
use crate::parse::{Flow, tcp};
use crate::tables::Tables;
use crate::wildcard;
use nat_common::ports::{Endpoint, Owner, PortSlot, SlotState, slot_index};
use nat_common::session::{RemoteKey, Session, SessionKey, Side, control};
use nat_common::settings::{Filtering, Settings};
use nat_common::{BootTime, NetAddr, NetPort, Protocol};

/// Whether a session still counts at `now`. An expired or voided one does not, swept or not.
#[inline(always)]
pub fn is_live(session: &Session, settings: &Settings, now: BootTime) -> bool {
    let word = session.control.get();
    let bound = word & control::BOUND_TO_FORWARD != 0;
    let generation = if bound { settings.forward_generation } else { settings.nat_generation };
    (word >> control::GENERATION_SHIFT) as u32 == generation && session.deadline.get() > now.0
}

/// Whether both sides have spoken, the handshake is complete, and the connection is not over.
#[inline(always)]
pub const fn is_established(state: u64) -> bool {
    const OPEN: u64 = control::SEEN_INSIDE | control::SEEN_OUTSIDE | control::ACKED;
    state & OPEN == OPEN && !is_over(state)
}

/// Whether a connection was reset or closed from both sides.
#[inline(always)]
pub const fn is_over(state: u64) -> bool {
    const CLOSED: u64 = control::FIN_INSIDE | control::FIN_OUTSIDE;
    state & control::RESET != 0 || state & CLOSED == CLOSED
}

/// What a TCP packet adds to its connection's state. `outside`: it was sent by the outside (or, of
/// two internal clients, by the one that was called).
#[inline(always)]
pub const fn tcp_bits(flags: u8, outside: bool, opened_outside: bool) -> u64 {
    let mut bits = if outside { control::SEEN_OUTSIDE } else { control::SEEN_INSIDE };
    if flags & tcp::RST != 0 {
        return bits | control::RESET;
    }
    if flags & tcp::FIN != 0 {
        bits |= if outside { control::FIN_OUTSIDE } else { control::FIN_INSIDE };
    }
    if flags & (tcp::SYN | tcp::ACK) == tcp::ACK && outside == opened_outside {
        bits |= control::ACKED;
    }
    bits
}

/// Notes that `flow` has used `session`.
///
/// Deadlines are moved by packets from internal clients (RFC 4787 REQ-6: inbound traffic alone keeps
/// nothing alive), and by changes of a TCP connection's state whoever causes them. `false`: the port is
/// somebody else's by now, and nothing leaves from there any more.
#[inline(always)]
pub fn follow<T: Tables>(
    tables: &T,
    settings: &Settings,
    now: BootTime,
    key: &SessionKey,
    session: &Session,
    flow: &Flow,
) -> bool {
    let word = session.control.get();
    let old = word & control::TCP_STATE;
    let mut state = old;
    if let Protocol::Tcp = flow.protocol {
        let outside = word & control::TOWARDS_INSIDE != 0;
        let bits = tcp_bits(flow.flags, outside, word & control::OPENED_OUTSIDE != 0);
        let reopens = flow.flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN && is_over(old);
        state = if reopens { bits } else { old | bits };
    }
    // An answered query of another client is kept alive by who asks.
    let from_client = matches!(key.side(), Side::Lan) && !flow.is_answer();
    if state == old && !from_client {
        return true;
    }
    let timeout = settings.timeout(flow.protocol, is_established(state));
    let deadline = settings.deadline(now, timeout);
    let stale =
        deadline.0.saturating_sub(session.deadline.get()) > timeout >> Settings::REFRESH_SHIFT;
    if state == old && !stale {
        return true;
    }
    let now = now.in_generation(settings.forward_generation);
    let update = Update { now, state_changed: state != old, state, deadline };
    if !update.apply(tables, key, session) {
        return false;
    }
    if !matches!(settings.filtering(flow.protocol), Filtering::EndpointIndependent) {
        keep_contacts(tables, settings, now, key, session);
    }
    true
}

/// Whether a session is of ICMP queries. Of a hairpinned one only who asks needs an external identifier:
/// that of the other client was a name to be called by, and stands in none of the packets.
#[inline(always)]
const fn is_query(key: &SessionKey) -> bool {
    matches!(key.protocol(), Protocol::Icmp)
}

/// What an internal client of a session stands on.
#[derive(Clone, Copy)]
struct Base {
    /// The slot of its external port.
    index: u32,
    /// The internal client that the slot belongs to.
    client: Endpoint,
    remote: (NetAddr, NetPort),
    /// The key of the session's other half.
    other: SessionKey,
}

/// The key of a session's other half. With a hairpin that one's packets are seen in the LAN too.
#[inline(always)]
const fn other_key(key: &SessionKey, half: &Session, hairpin: bool) -> SessionKey {
    let side = match key.side() {
        Side::Lan if !hairpin => Side::Wan,
        _ => Side::Lan,
    };
    half.reverse_key(side, key.protocol())
}

impl Base {
    #[inline(always)]
    fn of<T: Tables>(tables: &T, key: &SessionKey, session: &Session) -> Option<Self> {
        let hairpin = session.control.get() & control::HAIRPIN != 0;
        let (client, external, remote) = match key.side() {
            Side::Lan => {
                let remote = (session.new_dst, session.new_dst_port);
                ((key.src, key.src_port), (session.new_src, session.new_src_port), remote)
            }
            Side::Wan => {
                let remote = (key.src, key.src_port);
                ((session.new_dst, session.new_dst_port), (key.dst, key.dst_port), remote)
            }
        };
        let pool_index = tables.external_index(external.0)?;
        Some(Self {
            index: slot_index(pool_index, key.protocol(), external.1.get()),
            client: Endpoint { addr: client.0, port: client.1 },
            remote,
            other: other_key(key, session, hairpin),
        })
    }
}

/// What the called client of a session stands on whose both ends are internal, when `base` is its
/// caller's; else `base`. Port forwards are the called one's.
#[inline(always)]
fn of_called<T: Tables>(
    tables: &T,
    base: &Base,
    session: &Session,
    other: &Session,
) -> Option<Base> {
    const CALLER: u64 = control::HAIRPIN;
    match session.control.get() & (control::HAIRPIN | control::TOWARDS_INSIDE) {
        CALLER => Base::of(tables, &base.other, other),
        _ => Some(*base),
    }
}

/// Until when the port forward that a session is bound to lets its caller in.
#[inline(always)]
fn bound_until<T: Tables>(tables: &T, now: BootTime, base: &Base) -> BootTime {
    match tables.slot(base.index) {
        Some(slot) => match slot.state(now) {
            SlotState::Held { owner, .. } if owner.endpoint() != base.client => BootTime(0),
            SlotState::Held { owner, leased: true } => {
                lease(tables, base.index, &slot, owner, base.remote)
            }
            SlotState::Held { .. } => {
                wildcard::until(tables, now, base.index, base.client, base.remote.0)
            }
            _ => BootTime(0),
        },
        None => BootTime(0),
    }
}

/// Whether a session that is bound to a port forward, and void because some forward went away, still
/// has its own. If so it counts again: it must not be opened anew by an answer of the internal client,
/// for that would open the port by the filtering policy too.
#[inline(never)]
pub fn revalidate<T: Tables>(
    tables: &T,
    settings: &Settings,
    now: BootTime,
    key: &SessionKey,
    session: &Session,
) -> bool {
    let bound = session.control.get() & control::BOUND_TO_FORWARD != 0;
    if !bound || session.deadline.get() <= now.0 {
        return false;
    }
    let Some(base) = Base::of(tables, key, session) else { return false };
    let Some(other) = tables.session(&base.other) else { return false };
    let Some(called) = of_called(tables, &base, session, &other) else { return false };
    // The session belongs to the generation in which the slot was looked at, and not to one that has
    // begun since.
    let now = now.in_generation(settings.forward_generation);
    let until = bound_until(tables, now, &called);
    if until <= now {
        return false;
    }
    let generation = u64::from(now.generation(settings.forward_generation));
    for half in [session, &other] {
        if half.deadline.get() > until.0 {
            half.deadline.set(until.0);
        }
        half.control.keep_bits((1 << control::GENERATION_SHIFT) - 1);
        half.control.set_bits(generation << control::GENERATION_SHIFT);
    }
    true
}

/// A change of both halves of a session: rare, so it may look things up.
struct Update {
    now: BootTime,
    state_changed: bool,
    state: u64,
    deadline: BootTime,
}

impl Update {
    /// Not inlined, and in steps: see [`crate::open`].
    #[inline(never)]
    fn apply<T: Tables>(&self, tables: &T, key: &SessionKey, session: &Session) -> bool {
        let bits = session.control.get();
        let hairpin = bits & control::HAIRPIN != 0;
        let other_key = other_key(key, session, hairpin);
        // Half a session is none: the next packet makes both halves anew. A forward that has taken the
        // port over may have put a session of its own in the other one's place.
        let other = tables.session(&other_key);
        let Some(other) =
            other.filter(|other| other.new_dst == key.src && other.new_dst_port == key.src_port)
        else {
            session.deadline.set(0);
            return true;
        };
        let mut deadline = self.deadline;
        if bits & control::BOUND_TO_FORWARD != 0 {
            // Port forwards are the called one's.
            let caller = bits & (control::HAIRPIN | control::TOWARDS_INSIDE) == control::HAIRPIN;
            let until = if caller {
                self.forward_until(tables, &other_key, &other)
            } else {
                self.forward_until(tables, key, session)
            };
            deadline = if until < deadline.0 { BootTime(until) } else { deadline };
        }
        // First the ports, then the session: a live session's port is never free.
        let mut held = self.hold(tables, key, session, deadline);
        if held && hairpin && !is_query(key) {
            held = self.hold(tables, &other_key, &other, deadline);
        }
        if held {
            self.write(session, deadline);
            self.write(&other, deadline);
        } else {
            session.deadline.set(0);
            other.deadline.set(0);
        }
        held
    }

    /// Until when the port forward lets the caller in on which a half's client stands.
    #[inline(never)]
    fn forward_until<T: Tables>(&self, tables: &T, key: &SessionKey, half: &Session) -> u64 {
        match Base::of(tables, key, half) {
            Some(base) => bound_until(tables, self.now, &base).0,
            None => 0,
        }
    }

    /// Holds the port on which a half's client stands; `false` when it is not the client's.
    #[inline(never)]
    fn hold<T: Tables>(
        &self,
        tables: &T,
        key: &SessionKey,
        half: &Session,
        until: BootTime,
    ) -> bool {
        let Some(base) = Base::of(tables, key, half) else { return false };
        let slot = tables.slot(base.index);
        slot.is_some_and(|slot| slot.extend(self.now, base.client, until).is_ok())
    }

    #[inline(always)]
    fn write(&self, half: &Session, deadline: BootTime) {
        half.deadline.set(deadline.0);
        if self.state_changed {
            half.control.keep_bits(!control::TCP_STATE | self.state);
            half.control.set_bits(self.state);
        }
    }
}

/// Has the contacts of a session's internal clients last as long as the session does now. They last as
/// long as it did before anyhow, so that they do at every moment.
#[inline(never)]
fn keep_contacts<T: Tables>(
    tables: &T,
    settings: &Settings,
    now: BootTime,
    key: &SessionKey,
    session: &Session,
) {
    keep_contact(tables, settings, now, key, session);
    if session.control.get() & control::HAIRPIN != 0 && !is_query(key) {
        let other = session.reverse_key(Side::Lan, key.protocol());
        if let Some(session) = tables.session(&other) {
            keep_contact(tables, settings, now, &other, &session);
        }
    }
}

/// The same for the client of one half.
///
/// Answers make no contact: those to callers whom a port forward has let in must not open the port for
/// them beyond its lease.
#[inline(never)]
fn keep_contact<T: Tables>(
    tables: &T,
    settings: &Settings,
    now: BootTime,
    key: &SessionKey,
    session: &Session,
) {
    let until = BootTime(session.deadline.get());
    let Some(base) = Base::of(tables, key, session) else { return };
    if until <= now {
        return;
    }
    let bits = session.control.get();
    let hairpin = bits & control::HAIRPIN != 0;
    let pair = Pair {
        protocol: key.protocol(),
        hairpin,
        slot: base.index,
        client: base.client,
        remote: outer_end(key),
    };
    let answers = if hairpin { control::TOWARDS_INSIDE } else { control::OPENED_OUTSIDE };
    if bits & answers == 0 {
        filter::note(tables, settings, &pair, until);
    } else {
        filter::prolong(tables, settings, now, &pair, until);
    }
}

/// The end of a packet that is not the internal client. Chosen by a mask: of a branch the compiler
/// makes one load from one of two addresses, by arithmetic that the verifier forbids.
#[inline(always)]
fn outer_end(key: &SessionKey) -> (NetAddr, NetPort) {
    let src = (key.side() as u16).wrapping_neg();
    let choose = |of_src: u16, of_dst: u16| (of_src & src) | (of_dst & !src);
    let addr = [choose(key.src.0[0], key.dst.0[0]), choose(key.src.0[1], key.dst.0[1])];
    (NetAddr(addr), NetPort(choose(key.src_port.0, key.dst_port.0)))
}

/// Until when the port forward of a slot, if there is one, lets `remote` in; `BootTime(0)`: not at all.
///
/// A port with listed remotes has its wildcard, if any, in the list too, so that each ends at its own
/// second; or filters in its place.
#[inline(always)]
pub fn lease<T: Tables>(
    tables: &T,
    index: u32,
    slot: &PortSlot,
    owner: Owner,
    remote: (NetAddr, NetPort),
) -> BootTime {
    if !owner.has(Owner::LISTED_REMOTES) {
        return if owner.has(Owner::ANY_REMOTE) { slot.lease() } else { BootTime(0) };
    }
    tables.listed(index, owner.has(Owner::FILTERED), remote)
}

/// Until when the list of a port forward lets `remote` in, or its filters if it has any.
#[inline(always)]
pub fn listed<T: Tables>(
    tables: &T,
    index: u32,
    filtered: bool,
    remote: (NetAddr, NetPort),
) -> BootTime {
    let until = |remote| tables.remote(&RemoteKey { slot: index, remote }).unwrap_or_default();
    let any = if filtered { tables.filtered(index, remote) } else { until(NetAddr::UNSPECIFIED) };
    let listed = until(remote.0);
    if listed > any { listed } else { any }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::{ACKED, FIN_INSIDE, FIN_OUTSIDE, RESET, SEEN_INSIDE, SEEN_OUTSIDE};

    /// State after packets (flags, sent by the outside) of a connection.
    fn after(opened_outside: bool, packets: &[(u8, bool)]) -> u64 {
        packets
            .iter()
            .fold(0, |state, (flags, outside)| state | tcp_bits(*flags, *outside, opened_outside))
    }

    const SYN_ACK: u8 = tcp::SYN | tcp::ACK;

    #[test]
    fn a_handshake_establishes_from_either_side() {
        for opened_outside in [false, true] {
            let opener = opened_outside;
            let half = [(tcp::SYN, opener), (SYN_ACK, !opener)];
            assert!(!is_established(after(opened_outside, &half)));
            let full = [(tcp::SYN, opener), (SYN_ACK, !opener), (tcp::ACK, opener)];
            assert!(is_established(after(opened_outside, &full)));
        }
    }

    #[test]
    fn a_simultaneous_open_establishes() {
        let packets = [
            (tcp::SYN, false),
            (tcp::SYN, true),
            (SYN_ACK, true),
            (SYN_ACK, false),
            (tcp::ACK, false),
        ];
        assert!(is_established(after(false, &packets)));
    }

    #[test]
    fn half_closed_is_established_and_closed_is_not() {
        let open = SEEN_INSIDE | SEEN_OUTSIDE | ACKED;
        assert!(is_established(open | FIN_INSIDE));
        assert!(!is_established(open | FIN_INSIDE | FIN_OUTSIDE));
        assert!(!is_established(open | RESET));
    }

    #[test]
    fn syn_flood_through_a_forward_establishes_nothing() {
        assert!(!is_established(after(true, &[(tcp::SYN, true), (SYN_ACK, false)])));
    }
}
