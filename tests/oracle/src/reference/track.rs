//! How long sessions live.

use super::{Half, Key, Reference, Side};
use nat_ebpf::host::packet::{Peer, protocol};

/// An external port that a session needs, whose it must be, and who calls there.
#[derive(Clone, Copy)]
pub(super) struct Need {
    pub(super) external: Peer,
    pub(super) owner: Peer,
    pub(super) remote: Peer,
}

impl Half {
    /// What the internal client needs whose packets this half translates, or gets them.
    fn need(&self, key: &Key) -> Need {
        match key.side {
            Side::Lan => Need { external: self.new_src, owner: key.src, remote: self.new_dst },
            Side::Wan => Need { external: key.dst, owner: self.new_dst, remote: key.src },
        }
    }
}

impl Reference {
    /// What the client needs that was called, of a session that a port forward has let in.
    fn need_of_called(&self, key: &Key) -> Option<Need> {
        let half = self.halves.get(key)?;
        if half.hairpin && !half.answering {
            return Some(self.halves.get(&half.other)?.need(&half.other));
        }
        Some(half.need(key))
    }

    /// Whether a session still counts. One that is bound to a forward does, when another forward went
    /// away, only if its own still lets the caller in.
    pub(super) fn is_live(&mut self, key: &Key) -> bool {
        let Some(half) = self.halves.get(key).copied() else { return false };
        if half.deadline <= self.now {
            return false;
        }
        if !half.bound {
            return half.generation == self.nat_generation;
        }
        if half.generation == self.forward_generation {
            return true;
        }
        let Some(need) = self.need_of_called(key) else { return false };
        let until = self.ports.let_in_until(self.now, key.protocol, &need);
        if until <= self.now || !self.halves.contains_key(&half.other) {
            return false;
        }
        for key in [*key, half.other] {
            if let Some(half) = self.halves.get_mut(&key) {
                half.deadline = half.deadline.min(until);
                half.generation = self.forward_generation;
            }
        }
        true
    }

    /// A packet of a session is sent on: packets of internal clients keep it alive, and so does
    /// whatever changes a connection's state. `false`: its port is somebody else's.
    pub(super) fn follow(&mut self, key: &Key, flags: u8) -> bool {
        let half = self.halves[key];
        let mut connection = half.connection;
        if key.protocol == protocol::TCP {
            // Of two internal clients the one that was called is the outside.
            let by_outside = half.answering != half.opened_outside;
            if connection.is_reopened_by(flags) {
                connection = super::Connection::default();
            }
            connection.note(flags, by_outside, half.opened_outside);
        }
        let changed = connection != half.connection;
        let is_query = key.protocol == protocol::ICMP;
        let by_client = key.side == Side::Lan && !(is_query && half.answering && half.hairpin);
        if !changed && !by_client {
            return true;
        }
        let idle = self.idle_time(key.protocol, &connection);
        let mut deadline = self.now + idle + idle / 16;
        if !changed && deadline.saturating_sub(half.deadline) <= idle / 16 {
            return true;
        }
        let other = self.halves.get(&half.other).copied();
        let other = other.filter(|other| other.new_dst == key.src);
        if half.bound
            && let Some(need) = self.need_of_called(key)
        {
            deadline = deadline.min(self.ports.let_in_until(self.now, key.protocol, &need));
        }
        // Half a session is none, and holds nothing.
        let Some(other) = other else {
            self.halves.insert(*key, Half { deadline: 0, ..half });
            return true;
        };
        let mut needs = vec![half.need(key)];
        if half.hairpin && !is_query {
            needs.push(other.need(&half.other));
        }
        let held = needs.iter().all(|need| {
            self.ports.extend(self.now, key.protocol, need.external, need.owner, deadline)
        });
        // Nor is one whose port is somebody else's. What was not seen now is not told to the other half,
        // which may be that of another session between the same two by another port.
        let told = |half: Half| Half {
            deadline: if held { deadline } else { 0 },
            connection: if held && changed { connection } else { half.connection },
            ..half
        };
        self.halves.insert(*key, told(half));
        self.halves.insert(half.other, told(other));
        self.stays_in_contact(key, &told(half));
        if half.hairpin && !is_query {
            self.stays_in_contact(&half.other, &told(other));
        }
        held
    }
}
