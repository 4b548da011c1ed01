//! A client of PCP and NAT-PMP whose messages are made by hand: it shares nothing with the gateway's
//! codecs, and can misbehave.

use crate::lab::Namespace;
use anyhow::{Result, bail, ensure};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// Where servers listen.
pub const PORT: u16 = 5351;
/// Where announcements go.
pub const ANNOUNCEMENTS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 1), 5350);
/// The numbers of the protocols.
pub const TCP: u8 = 6;
/// UDP's.
pub const UDP: u8 = 17;
/// The nonce of who has not said another one.
pub const NONCE: [u8; 12] = *b"nonceNONCE12";

/// How long somebody waits who expects no answer.
const SILENCE: Duration = Duration::from_millis(700);
/// How long a client asks that expects an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Until it asks for the second time; then twice as long (RFC 6887 8.1.1, whose 3 s are long here).
const RETRANSMISSION: Duration = Duration::from_millis(250);

/// A MAP request.
#[derive(Clone, Debug)]
pub struct Map {
    /// The client's address, as the request says it.
    pub client: Ipv4Addr,
    /// The mapping's nonce.
    pub nonce: [u8; 12],
    /// TCP or UDP.
    pub protocol: u8,
    /// The client's port.
    pub internal: u16,
    /// The port that would be liked.
    pub external: u16,
    /// Seconds.
    pub lifetime: u32,
    /// Encoded options.
    pub options: Vec<u8>,
}

impl Map {
    /// For a UDP port of a client.
    pub fn udp(client: Ipv4Addr, internal: u16, external: u16, lifetime: u32) -> Self {
        let options = Vec::new();
        Self { client, nonce: NONCE, protocol: UDP, internal, external, lifetime, options }
    }

    /// The datagram.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = header(1, self.lifetime, self.client);
        frame.extend(self.nonce);
        frame.extend([self.protocol, 0, 0, 0]);
        frame.extend(self.internal.to_be_bytes());
        frame.extend(self.external.to_be_bytes());
        frame.extend(mapped(Ipv4Addr::UNSPECIFIED));
        frame.extend(&self.options);
        frame
    }

    /// The same with a FILTER: an IPv4 network, and a remote port (0: all).
    #[must_use]
    pub fn filter(mut self, network: Ipv4Addr, prefix: u8, port: u16) -> Self {
        self.options.extend([3, 0, 0, 20, 0, 96 + prefix]);
        self.options.extend(port.to_be_bytes());
        self.options.extend(mapped(network));
        self
    }

    /// The same with the FILTER that takes all others away.
    #[must_use]
    pub fn no_filter(mut self) -> Self {
        self.options.extend([3, 0, 0, 20, 0, 0, 0, 0]);
        self.options.extend(mapped(Ipv4Addr::UNSPECIFIED));
        self
    }

    /// The same with PREFER_FAILURE.
    #[must_use]
    pub fn prefer_failure(mut self) -> Self {
        self.options.extend([2, 0, 0, 0]);
        self
    }
}

/// A PEER request.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The client's address, as the request says it.
    pub client: Ipv4Addr,
    /// The nonce.
    pub nonce: [u8; 12],
    /// TCP or UDP.
    pub protocol: u8,
    /// The client's port.
    pub internal: u16,
    /// The external port that would be liked; 0: whichever.
    pub external: u16,
    /// The remote peer.
    pub remote: SocketAddrV4,
    /// Seconds.
    pub lifetime: u32,
}

impl Peer {
    /// For a UDP port of a client.
    pub fn udp(client: Ipv4Addr, internal: u16, remote: SocketAddrV4, lifetime: u32) -> Self {
        Self { client, nonce: NONCE, protocol: UDP, internal, external: 0, remote, lifetime }
    }

    /// The datagram.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = header(2, self.lifetime, self.client);
        frame.extend(self.nonce);
        frame.extend([self.protocol, 0, 0, 0]);
        frame.extend(self.internal.to_be_bytes());
        frame.extend(self.external.to_be_bytes());
        frame.extend(mapped(Ipv4Addr::UNSPECIFIED));
        frame.extend(self.remote.port().to_be_bytes());
        frame.extend([0; 2]);
        frame.extend(mapped(*self.remote.ip()));
        frame
    }
}

/// The header of a request.
pub fn header(opcode: u8, lifetime: u32, client: Ipv4Addr) -> Vec<u8> {
    let mut header = vec![2, opcode, 0, 0];
    header.extend(lifetime.to_be_bytes());
    header.extend(mapped(client));
    header
}

/// An IPv4 address as IPv6 has it.
fn mapped(address: Ipv4Addr) -> [u8; 16] {
    address.to_ipv6_mapped().octets()
}

/// An answer of PCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer(pub Vec<u8>);

impl Answer {
    /// Its result code.
    pub fn result(&self) -> u8 {
        self.octets::<1>(3)[0]
    }

    /// Seconds that it holds.
    pub fn lifetime(&self) -> u32 {
        self.number(4)
    }

    /// Epoch Time.
    pub fn epoch(&self) -> u32 {
        self.number(8)
    }

    /// The external endpoint that was assigned.
    pub fn external(&self) -> SocketAddrV4 {
        let [a, b, c, d] = self.number(56).to_be_bytes();
        let port = u16::from_be_bytes(self.octets(42));
        SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port)
    }

    /// The remote peer of PEER.
    pub fn remote(&self) -> SocketAddrV4 {
        let [a, b, c, d] = self.number(76).to_be_bytes();
        SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes(self.octets(60)))
    }

    /// Octets of it; zeros where it has none.
    fn octets<const N: usize>(&self, at: usize) -> [u8; N] {
        let octets = self.0.get(at..at + N).and_then(|octets| octets.try_into().ok());
        octets.unwrap_or([0; N])
    }

    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.octets(at))
    }
}

/// Whether an answer is about a request: it echoes the opcode, and of MAP and PEER the nonce, the
/// protocol and the internal port (RFC 6887 8.3, 11.4, 12.4).
fn is_about(answer: &[u8], request: &[u8]) -> bool {
    let echoed = |octets: std::ops::Range<usize>| match request.get(octets.clone()) {
        Some(asked) => answer.get(octets) == Some(asked),
        None => true,
    };
    match request {
        [version, opcode, ..] => {
            let mapping = *version == 2 && matches!(opcode, 1 | 2);
            answer.get(1) == Some(&(opcode | 0x80))
                && (!mapping || (echoed(24..37) && echoed(40..42)))
        }
        _ => true,
    }
}

/// A client of one server.
#[derive(Debug)]
pub struct Client<'a> {
    /// A socket for datagrams whose answers nobody waits for.
    pub socket: UdpSocket,
    /// How long it asks before it gives up.
    pub patience: Duration,
    namespace: &'a Namespace,
    address: Ipv4Addr,
    server: SocketAddrV4,
}

impl<'a> Client<'a> {
    /// From `address` to the server at another.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub fn new(namespace: &'a Namespace, address: Ipv4Addr, server: Ipv4Addr) -> Result<Self> {
        let socket = namespace.udp(&SocketAddrV4::new(address, 0).to_string())?;
        let server = SocketAddrV4::new(server, PORT);
        Ok(Self { socket, patience: PATIENCE, namespace, address, server })
    }

    /// Sends a datagram until it is answered, which has to be by the server. Each request has a socket
    /// of its own, so that no late answer to a former one is taken for its answer.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn ask(&self, frame: &[u8]) -> Result<Answer> {
        let socket = self.namespace.udp(&SocketAddrV4::new(self.address, 0).to_string())?;
        let (end, mut pause) = (Instant::now() + self.patience, RETRANSMISSION);
        while Instant::now() < end {
            socket.send_to(frame, self.server)?;
            let again = end.min(Instant::now() + pause);
            pause *= 2;
            while let Some(answer) = self.hear(&socket, again)? {
                if is_about(&answer, frame) {
                    return Ok(Answer(answer));
                }
            }
        }
        bail!("no answer from {}", self.server)
    }

    /// What the server has to say before `end`.
    fn hear(&self, socket: &UdpSocket, end: Instant) -> Result<Option<Vec<u8>>> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        let mut buffer = [0; 2_000];
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                ensure!(from == SocketAddr::from(self.server), "an answer of {from}");
                Ok(Some(buffer.get(..length).unwrap_or_default().to_vec()))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a datagram to which nothing may be answered.
    ///
    /// # Errors
    /// When something is.
    pub fn is_ignored(&self, frame: &[u8]) -> Result<bool> {
        let socket = self.namespace.udp(&SocketAddrV4::new(self.address, 0).to_string())?;
        socket.send_to(frame, self.server)?;
        Ok(self.hear(&socket, Instant::now() + SILENCE)?.is_none())
    }

    /// Asks for UDP ports by MAP, from internal to external.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn map(&self, internal: u16, external: u16, lifetime: u32) -> Result<Answer> {
        self.ask(&Map::udp(self.address, internal, external, lifetime).frame())
    }

    /// ANNOUNCE.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn announce(&self) -> Result<Answer> {
        self.ask(&header(0, 0, self.address))
    }
}
