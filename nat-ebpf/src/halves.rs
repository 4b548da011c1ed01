//! The two halves of a session: one entry for each direction, found by the packet's own five-tuple.

use crate::checksum::Delta;
use crate::track::tcp_bits;
use nat_common::atomic::Word64;
use nat_common::session::{Session, SessionKey, Side, control};
use nat_common::{BootTime, NetAddr, NetPort, Protocol};

/// Address and port of one end.
pub type Peer = (NetAddr, NetPort);

/// A session to be made, as four endpoints: who opened it and whom it called, each as it is and as the
/// other one sees it.
pub struct Halves {
    /// The protocol.
    pub protocol: Protocol,
    /// Flags of the TCP packet that opens it.
    pub tcp_flags: u8,
    /// Where the opener's packets are seen.
    pub opener_side: Side,
    /// Where the called one's packets are seen.
    pub called_side: Side,
    /// The opener.
    pub opener: Peer,
    /// The opener, as the called one sees it.
    pub opener_seen: Peer,
    /// The called one.
    pub called: Peer,
    /// The called one, as the opener sees it.
    pub called_seen: Peer,
    /// Bits of [`Session::control`] that both halves have.
    pub flags: u64,
    /// NAT or forward generation.
    pub generation: u32,
    /// When the session ends.
    pub deadline: BootTime,
}

impl Halves {
    /// The half for the called one's packets ([`ANSWERING`]) or for the opener's ([`OPENING`]).
    #[inline(always)]
    pub fn half<const HALF: bool>(&self) -> (Session, SessionKey) {
        let (side, src, new_src, dst, new_dst) = if HALF == ANSWERING {
            (self.called_side, self.called, self.called_seen, self.opener_seen, self.opener)
        } else {
            (self.opener_side, self.opener, self.opener_seen, self.called_seen, self.called)
        };
        let opened_outside = self.flags & control::OPENED_OUTSIDE != 0;
        let direction =
            if (HALF == ANSWERING) == opened_outside { 0 } else { control::TOWARDS_INSIDE };
        let state = match self.protocol {
            Protocol::Tcp => tcp_bits(self.tcp_flags, opened_outside, opened_outside),
            _ => 0,
        };
        let addresses = Delta::default().words(src.0.0, new_src.0.0).words(dst.0.0, new_dst.0.0);
        let checked = match self.protocol {
            // ICMP's checksum has no pseudo-header.
            Protocol::Icmp => Delta::default(),
            _ => addresses,
        };
        let generation = u64::from(self.generation) << control::GENERATION_SHIFT;
        let session = Session {
            deadline: Word64::new(self.deadline.0),
            hop: Word64::new(0),
            control: Word64::new(generation | self.flags | direction | state),
            new_src: new_src.0,
            new_dst: new_dst.0,
            new_src_port: new_src.1,
            new_dst_port: new_dst.1,
            ip_delta: addresses.ttl().fold(),
            l4_delta: checked.word(src.1.0, new_src.1.0).word(dst.1.0, new_dst.1.0).fold(),
        };
        (session, SessionKey::new(side, self.protocol, src, dst))
    }
}

/// The half for the called one's packets.
pub const ANSWERING: bool = true;
/// The half for the opener's packets.
pub const OPENING: bool = false;
