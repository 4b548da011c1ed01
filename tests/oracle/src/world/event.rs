//! What happens, at random.

use nat_ebpf::host::packet::{Body, Checksum, Packet, Peer, flags, protocol};
use proptest::prelude::*;

/// Something that happens.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "which ones they are, the world knows")]
pub enum Event {
    /// A client sends to a server.
    Out { client: usize, to: usize, shape: Shape },
    /// A server sends to an external port.
    In { from: usize, to: PortPick, shape: Shape },
    /// A client sends to an external port.
    Call { client: usize, to: PortPick, shape: Shape },
    /// Somebody answers a packet that was sent.
    Answer { to: usize, shape: Shape },
    /// A packet pretends to come from elsewhere.
    Spoof { link: u8, src: usize, to: PortPick, shape: Shape },
    /// A server sends to a client's internal address.
    Inwards { from: usize, client: usize, shape: Shape },
    /// A port forward is opened.
    Open { protocol: u8, port: u16, client: usize, lets_in: LetsIn },
    /// A port forward is closed.
    Close(usize),
    /// So many seconds pass.
    Wait(u64),
    /// The connection comes up or goes down.
    Connect(bool),
    /// The daemon looks at what clients have.
    Sweep,
    /// All sessions are void.
    VoidSessions,
    /// Routes may have changed.
    ChangeRoutes,
}

/// An external port.
#[derive(Clone, Copy, Debug)]
pub enum PortPick {
    /// One that somebody has had.
    Known(usize),
    /// This one.
    Any(u16),
}

/// Whom a port forward lets in, for how many seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct LetsIn {
    /// Everybody.
    pub any: Option<u64>,
    /// Of everybody only those of this server's network of that prefix, by the server's port or any.
    pub filter: Option<(usize, u8, bool)>,
    /// One server.
    pub remote: Option<(usize, u64)>,
    /// Nobody: it only holds its port.
    pub disabled: Option<u64>,
}

/// What a packet is like, beside its addresses.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub(super) protocol: u8,
    flags: u8,
    ttl: u8,
    /// Words of IP options.
    options: u8,
    payload: u8,
    padding: u8,
    without_checksum: bool,
    /// In two fragments, if that much of it may be cut off.
    cut: bool,
}

impl Shape {
    /// The same for another protocol.
    pub(super) fn of(self, protocol: u8) -> Self {
        Self { protocol, ..self }
    }

    /// A packet of this shape. An ICMP message is an answer or a question.
    pub(super) fn packet(&self, answers: bool, src: Peer, dst: Peer) -> Packet {
        let mut packet = match self.protocol {
            protocol::TCP => Packet::tcp(src, dst, self.flags),
            protocol::UDP => Packet::udp(src, dst),
            _ if answers => Packet::pong(src.0, dst),
            _ => Packet::ping(src, dst.0),
        };
        if let Body::Udp { payload, .. } | Body::Tcp { payload, .. } | Body::Icmp { payload, .. } =
            &mut packet.body
        {
            *payload = (0..self.payload).map(|byte| byte.wrapping_mul(self.ttl)).collect();
        }
        if let Body::Udp { checksum, .. } = &mut packet.body
            && self.without_checksum
        {
            *checksum = Checksum::None;
        }
        packet.ttl = self.ttl;
        packet.options = vec![1; usize::from(self.options) * 4];
        packet.padding = vec![0; usize::from(self.padding)];
        if self.cut {
            packet.fragment = 0;
        }
        packet
    }
}

fn shape() -> impl Strategy<Value = Shape> {
    let number =
        prop_oneof![4 => Just(protocol::UDP), 4 => Just(protocol::TCP), 2 => Just(protocol::ICMP)];
    let segment = prop_oneof![
        3 => Just(flags::SYN),
        3 => Just(flags::SYN | flags::ACK),
        5 => Just(flags::ACK),
        2 => Just(flags::FIN | flags::ACK),
        1 => Just(flags::RST),
        1 => any::<u8>(),
    ];
    let ttl = prop_oneof![30 => 2_u8.., 1 => 0..=1_u8];
    let options = prop_oneof![8 => Just(0_u8), 1 => 0..=10_u8];
    let (without_checksum, cut) = (prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    (number, segment, ttl, options, 0..12_u8, 0..3_u8, without_checksum, cut).prop_map(
        |(protocol, flags, ttl, options, payload, padding, without_checksum, cut)| Shape {
            protocol,
            flags,
            ttl,
            options,
            payload,
            padding,
            without_checksum,
            cut,
        },
    )
}

fn port() -> impl Strategy<Value = PortPick> {
    prop_oneof![
        8 => any::<usize>().prop_map(PortPick::Known),
        1 => prop_oneof![Just(0), Just(22), Just(68), Just(80), Just(5000), Just(8080), any::<u16>()]
            .prop_map(PortPick::Any),
    ]
}

fn lets_in() -> impl Strategy<Value = LetsIn> {
    let lease = || prop_oneof![Just(30_u64), Just(150), Just(1000)];
    let one = || (0..4_usize, lease());
    let filter = || (0..4_usize, prop_oneof![Just(0), Just(8), Just(24), Just(32)], any::<bool>());
    prop_oneof![
        4 => lease().prop_map(|any| LetsIn { any: Some(any), ..LetsIn::default() }),
        2 => one().prop_map(|one| LetsIn { remote: Some(one), ..LetsIn::default() }),
        2 => (lease(), one()).prop_map(|(any, one)| LetsIn {
            any: Some(any),
            remote: Some(one),
            ..LetsIn::default()
        }),
        2 => (lease(), prop::option::of(one()), filter()).prop_map(|(any, remote, filter)| LetsIn {
            any: Some(any),
            filter: Some(filter),
            remote,
            disabled: None,
        }),
        1 => lease().prop_map(|held| LetsIn { disabled: Some(held), ..LetsIn::default() }),
        1 => (prop::option::of(lease()), prop::option::of(one()), lease())
            .prop_map(|(any, remote, held)| LetsIn {
                any,
                remote,
                disabled: Some(held),
                ..LetsIn::default()
            }),
    ]
}

/// Anything that happens.
pub fn event() -> impl Strategy<Value = Event> {
    let (client, server) = (0..9_usize, 0..4_usize);
    let out = (client.clone(), server.clone(), shape())
        .prop_map(|(client, to, shape)| Event::Out { client, to, shape });
    let incoming = (server.clone(), port(), shape()).prop_map(|(from, to, shape)| Event::In {
        from,
        to,
        shape,
    });
    let call = (client.clone(), port(), shape()).prop_map(|(client, to, shape)| Event::Call {
        client,
        to,
        shape,
    });
    let answer = (0..8_usize, shape()).prop_map(|(to, shape)| Event::Answer { to, shape });
    let spoof = (0..3_u8, any::<usize>(), port(), shape()).prop_map(|(link, src, to, shape)| {
        // In the LAN only the external address is known to be somebody else's.
        let src = if link == super::WAN { src } else { 0 };
        Event::Spoof { link, src, to, shape }
    });
    let inwards = (server.clone(), client.clone(), shape())
        .prop_map(|(from, client, shape)| Event::Inwards { from, client, shape });
    let open = (
        prop_oneof![Just(protocol::UDP), Just(protocol::TCP)],
        prop_oneof![Just(80_u16), Just(5000), Just(8080), Just(0)],
        0..=9_usize,
        lets_in(),
    )
        .prop_map(|(protocol, port, client, lets_in)| Event::Open {
            protocol,
            port,
            client,
            lets_in,
        });
    prop_oneof![
        12 => out,
        8 => incoming,
        6 => call,
        20 => answer,
        1 => spoof,
        1 => inwards,
        4 => open,
        2 => any::<usize>().prop_map(Event::Close),
        6 => prop_oneof![3 => 1..20_u64, 3 => 20..200_u64, 1 => 200..1000_u64].prop_map(Event::Wait),
        1 => prop::bool::weighted(0.8).prop_map(Event::Connect),
        2 => Just(Event::Sweep),
        1 => Just(Event::VoidSessions),
        1 => Just(Event::ChangeRoutes),
    ]
}
