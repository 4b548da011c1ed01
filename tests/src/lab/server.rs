//! Servers for the ends of the lab. They tell their clients from where they were seen.

use super::namespace::Namespace;
use super::stop::StoppableThread;
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::Duration;

/// Hands every datagram that a socket receives to a closure, on a thread of its own.
#[derive(Debug)]
pub struct Receiver {
    _thread: StoppableThread,
}

impl Receiver {
    /// Starts to receive. `each` gets the socket, the datagram and its sender.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        socket: UdpSocket,
        mut each: impl FnMut(&UdpSocket, &[u8], SocketAddr) + Send + 'static,
    ) -> Result<Self> {
        let thread = StoppableThread::spawn(move |stop| {
            let mut buffer = vec![0; 65_536];
            while stop.wait_readable(&socket) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    each(&socket, buffer.get(..length).unwrap_or_default(), from);
                }
            }
        })?;
        Ok(Self { _thread: thread })
    }
}

/// Answers each datagram with the sender's address and port, a space, and the datagram.
#[derive(Debug)]
pub struct UdpReflector {
    _receiver: Receiver,
}

impl UdpReflector {
    /// Starts on `address` in `namespace`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(namespace: &Namespace, address: &str) -> Result<Self> {
        let socket = namespace.udp(address)?;
        let receiver = Receiver::start(socket, |socket, datagram, from| {
            // A client that has gone away is no matter of the server.
            let _ = socket.send_to(&reflection(from, Some(datagram)), from);
        })?;
        Ok(Self { _receiver: receiver })
    }
}

/// Answers everything that it reads from a connection with the peer's address and port, a space, and
/// what it read.
#[derive(Debug)]
pub struct TcpReflector {
    _thread: StoppableThread,
}

impl TcpReflector {
    /// Starts on `address` in `namespace`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(namespace: &Namespace, address: &str) -> Result<Self> {
        let listener = namespace.tcp_listener(address)?;
        let thread = StoppableThread::spawn(move |stop| {
            while stop.wait_readable(&listener) {
                let Ok((stream, from)) = listener.accept() else {
                    continue;
                };
                std::thread::spawn(move || reflect_stream(stream, from));
            }
        })?;
        Ok(Self { _thread: thread })
    }
}

fn reflect_stream(mut stream: TcpStream, from: SocketAddr) {
    // A forgotten client must not hold the thread, and with it the namespace.
    if stream.set_read_timeout(Some(Duration::from_secs(60))).is_err() {
        return;
    }
    let mut buffer = [0; 2048];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&reflection(from, buffer.get(..length))).is_err() {
            return;
        }
    }
}

fn reflection(from: SocketAddr, payload: Option<&[u8]>) -> Vec<u8> {
    let mut answer = format!("{from} ").into_bytes();
    answer.extend_from_slice(payload.unwrap_or_default());
    answer
}

/// Sends one datagram to a [`UdpReflector`] and returns as whom it saw the sender.
///
/// # Errors
/// When no right answer comes before the socket's timeout.
pub fn udp_seen_as(socket: &UdpSocket, reflector: SocketAddrV4) -> Result<SocketAddrV4> {
    let question = b"as whom do you see me?";
    socket.send_to(question, reflector)?;
    let mut buffer = [0; 2048];
    let (length, from) =
        socket.recv_from(&mut buffer).with_context(|| format!("no answer from {reflector}"))?;
    anyhow::ensure!(from == reflector.into(), "the answer of {reflector} came from {from}");
    seen_as(buffer.get(..length), question)
}

/// As [`udp_seen_as`], over a TCP connection to a [`TcpReflector`].
///
/// # Errors
/// When no right answer comes before the stream's timeout.
pub fn tcp_seen_as(stream: &mut TcpStream) -> Result<SocketAddrV4> {
    let question = b"as whom do you see me?";
    stream.write_all(question)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 2048];
    while !answer.ends_with(question) {
        let length = stream.read(&mut buffer).context("no answer over TCP")?;
        anyhow::ensure!(length > 0, "the TCP connection was closed instead of answered");
        answer.extend_from_slice(buffer.get(..length).unwrap_or_default());
    }
    seen_as(Some(&answer), question)
}

fn seen_as(answer: Option<&[u8]>, question: &[u8]) -> Result<SocketAddrV4> {
    let answer = answer.unwrap_or_default();
    let text = String::from_utf8_lossy(answer);
    let (seen, payload) = text.split_once(' ').context("not the answer of a reflector")?;
    anyhow::ensure!(payload.as_bytes() == question, "the payload came back changed: {payload:?}");
    seen.parse().with_context(|| format!("not an IPv4 endpoint: {seen}"))
}
