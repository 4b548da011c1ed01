//! The socket of one address of a LAN interface.

use super::{UPDATES, pause_after};
use crate::{
    lan::LanAddress,
    shutdown::Shutdown,
    wire::pcp::{CLIENT_PORT, GROUP, SERVER_PORT},
};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

/// Longest datagram that is looked at, bytes: one that is longer than the longest message has to be
/// seen as such.
const DATAGRAM: usize = 2_048;
/// Requests that are answered together: the store is waited for once then.
const BATCH: usize = 64;
/// Datagrams that are read at most to find them among those of who asks too often.
const READS: usize = 1_024;
/// Room for datagrams that wait while others are answered, bytes: some thousands, so that a flood of one
/// client's does not at once displace what others ask.
const RECEIVE_BUFFER: usize = 4 << 20;
/// After a failed receive, so that the failure does not spin.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

/// Who answers.
pub trait Site: Send + Sync + 'static {
    /// Whether a client may ask once more now. What others ask is thrown away unread (RFC 6887 8.2: the
    /// client asks again).
    fn admits(&self, client: Ipv4Addr) -> bool;

    /// Answers requests, in their order; `None` where nothing is to be said.
    fn answer(
        &self,
        requests: &[(Ipv4Addr, Vec<u8>)],
    ) -> impl Future<Output = Vec<Option<Vec<u8>>>> + Send;

    /// Changes when everybody is to be told who the server is: after a start, and when the external
    /// address has changed.
    fn news(&self) -> watch::Receiver<u64>;

    /// What everybody is told.
    fn announcements(&self) -> Vec<Vec<u8>>;

    /// What single clients are told of their mappings.
    fn updates(&self) -> Vec<(Ipv4Addr, Vec<u8>)>;
}

/// The server at one address.
#[derive(Debug)]
pub struct Responder {
    at: LanAddress,
    own: Ipv4Addr,
    socket: UdpSocket,
}

impl Responder {
    /// Opens the socket of an address: it hears what comes by its interface only. Must run inside
    /// tokio.
    ///
    /// # Errors
    /// The address is not of IPv4, or the socket cannot be had.
    pub fn bind(at: &LanAddress) -> io::Result<Self> {
        let IpAddr::V4(own) = at.ip() else { return Err(ErrorKind::AddrNotAvailable.into()) };
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind_device(Some(at.interface.as_bytes()))?;
        socket.bind(&at.at(SERVER_PORT).into())?;
        socket.set_multicast_if_v4(&own)?;
        socket.set_multicast_loop_v4(false)?;
        make_room(&socket);
        socket.set_nonblocking(true)?;
        Ok(Self { at: at.clone(), own, socket: UdpSocket::from_std(socket.into())? })
    }

    /// Answers, and announces, until `shutdown`.
    pub async fn serve<S: Site>(self, site: Arc<S>, mut shutdown: Shutdown) {
        let mut news = site.news();
        let (mut sent, mut next, mut changed) = (0, Some(Instant::now()), false);
        let mut buffer = [0; DATAGRAM];
        loop {
            let due = next.unwrap_or_else(Instant::now);
            tokio::select! {
                () = shutdown.wait() => return,
                Ok(()) = news.changed() => {
                    news.mark_unchanged();
                    (sent, next, changed) = (0, Some(Instant::now()), true);
                }
                () = sleep_until(due), if next.is_some() => {
                    self.announce(&*site).await;
                    if changed && sent < UPDATES {
                        self.update(&*site).await;
                    }
                    sent += 1;
                    next = pause_after(sent).map(|pause| Instant::now() + pause);
                }
                readable = self.socket.readable() => match readable {
                    Ok(()) => self.take(&*site, &mut buffer).await,
                    Err(error) => self.failed(&error).await,
                },
            }
        }
    }

    /// Answers what has come.
    async fn take<S: Site>(&self, site: &S, buffer: &mut [u8]) {
        let (mut clients, mut requests) = (Vec::new(), Vec::new());
        for _ in 0..READS {
            if requests.len() >= BATCH {
                break;
            }
            match self.socket.try_recv_from(buffer) {
                Ok((length, SocketAddr::V4(client))) if self.may_ask(client) => {
                    if !site.admits(*client.ip()) {
                        continue;
                    }
                    let datagram = buffer.get(..length).unwrap_or_default();
                    clients.push(client);
                    requests.push((*client.ip(), datagram.to_vec()));
                }
                Ok((_, client)) => {
                    tracing::debug!(at = %self.at, %client, "request from another network");
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // An ICMP error about an answer; what is to be read is read all the same.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => {
                    self.failed(&error).await;
                    break;
                }
            }
        }
        if requests.is_empty() {
            return;
        }
        let answers = site.answer(&requests).await;
        for (client, answer) in clients.into_iter().zip(answers) {
            if let Some(answer) = answer {
                self.send(&answer, client).await;
            }
        }
    }

    /// Whether a request may come from there: a host of the interface's own network (RFC 6887 8.2).
    fn may_ask(&self, client: SocketAddrV4) -> bool {
        client.port() != 0 && self.at.subnet.reaches((*client.ip()).into())
    }

    /// Tells everybody.
    async fn announce<S: Site>(&self, site: &S) {
        for message in site.announcements() {
            self.send(&message, SocketAddrV4::new(GROUP, CLIENT_PORT)).await;
        }
    }

    /// Tells clients of their mappings.
    async fn update<S: Site>(&self, site: &S) {
        for (client, message) in site.updates() {
            if self.at.subnet.reaches(client.into()) {
                self.send(&message, SocketAddrV4::new(client, CLIENT_PORT)).await;
            }
        }
    }

    async fn send(&self, message: &[u8], to: SocketAddrV4) {
        if let Err(error) = self.socket.send_to(message, to).await {
            tracing::debug!(at = %self.own, %to, "PCP send: {error}");
        }
    }

    async fn failed(&self, error: &io::Error) {
        tracing::debug!(at = %self.at, "PCP receive: {error}");
        sleep(RECEIVE_PAUSE).await;
    }
}

/// As large a receive buffer as can be had: beyond the system's usual limit, if this process may.
fn make_room(socket: &Socket) {
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err()
        && let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER)
    {
        tracing::debug!("PCP's receive buffer stays as it is: {error}");
    }
}
