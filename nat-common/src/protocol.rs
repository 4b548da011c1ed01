//! The protocols that are translated.

/// A protocol that the NAT translates. The number is its row in the port table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// IP protocol 6.
    Tcp = 0,
    /// IP protocol 17.
    Udp = 1,
    /// ICMP queries (IP protocol 1), by their identifier (RFC 5508).
    Icmp = 2,
}

impl Protocol {
    /// How many there are.
    pub const COUNT: u32 = 3;
    /// All of them, in the order of the port table's rows.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Icmp];

    /// By IP protocol number.
    #[inline(always)]
    pub const fn from_ip(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            1 => Some(Self::Icmp),
            _ => None,
        }
    }

    /// The name by which people know it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Icmp => "ICMP",
        }
    }
}
