//! PCP's PEER (RFC 6887 12): a session as a packet of the internal client's would have made it, that
//! lasts for an agreed time whether packets flow or not.
//!
//! The daemon asks for it by a frame that never was on a wire ([`PeerFrame`]). It is made here, and not
//! by the daemon, so that limits, ports and checksums are those of packets, and so that what packets are
//! just using changes in place. To the packets themselves it is a session like any other: its deadline
//! lies far off, and so does the end of what holds its port.
//!
//! A call to another internal client by its external endpoint makes no session before there is an
//! answer; there the port is held and the contact noted.

use crate::filter::{self, Pair};
use crate::frame::Frame;
use crate::halves::{ANSWERING, Halves, OPENING, Peer};
use crate::limits;
use crate::mapping;
use crate::tables::{EndpointRequest, Tables};
use crate::track::{is_established, is_live, is_over};
use crate::verdict::{Decision, Step, Verdict, fold, unfold};
use nat_common::maps::NOT_IN_POOL;
use nat_common::peer::{PEER_DONE, PEER_WORDS, PeerAction, PeerFrame, refusal};
use nat_common::ports::{Endpoint, slot_index};
use nat_common::session::{Session, SessionKey, Side, control};
use nat_common::settings::Settings;
use nat_common::{BootTime, Counter};

const KEEP: u16 = PeerAction::Keep as u16;
const LET_GO: u16 = PeerAction::LetGo as u16;

/// Does what a frame asks, and writes the answer into it; tells [`PEER_DONE`], or why not.
#[inline(always)]
pub fn answer<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> u32 {
    let Some(words) = frame.view::<PEER_WORDS>(0) else {
        return refusal(Counter::DropMalformed as u32);
    };
    let request = PeerFrame::of_words(words);
    let Some(settings) = tables.settings() else {
        return refusal(Counter::DropInternal as u32);
    };
    let task = Task {
        settings,
        now: tables.now().in_generation(settings.forward_generation),
        until: request.until(),
        key: request.session(),
        hairpin: false,
    };
    match task.run(tables, request.action) {
        Ok(done) => match frame.view::<PEER_WORDS>(0) {
            Some(words) => {
                PeerFrame::answer(words, done.lasts, mapping::peer(done.external), done.known);
                PEER_DONE
            }
            None => refusal(Counter::DropMalformed as u32),
        },
        Err(verdict) => match verdict.decision() {
            Decision::Pass(counter) | Decision::Drop(counter) => refusal(counter),
            _ => refusal(Counter::DropInternal as u32),
        },
    }
}

/// What came of it.
struct Done {
    /// Until when the session lasts.
    lasts: BootTime,
    /// Its external endpoint, as [`mapping::peer`] reads it.
    external: u64,
    /// Whether it was there before.
    known: bool,
}

/// A request on its way.
struct Task<'a> {
    settings: &'a Settings,
    now: BootTime,
    until: BootTime,
    key: SessionKey,
    /// Whether the peer is an internal client, called by its external endpoint.
    hairpin: bool,
}

impl Task<'_> {
    #[inline(always)]
    fn run<T: Tables>(mut self, tables: &T, action: u16) -> Step<Done> {
        self.hairpin = match tables.external_index(self.key.dst) {
            None => false,
            // The router itself: no packet to it is translated.
            Some(NOT_IN_POOL) => return Err(Verdict::pass(Counter::PassLocal)),
            Some(_) => true,
        };
        if !self.hairpin
            && let Some(session) = tables.session(&self.key)
            && is_live(&session, self.settings, self.now)
            && session.control.get() & control::BOUND_TO_FORWARD == 0
            && let Some(other) =
                tables.session(&session.reverse_key(Side::Wan, self.key.protocol()))
        {
            let external =
                u64::from(session.new_src.to_be32()) << 16 | u64::from(session.new_src_port.0);
            if action == LET_GO {
                self.let_go(tables, external, &session, &other);
            } else if action != KEEP || !is_over(session.control.get()) {
                unfold(self.prolong(tables, external, &session, &other))?;
            }
            let lasts = BootTime(session.deadline.get());
            return Ok(Done { lasts, external, known: true });
        }
        if action != PeerAction::Hold as u16 {
            return Ok(Done { lasts: BootTime(0), external: 0, known: false });
        }
        if !self.hairpin {
            unfold(self.admit(tables))?;
        }
        let external = unfold(tables.external_endpoint(&self.request()))?;
        if !self.hairpin && !self.make(tables, external) {
            self.give_back(tables, external);
            return Err(Verdict::drop(Counter::DropTableFull));
        }
        self.note(tables, external);
        Ok(Done { lasts: self.until, external, known: false })
    }

    #[inline(always)]
    const fn client(&self) -> Endpoint {
        Endpoint { addr: self.key.src, port: self.key.src_port }
    }

    #[inline(always)]
    const fn remote(&self) -> Peer {
        (self.key.dst, self.key.dst_port)
    }

    #[inline(always)]
    fn request(&self) -> EndpointRequest {
        EndpointRequest {
            now: self.now,
            protocol: self.key.protocol(),
            endpoint: self.client(),
            remote: self.remote(),
            hold: self.until,
        }
    }

    /// The slot of an external endpoint.
    #[inline(always)]
    fn index<T: Tables>(&self, tables: &T, external: u64) -> Option<u32> {
        let (addr, port) = mapping::peer(external);
        let pool_index = tables.external_index(addr).filter(|index| *index != NOT_IN_POOL)?;
        Some(slot_index(pool_index, self.key.protocol(), port.get()))
    }

    /// Asks whether the client may have one session more. The verdict folded, else 0.
    #[inline(never)]
    fn admit<T: Tables>(&self, tables: &T) -> u64 {
        fold(limits::admit(tables, self.settings, self.now, self.key.src, true).map(|()| 0))
    }

    /// Has both halves last until then at least: first the port, then the session. The verdict folded,
    /// else 0.
    #[inline(never)]
    fn prolong<T: Tables>(
        &self,
        tables: &T,
        external: u64,
        session: &Session,
        other: &Session,
    ) -> u64 {
        let slot = self.index(tables, external).and_then(|index| tables.slot(index));
        let held =
            slot.is_some_and(|slot| slot.open_inside(self.now, self.client(), self.until).is_ok());
        if !held {
            return fold(Err(Verdict::drop(Counter::DropUnmapped)));
        }
        for half in [other, session] {
            if half.deadline.get() < self.until.0 {
                half.deadline.set(self.until.0);
            }
        }
        self.note(tables, external);
        0
    }

    /// Ends what was agreed upon: a session that packets have used lasts as if one had just come.
    #[inline(never)]
    fn let_go<T: Tables>(&self, tables: &T, external: u64, session: &Session, other: &Session) {
        let established = is_established(session.control.get());
        let timeout = self.settings.timeout(self.key.protocol(), established);
        let idle = self.settings.deadline(self.now, timeout);
        // A half has a next hop from its first packet on.
        let used = session.hop.get() | other.hop.get() != 0;
        // At once, and not now: the clocks of CPUs differ by a tick.
        let end = if used { idle } else { BootTime(0) };
        for half in [session, other] {
            if half.deadline.get() > end.0 {
                half.deadline.set(end.0);
            }
        }
        if let Some(slot) = self.index(tables, external) {
            // Other sessions to that host may live by it.
            filter::shorten(tables, self.settings, &self.pair(slot), idle);
        }
    }

    /// Makes both halves; `false` when there is no room.
    #[inline(always)]
    fn make<T: Tables>(&self, tables: &T, external: u64) -> bool {
        limits::count_session(tables, self.settings, self.key.src, limits::ONE);
        let made = self.insert::<ANSWERING, T>(tables, external);
        if made && self.insert::<OPENING, T>(tables, external) {
            tables.count(Counter::SessionsCreated, 1);
            return true;
        }
        if made {
            self.withdraw(tables, external);
        }
        limits::count_session(tables, self.settings, self.key.src, limits::NOT_ONE);
        false
    }

    #[inline(never)]
    fn insert<const HALF: bool, T: Tables>(&self, tables: &T, external: u64) -> bool {
        let (session, key) = self.halves(external).half::<HALF>();
        tables.insert_session(&key, session).is_ok()
    }

    #[inline(never)]
    fn withdraw<T: Tables>(&self, tables: &T, external: u64) {
        let (_, key) = self.halves(external).half::<ANSWERING>();
        tables.remove_session(&key);
    }

    #[inline(always)]
    fn halves(&self, external: u64) -> Halves {
        Halves {
            protocol: self.key.protocol(),
            tcp_flags: 0,
            opener_side: Side::Lan,
            called_side: Side::Wan,
            opener: (self.key.src, self.key.src_port),
            opener_seen: mapping::peer(external),
            called: self.remote(),
            called_seen: self.remote(),
            flags: 0,
            generation: self.settings.nat_generation,
            deadline: self.until,
        }
    }

    /// Without a session nothing holds the port for longer than packets would.
    #[inline(never)]
    fn give_back<T: Tables>(&self, tables: &T, external: u64) {
        let timeout = self.settings.timeout(self.key.protocol(), false);
        let usual = self.settings.deadline(self.now, timeout);
        if let Some(slot) = self.index(tables, external).and_then(|index| tables.slot(index)) {
            slot.shorten(self.until, usual);
        }
    }

    /// Notes the peer as a contact, where filtering asks for that.
    #[inline(never)]
    fn note<T: Tables>(&self, tables: &T, external: u64) {
        if let Some(slot) = self.index(tables, external) {
            filter::note(tables, self.settings, &self.pair(slot), self.until);
        }
    }

    #[inline(always)]
    const fn pair(&self, slot: u32) -> Pair {
        Pair {
            protocol: self.key.protocol(),
            hairpin: self.hairpin,
            slot,
            client: self.client(),
            remote: self.remote(),
        }
    }
}

#[cfg(test)]
mod tests;
