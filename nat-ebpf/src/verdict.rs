//! Verdicts and routes, each packed into one word.
//!
//! BPF functions return one register, and the verifier refuses to store a register that was never
//! written, which is how compilers like to treat the unused parts of an `enum` with fields. So what
//! travels between functions here is a word of which every bit is defined; [`Verdict::decision`] and
//! [`Route::decode`] unfold it where it is used.

use nat_common::Counter;

/// What becomes of a packet, packed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Verdict(u64);

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Left to the kernel as it came; counted by this [`Counter`]'s number.
    Pass(u32),
    /// Dropped; counted by this [`Counter`]'s number.
    Drop(u32),
    /// Translated, to be sent by a link.
    Send {
        /// Index of the link.
        link: u8,
    },
    /// Translated, to be sent by a link once the kernel has found the neighbour's MAC address.
    Resolve {
        /// Index of the link.
        link: u8,
    },
    /// A fragment that came before the first one of its packet: the daemon keeps it. The packet path
    /// counts it when the daemon has it.
    Keep {
        /// Whether the kernel gets it too.
        pass: bool,
    },
    /// Translated, to be sent to everybody by every LAN link.
    Broadcast,
}

/// Set in every verdict and in nothing else that functions return.
const IS_VERDICT: u64 = 1 << 63;

const PASS: u64 = 0;
const DROP: u64 = 1;
const SEND: u64 = 2;
const RESOLVE: u64 = 3;
const KEEP: u64 = 4;
const BROADCAST: u64 = 5;
const KIND: u64 = 7;
const VALUE_SHIFT: u32 = 8;

impl Verdict {
    /// See [`Decision::Pass`].
    #[inline(always)]
    pub const fn pass(counter: Counter) -> Self {
        Self::new(PASS, counter as u64)
    }

    /// See [`Decision::Drop`].
    #[inline(always)]
    pub const fn drop(counter: Counter) -> Self {
        Self::new(DROP, counter as u64)
    }

    /// See [`Decision::Send`].
    #[inline(always)]
    pub const fn send(link: u8) -> Self {
        Self::new(SEND, link as u64)
    }

    /// See [`Decision::Resolve`].
    #[inline(always)]
    pub const fn resolve(link: u8) -> Self {
        Self::new(RESOLVE, link as u64)
    }

    /// See [`Decision::Keep`].
    #[inline(always)]
    pub const fn keep(pass: bool) -> Self {
        Self::new(KEEP, pass as u64)
    }

    /// See [`Decision::Broadcast`].
    #[inline(always)]
    pub const fn broadcast() -> Self {
        Self::new(BROADCAST, 0)
    }

    #[inline(always)]
    const fn new(kind: u64, value: u64) -> Self {
        Self(IS_VERDICT | value << VALUE_SHIFT | kind)
    }

    /// Unfolded.
    #[inline(always)]
    pub const fn decision(self) -> Decision {
        let value = self.0 >> VALUE_SHIFT;
        match self.0 & KIND {
            PASS => Decision::Pass(value as u32),
            DROP => Decision::Drop(value as u32),
            SEND => Decision::Send { link: value as u8 },
            KEEP => Decision::Keep { pass: value & 1 != 0 },
            BROADCAST => Decision::Broadcast,
            _ => Decision::Resolve { link: value as u8 },
        }
    }
}

impl core::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let name = |number: u32| Counter::ALL.get(number as usize).map_or("?", |c| c.name());
        match self.decision() {
            Decision::Pass(number) => write!(f, "Pass({})", name(number)),
            Decision::Drop(number) => write!(f, "Drop({})", name(number)),
            Decision::Send { link } => write!(f, "Send({link})"),
            Decision::Resolve { link } => write!(f, "Resolve({link})"),
            Decision::Keep { pass } => write!(f, "Keep(pass: {pass})"),
            Decision::Broadcast => write!(f, "Broadcast"),
        }
    }
}

/// A word that one function returns to another, or the verdict that ends the packet's way.
pub type Step<T> = Result<T, Verdict>;

/// Folds a step into one word; `value` must leave the highest bit alone.
#[inline(always)]
pub const fn fold(step: Step<u64>) -> u64 {
    match step {
        Ok(value) => value,
        Err(verdict) => verdict.0,
    }
}

/// The reverse of [`fold`].
///
/// # Errors
/// The verdict that was folded.
#[inline(always)]
pub const fn unfold(word: u64) -> Step<u64> {
    if word & IS_VERDICT == 0 { Ok(word) } else { Err(Verdict(word)) }
}

/// Where packets for an address go, packed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Route(u64);

/// Where packets for an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By one of the NAT's links, to this MAC address.
    Link {
        /// Index of the link, below 64.
        link: u8,
        /// Destination MAC address, as it stands in a frame.
        mac: [u16; 3],
    },
    /// By one of the NAT's links, to a neighbour whose MAC address is not known yet.
    Unresolved {
        /// Index of the link, below 64.
        link: u8,
    },
    /// By an interface that is not the NAT's.
    Elsewhere,
    /// To the router itself, or a broadcast.
    Local,
    /// To everybody in every LAN.
    EveryLan,
    /// Nowhere.
    None,
}

const NONE: u64 = 0;
const LOCAL: u64 = 1;
const ELSEWHERE: u64 = 2;
const UNRESOLVED: u64 = 3;
const LINK: u64 = 4;
const EVERY_LAN: u64 = 5;
const WAY: u64 = 7;
const LINK_SHIFT: u32 = 3;
const LINK_MASK: u64 = 0x3f;
const MAC_SHIFT: u32 = 9;

impl Route {
    /// Nobody has asked yet, or there is nothing to ask for.
    pub const UNKNOWN: Self = Self(WAY);

    /// Packs a way.
    #[inline(always)]
    pub const fn new(way: Way) -> Self {
        Self(match way {
            Way::None => NONE,
            Way::Local => LOCAL,
            Way::Elsewhere => ELSEWHERE,
            Way::EveryLan => EVERY_LAN,
            Way::Unresolved { link } => (link as u64) << LINK_SHIFT | UNRESOLVED,
            Way::Link { link, mac } => {
                mac_word(mac) << MAC_SHIFT | (link as u64) << LINK_SHIFT | LINK
            }
        })
    }

    /// Unfolded.
    #[inline(always)]
    pub const fn decode(self) -> Way {
        match self.0 & WAY {
            NONE => Way::None,
            LOCAL => Way::Local,
            ELSEWHERE => Way::Elsewhere,
            EVERY_LAN => Way::EveryLan,
            UNRESOLVED => Way::Unresolved { link: self.link() },
            LINK => Way::Link { link: self.link(), mac: word_mac(self.mac()) },
            _ => Way::None,
        }
    }

    /// Whether it leads by one of the NAT's links.
    #[inline(always)]
    pub const fn is_link(self) -> bool {
        matches!(self.0 & WAY, UNRESOLVED | LINK)
    }

    /// Whether the MAC address is known.
    #[inline(always)]
    pub const fn is_resolved(self) -> bool {
        self.0 & WAY == LINK
    }

    /// Whether it leads to everybody in every LAN.
    #[inline(always)]
    pub const fn is_every_lan(self) -> bool {
        self.0 & WAY == EVERY_LAN
    }

    /// Index of the link.
    #[inline(always)]
    pub const fn link(self) -> u8 {
        (self.0 >> LINK_SHIFT & LINK_MASK) as u8
    }

    /// The MAC address in the low 48 bits.
    #[inline(always)]
    pub const fn mac(self) -> u64 {
        self.0 >> MAC_SHIFT
    }

    /// As a word below the highest bit.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The reverse of [`Self::word`].
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }
}

impl core::fmt::Debug for Route {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.decode().fmt(f)
    }
}

/// A MAC address in the low 48 bits of a word.
#[inline(always)]
pub const fn mac_word(mac: [u16; 3]) -> u64 {
    (mac[0] as u64) << 32 | (mac[1] as u64) << 16 | mac[2] as u64
}

/// The reverse of [`mac_word`].
#[inline(always)]
pub const fn word_mac(word: u64) -> [u16; 3] {
    [(word >> 32) as u16, (word >> 16) as u16, word as u16]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_and_verdicts_survive_packing() {
        let mac = [0xffff, 0x1234, 0xfedc];
        for way in [
            Way::None,
            Way::Local,
            Way::EveryLan,
            Way::Elsewhere,
            Way::Unresolved { link: 63 },
            Way::Link { link: 63, mac },
        ] {
            let route = Route::new(way);
            assert_eq!(route.decode(), way);
            assert_eq!(unfold(fold(Ok(route.word()))), Ok(route.word()));
        }
        let verdict = Verdict::drop(Counter::DropLeak);
        assert_eq!(verdict.decision(), Decision::Drop(Counter::DropLeak as u32));
        assert_eq!(unfold(fold(Err(verdict))), Err(verdict));
        for pass in [false, true] {
            assert_eq!(Verdict::keep(pass).decision(), Decision::Keep { pass });
        }
        assert_eq!(Verdict::broadcast().decision(), Decision::Broadcast);
        assert_eq!(Verdict::send(63).decision(), Decision::Send { link: 63 });
    }
}
