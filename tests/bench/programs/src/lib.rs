//! What the benchmark and its XDP programs share.
#![no_std]

/// What [`generate`](PROGRAMS_GENERATE) sends. Addresses and ports are in network byte order where nothing
/// else is said, sums are of 16-bit words in network byte order, not folded.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Plan {
    /// Index of the interface by which frames leave.
    pub device: u32,
    /// How many internal endpoints take turns, host byte order.
    pub endpoints: u32,
    /// How many remote hosts each of them talks to in turn, host byte order.
    pub remotes: u32,
    /// One of [`OUTBOUND`], [`INBOUND`], [`HAIRPIN`].
    pub direction: u32,
    /// Address of the first internal client, host byte order; there are [`CLIENTS`].
    pub client: u32,
    /// The first remote host, host byte order.
    pub remote: u32,
    /// The external address, host byte order.
    pub external: u32,
    /// Port of all remote hosts, host byte order.
    pub remote_port: u32,
    /// Sum of all words of the IP header but addresses and checksum.
    pub ip_sum: u32,
    /// Sum of all words of the transport's header and pseudo-header but addresses, ports and checksum.
    pub transport_sum: u32,
    /// Offset of the transport's checksum in the frame, bytes.
    pub checksum_at: u32,
    /// The first internal endpoint, as a number, host byte order.
    pub first_endpoint: u32,
    /// How many endpoints in a row use the same port: 1, or [`CLIENTS`].
    pub endpoints_a_port: u32,
    /// Bytes of IP payload in the first of two fragments, by eights, host byte order; 0: packets are whole.
    pub first_fragment: u32,
    /// The first 24 bytes of a frame: Ethernet header, and IP header up to its checksum.
    pub head: [u16; 12],
    /// All of a frame between the ports and its end that is not 0: the words from offset 38 on.
    pub transport: [u16; 8],
    /// The VLAN tags between the MAC addresses and the EtherType, as many as the program puts there.
    pub tags: [u16; 4],
}

/// From the internal endpoints to the remote hosts.
pub const OUTBOUND: u32 = 0;
/// From the remote hosts to the external ports.
pub const INBOUND: u32 = 1;
/// From each internal endpoint to the external port of the next one.
pub const HAIRPIN: u32 = 2;

/// Internal clients; a power of two.
pub const CLIENTS: u32 = 128;
/// Port of the first internal endpoint. The next one has the next port, so that each can keep its own.
pub const FIRST_PORT: u32 = 1_024;

/// Where [`ceiling`](PROGRAMS_CEILING) sends frames.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Hop {
    /// Index of the interface.
    pub device: u32,
    /// Destination and source MAC address.
    pub macs: [u16; 6],
    /// VLAN tags, as many as the program finds in a frame.
    pub tags: [u16; 4],
}

/// Write a frame anew, and send it: for live frames of `BPF_PROG_RUN`. By the number of VLAN tags.
pub const PROGRAMS_GENERATE: [&str; 3] = ["generate", "generate_tag", "generate_two_tags"];
/// Counts and drops.
pub const PROGRAM_SINK: &str = "sink";
/// The least that a router can do: MAC addresses and tags, TTL, redirect. By the number of VLAN tags.
pub const PROGRAMS_CEILING: [&str; 3] = ["ceiling", "ceiling_tag", "ceiling_two_tags"];
/// The first of them with the kernel's routing table asked for each packet.
pub const PROGRAM_CEILING_FIB: &str = "ceiling_fib";

/// Array of one [`Plan`].
pub const PLAN: &str = "PLAN";
/// Array of one [`Hop`].
pub const HOP: &str = "HOP";
/// Per-CPU array of one number: frames that came to the sink.
pub const SUNK: &str = "SUNK";
/// Per-CPU array of one word: whose turn it is, endpoint and remote host in 32 bits each.
pub const TURN: &str = "TURN";
/// Per-CPU array of one number: how many datagrams were sent in fragments, times two, and 1 more when the second
/// one of the last is still to come.
pub const PIECES: &str = "PIECES";
