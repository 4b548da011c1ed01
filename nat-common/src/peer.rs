//! What the daemon asks of the packet path's own code for PCP's PEER (RFC 6887 12): a session to one
//! remote peer, as a packet of the internal client's would have made it, but that lasts for a time that
//! was agreed upon.
//!
//! The request is a frame that a program on no interface is run with (`BPF_PROG_RUN`), so that sessions
//! are made and prolonged in place, by the code that packets run. The answer stands in the same frame.

use crate::session::{SessionKey, Side};
use crate::{BootTime, NetAddr, NetPort, Protocol};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum PeerAction {
    /// The session is there until then at least, its external port held, its peer a contact.
    Hold = 0,
    /// The same for a session that there is and that is not over; nothing is made anew.
    Keep = 1,
    /// The session lasts no longer than its own idle time, or ends if no packet has used it.
    LetGo = 2,
}

/// The request, and room for its answer. As many bytes as a frame must have, in 16-bit words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PeerFrame {
    /// The internal client.
    pub client: NetAddr,
    /// The remote peer.
    pub remote: NetAddr,
    /// The client's port.
    pub client_port: NetPort,
    /// The peer's port.
    pub remote_port: NetPort,
    /// TCP or UDP, as a [`Protocol`]'s number.
    pub protocol: u16,
    /// A [`PeerAction`]'s number.
    pub action: u16,
    /// Boot time until which the session is to last, lowest word first.
    pub until: [u16; 4],
    /// Answer: boot time until which it does.
    pub lasts: [u16; 4],
    /// Answer: the external address.
    pub external: NetAddr,
    /// Answer: the external port.
    pub external_port: NetPort,
    /// Answer: 1 when the session was there already.
    pub known: u16,
}

/// Words of a [`PeerFrame`].
pub const PEER_WORDS: usize = core::mem::size_of::<PeerFrame>() / 2;

/// The program has done what was asked. Other numbers say why not: see [`refusal`].
pub const PEER_DONE: u32 = 0;

/// The program's result when the packet path refuses, by the number of the counter that says why.
#[inline(always)]
pub const fn refusal(counter: u32) -> u32 {
    counter + 1
}

impl PeerFrame {
    /// A request.
    pub fn new(action: PeerAction, session: &SessionKey, until: BootTime) -> Self {
        Self {
            client: session.src,
            remote: session.dst,
            client_port: session.src_port,
            remote_port: session.dst_port,
            protocol: session.protocol() as u16,
            action: action as u16,
            until: split(until),
            ..Self::default()
        }
    }

    /// From the words of a frame.
    #[inline(always)]
    pub const fn of_words(words: &[u16; PEER_WORDS]) -> Self {
        let w = words;
        Self {
            client: NetAddr([w[0], w[1]]),
            remote: NetAddr([w[2], w[3]]),
            client_port: NetPort(w[4]),
            remote_port: NetPort(w[5]),
            protocol: w[6],
            action: w[7],
            until: [w[8], w[9], w[10], w[11]],
            lasts: [w[12], w[13], w[14], w[15]],
            external: NetAddr([w[16], w[17]]),
            external_port: NetPort(w[18]),
            known: w[19],
        }
    }

    /// The words of a frame.
    pub const fn words(&self) -> [u16; PEER_WORDS] {
        let (u, l) = (self.until, self.lasts);
        let NetAddr([client, client_low]) = self.client;
        let NetAddr([remote, remote_low]) = self.remote;
        let NetAddr([external, external_low]) = self.external;
        let (client_port, remote_port) = (self.client_port.0, self.remote_port.0);
        let external_port = self.external_port.0;
        [
            client,
            client_low,
            remote,
            remote_low,
            client_port,
            remote_port,
            self.protocol,
            self.action,
            u[0],
            u[1],
            u[2],
            u[3],
            l[0],
            l[1],
            l[2],
            l[3],
            external,
            external_low,
            external_port,
            self.known,
        ]
    }

    /// Writes the answer into the words of a frame.
    #[inline(always)]
    pub const fn answer(
        words: &mut [u16; PEER_WORDS],
        lasts: BootTime,
        external: (NetAddr, NetPort),
        known: bool,
    ) {
        [words[12], words[13], words[14], words[15]] = split(lasts);
        [words[16], words[17]] = external.0.0;
        words[18] = external.1.0;
        words[19] = known as u16;
    }

    /// The session that is asked for, by the key of its client's packets.
    #[inline(always)]
    pub const fn session(&self) -> SessionKey {
        let protocol = if self.protocol == 0 { Protocol::Tcp } else { Protocol::Udp };
        let client = (self.client, self.client_port);
        SessionKey::new(Side::Lan, protocol, client, (self.remote, self.remote_port))
    }

    /// Until when it is to last.
    #[inline(always)]
    pub const fn until(&self) -> BootTime {
        join(self.until)
    }

    /// Until when it lasts, by the answer.
    pub const fn lasts(&self) -> BootTime {
        join(self.lasts)
    }
}

/// A time in words.
#[inline(always)]
pub const fn split(time: BootTime) -> [u16; 4] {
    let word = time.0;
    [word as u16, (word >> 16) as u16, (word >> 32) as u16, (word >> 48) as u16]
}

/// A time from its words.
#[inline(always)]
pub const fn join(words: [u16; 4]) -> BootTime {
    let [a, b, c, d] = words;
    BootTime(a as u64 | (b as u64) << 16 | (c as u64) << 32 | (d as u64) << 48)
}

/// What the daemon keeps of a PEER request that is in force, beside its session. The packet path never
/// asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct PeerRecord {
    /// Boot time until which it is in force.
    pub deadline: u64,
    /// The nonce of whoever has asked for it.
    pub nonce: [u8; 12],
    /// The external address.
    pub external: NetAddr,
    /// The external port.
    pub external_port: NetPort,
    /// The external address's place in the pool.
    pub pool_index: u16,
    /// The NAT generation in which it was made; in another it is void.
    pub nat_generation: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_have_no_padding() {
        assert_eq!((size_of::<PeerFrame>(), align_of::<PeerFrame>()), (40, 2));
        assert_eq!(size_of::<PeerRecord>(), 32);
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let client = (NetAddr::from_octets([10, 0, 0, 2]), NetPort::new(5_600));
        let remote = (NetAddr::from_octets([192, 0, 2, 9]), NetPort::new(53));
        let until = BootTime(0x0123_4567_89ab_cdef);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let session = SessionKey::new(Side::Lan, protocol, client, remote);
            let frame = PeerFrame::new(PeerAction::Hold, &session, until);
            assert_eq!((frame.session(), frame.until()), (session, until));
            let mut words = frame.words();
            assert_eq!(PeerFrame::of_words(&words), frame);
            PeerFrame::answer(&mut words, BootTime(7), remote, true);
            let answered = PeerFrame::of_words(&words);
            assert_eq!(answered.words(), words);
            assert_eq!((answered.lasts(), answered.known), (BootTime(7), 1));
            assert_eq!((answered.external, answered.external_port), remote);
        }
    }
}
