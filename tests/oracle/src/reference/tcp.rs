//! What has been seen of a TCP connection.

use nat_ebpf::host::packet::flags::{ACK, FIN, RST, SYN};

/// Who has said what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Connection {
    inside_spoke: bool,
    outside_spoke: bool,
    /// The opener has answered the answer to its SYN.
    acknowledged: bool,
    inside_finished: bool,
    outside_finished: bool,
    reset: bool,
}

impl Connection {
    /// Both sides have spoken, the handshake is complete, and it is not over.
    pub(super) fn is_established(&self) -> bool {
        self.inside_spoke && self.outside_spoke && self.acknowledged && !self.is_over()
    }

    /// Reset, or closed from both sides.
    pub(super) fn is_over(&self) -> bool {
        self.reset || (self.inside_finished && self.outside_finished)
    }

    /// A segment with these flags was sent by the outside or the inside.
    pub(super) fn note(&mut self, flags: u8, by_outside: bool, opened_outside: bool) {
        let spoke = if by_outside { &mut self.outside_spoke } else { &mut self.inside_spoke };
        *spoke = true;
        if flags & RST != 0 {
            self.reset = true;
            return;
        }
        if flags & FIN != 0 {
            let finished =
                if by_outside { &mut self.outside_finished } else { &mut self.inside_finished };
            *finished = true;
        }
        if flags & ACK != 0 && flags & SYN == 0 && by_outside == opened_outside {
            self.acknowledged = true;
        }
    }

    /// Whether a segment opens it anew.
    pub(super) fn is_reopened_by(&self, flags: u8) -> bool {
        self.is_over() && flags & (SYN | ACK | RST) == SYN
    }
}
