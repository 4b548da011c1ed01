//! A client of PCP and NAT-PMP whose messages are made by hand: it shares nothing with the gateway's
//! codecs, and can misbehave.

use crate::lab::Namespace;
use anyhow::{Context, Result, ensure};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

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

    /// Octets of it; zeros where it has none.
    fn octets<const N: usize>(&self, at: usize) -> [u8; N] {
        let octets = self.0.get(at..at + N).and_then(|octets| octets.try_into().ok());
        octets.unwrap_or([0; N])
    }

    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.octets(at))
    }
}

/// A socket that speaks to one server.
#[derive(Debug)]
pub struct Client {
    /// The socket.
    pub socket: UdpSocket,
    address: Ipv4Addr,
    server: SocketAddrV4,
}

impl Client {
    /// From `address` to the server at another.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub fn new(namespace: &Namespace, address: Ipv4Addr, server: Ipv4Addr) -> Result<Self> {
        let socket = namespace.udp(&SocketAddrV4::new(address, 0).to_string())?;
        Ok(Self { socket, address, server: SocketAddrV4::new(server, PORT) })
    }

    /// Sends a datagram and waits for the answer, which has to come from the server.
    ///
    /// # Errors
    /// When none comes.
    pub fn ask(&self, frame: &[u8]) -> Result<Answer> {
        self.socket.send_to(frame, self.server)?;
        let mut buffer = [0; 2_000];
        let (length, from) = self.socket.recv_from(&mut buffer).context("no answer")?;
        ensure!(from == SocketAddr::from(self.server), "an answer of {from}");
        Ok(Answer(buffer.get(..length).unwrap_or_default().to_vec()))
    }

    /// Sends a datagram to which nothing may be answered.
    ///
    /// # Errors
    /// When something is.
    pub fn is_ignored(&self, frame: &[u8]) -> Result<bool> {
        self.socket.send_to(frame, self.server)?;
        let usual = self.socket.read_timeout()?;
        self.socket.set_read_timeout(Some(SILENCE))?;
        let answer = self.socket.recv(&mut [0; 2_000]);
        self.socket.set_read_timeout(usual)?;
        Ok(answer.is_err())
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
