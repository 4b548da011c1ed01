//! Searching and listening by SSDP.

use crate::lab::{Namespace, packet::Packet};
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// Where searches and announcements go.
pub const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900);

/// Seconds within which answers may come, as the searches here ask for.
const MX: u64 = 1;

/// A message: an answer to a search, or an announcement.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its first line.
    pub start: String,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Message {
    /// Reads a datagram.
    pub fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { start, headers }
    }

    /// The first header field of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Whether a packet belongs to SSDP.
pub fn is_ssdp(packet: &Packet) -> bool {
    packet.source_port == GROUP.port() || packet.destination_port == GROUP.port()
}

/// A well-formed search.
pub fn request(target: &str) -> String {
    format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: {GROUP}\r\nMAN: \"ssdp:discover\"\r\nMX: {MX}\r\n\
         ST: {target}\r\n\r\n"
    )
}

/// Searches for `target` from a socket of `namespace` and collects answers until there are `enough`
/// or their time is over.
///
/// # Errors
/// When the search cannot be sent.
pub fn search(namespace: &Namespace, target: &str, enough: usize) -> Result<Vec<Message>> {
    let socket = namespace.udp("0.0.0.0:0")?;
    socket.send_to(request(target).as_bytes(), GROUP).context("cannot send M-SEARCH")?;
    Ok(answers(&socket, |answers| answers.len() >= enough))
}

/// Collects what is sent to `socket` until `enough` says so or the answers' time is over.
pub fn answers(socket: &UdpSocket, enough: impl Fn(&[Message]) -> bool) -> Vec<Message> {
    let deadline = Instant::now() + Duration::from_secs(MX) + Duration::from_millis(1_500);
    let mut answers = Vec::new();
    let mut buffer = [0; 2048];
    while !enough(&answers) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            break;
        }
        if let Ok((length, _)) = socket.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            answers.push(Message::parse(&text));
        }
    }
    answers
}

/// The distinct targets (ST) of answers.
pub fn targets(answers: &[Message]) -> HashSet<String> {
    answers.iter().filter_map(|answer| answer.header("st")).map(str::to_owned).collect()
}
