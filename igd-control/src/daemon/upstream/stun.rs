//! The socket of the check by STUN, and what comes of it.

use super::secret;
use crate::{
    config,
    daemon::shared::Shared,
    mapping::PacketPath,
    shutdown::Shutdown,
    upstream::{Seen, StunCheck},
    wire::stun::{MAX_RESPONSE, TransactionId},
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{UdpSocket, lookup_host},
    sync::watch,
    time::{sleep, timeout},
};

/// How long the server's name may take to be resolved.
const RESOLVING: Duration = Duration::from_secs(10);
/// Longest sleep. Timers stand still while the machine is suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The check.
pub(in crate::daemon) struct Stun {
    server: (String, u16),
    wan: String,
    check: StunCheck,
    /// Where the request goes, and from where.
    way: Option<(UdpSocket, SocketAddrV4)>,
}

impl Stun {
    /// The check, where a server is configured.
    pub(in crate::daemon) fn new(config: &config::Upstream, wan: &str) -> Option<Self> {
        let server = config.stun_server()?;
        Some(Self { server, wan: wan.to_owned(), check: StunCheck::new(), way: None })
    }

    /// Asks until `shutdown`. `own` tells our own address.
    pub(in crate::daemon) async fn run<P: PacketPath + Send + 'static>(
        mut self,
        shared: Arc<Shared<P>>,
        own: impl Fn() -> Option<Ipv4Addr>,
        mut network: watch::Receiver<()>,
        mut shutdown: Shutdown,
    ) {
        let clock = shared.clock();
        shared.is_seen(own(), self.check.seen());
        loop {
            network.mark_unchanged();
            let address = own();
            self.check.own_is(clock(), address);
            if !self.check.is_asking() && self.check.next() <= clock() {
                tokio::select! {
                    () = shutdown.wait() => return,
                    way = self.find(address) => self.way = way,
                }
            }
            if let Some(request) = self.check.tick(clock(), id())
                && let Some((socket, server)) = &self.way
                && let Err(error) = socket.send_to(&request, *server).await
            {
                tracing::debug!(%server, "STUN send: {error}");
            }
            shared.is_seen(address, self.check.seen());
            let next = Duration::from_nanos(self.check.next().nanos_from(clock()));
            let mut buffer = [0; MAX_RESPONSE];
            tokio::select! {
                () = shutdown.wait() => return,
                () = sleep(next.min(LONGEST_SLEEP)) => {}
                Ok(()) = network.changed() => {}
                length = heard(self.way.as_ref(), &mut buffer) => {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    self.check.hear(clock(), datagram);
                }
            }
        }
    }

    /// The server's address, and a socket of ours.
    async fn find(&self, own: Option<Ipv4Addr>) -> Option<(UdpSocket, SocketAddrV4)> {
        let (name, port) = &self.server;
        let found = timeout(RESOLVING, lookup_host((name.as_str(), *port))).await;
        let server = match found {
            Ok(Ok(mut addresses)) => addresses.find_map(|address| match address {
                SocketAddr::V4(address) => Some(address),
                SocketAddr::V6(_) => None,
            }),
            _ => None,
        };
        let Some(server) = server else {
            tracing::info!("the STUN server {name} has no IPv4 address that could be found");
            return None;
        };
        match open(&self.wan, own?) {
            Ok(socket) => Some((socket, server)),
            Err(error) => {
                tracing::warn!("cannot ask the STUN server {server}: {error}");
                None
            }
        }
    }
}

fn open(wan: &str, own: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(wan.as_bytes()))?;
    socket.bind(&SocketAddrV4::new(own, 0).into())?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// Waits for the next datagram of the server.
async fn heard(way: Option<&(UdpSocket, SocketAddrV4)>, buffer: &mut [u8]) -> usize {
    let Some((socket, server)) = way else { return std::future::pending().await };
    loop {
        match socket.recv_from(buffer).await {
            Ok((length, from)) if from == SocketAddr::V4(*server) => return length,
            Ok(_) => {}
            // An ICMP error tells nothing: it is asked again anyway.
            Err(_) => sleep(super::carrier::RECEIVE_PAUSE).await,
        }
    }
}

/// Nobody can guess it, and so answer in the server's name.
fn id() -> TransactionId {
    let bytes = secret::random().unwrap_or_else(|_| fastrand::u128(..).to_be_bytes());
    let mut id = [0; 12];
    id.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    TransactionId(id)
}

/// The same for people; `None`: nobody is asked.
pub(in crate::daemon) fn told(seen: Option<Seen>) -> String {
    match seen {
        None => "not asked".to_owned(),
        Some(Seen::Unknown) => "not answered yet".to_owned(),
        Some(Seen::Unanswered) => "no answer".to_owned(),
        Some(Seen::As(address)) => address.to_string(),
    }
}
