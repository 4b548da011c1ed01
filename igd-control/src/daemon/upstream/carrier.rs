//! What carries the datagrams between the client and the server upstream.

use crate::{
    config::{self, UpstreamServer},
    daemon::shared::{Shared, lock},
    mapping::PacketPath,
    shutdown::Shutdown,
    upstream::{Client, default_gateway, first_address},
    wire::pcp::CLIENT_PORT,
};
use nat_common::BootTime;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    fs,
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    sync::watch,
    time::{Instant, sleep},
};

/// Between looks for the server.
const LOOK: Duration = Duration::from_secs(30);
/// Longest datagram that is looked at, bytes.
const DATAGRAM: usize = 2_048;
/// After a failed receive, so that the failure does not spin.
pub(super) const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

impl<P: PacketPath> Shared<P> {
    /// Has the client of the server do something, and brings table and server together. Returns what is
    /// to be sent from which address where, and when there is more to do.
    pub(in crate::daemon) fn turn(&self, act: impl FnOnce(BootTime, &mut Client)) -> Turn {
        self.change(|now, gateway| {
            let Some(upstream) = self.upstream() else { return Turn::default() };
            if let Some(client) = lock(&upstream.machine).client_mut() {
                act(now, client);
            }
            upstream.follow(now, gateway);
            let mut machine = lock(&upstream.machine);
            let Some(client) = machine.client_mut() else { return Turn::default() };
            Turn {
                ends: Some((client.config().own, client.config().server)),
                datagrams: client.take_datagrams(),
                next: client.next().map(|next| Duration::from_nanos(next.nanos_from(now))),
            }
        })
    }
}

/// What the socket has to do.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Turn {
    ends: Option<(Ipv4Addr, SocketAddrV4)>,
    pub(in crate::daemon) datagrams: Vec<Vec<u8>>,
    next: Option<Duration>,
}

/// What carries the datagrams.
pub(in crate::daemon) struct Carrier {
    wan: String,
    server: UpstreamServer,
    file: Option<PathBuf>,
    sockets: Option<Sockets>,
}

struct Sockets {
    own: Ipv4Addr,
    socket: UdpSocket,
    /// For announcements; without it, they are not heard.
    announcements: Option<UdpSocket>,
}

impl Carrier {
    pub(in crate::daemon) fn new(config: &config::Upstream, wan: &str) -> Self {
        Self {
            wan: wan.to_owned(),
            server: config.server().unwrap_or(UpstreamServer::None),
            file: config.server_file().map(Path::to_owned),
            sockets: None,
        }
    }

    /// Carries datagrams until `shutdown`.
    pub(in crate::daemon) async fn run<P: PacketPath + Send + 'static>(
        mut self,
        shared: Arc<Shared<P>>,
        mut network: watch::Receiver<()>,
        mut shutdown: Shutdown,
    ) {
        let Some(upstream) = shared.upstream() else { return shutdown.wait().await };
        let mut looked: Option<Instant> = None;
        let mut heard: Option<(bool, SocketAddrV4, Vec<u8>)> = None;
        let (mut buffer, mut overheard) = ([0; DATAGRAM], [0; DATAGRAM]);
        loop {
            if looked.is_none_or(|at| at.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                network.mark_unchanged();
                upstream.server_is(self.server());
            }
            let turn = shared.turn(|now, client| match heard.take() {
                Some((false, from, datagram)) => client.hear(now, from, &datagram),
                Some((true, from, datagram)) => client.overhear(now, from, &datagram),
                None => {}
            });
            self.send(&turn).await;
            let next = turn.next.unwrap_or(LOOK).min(LOOK);
            tokio::select! {
                () = shutdown.wait() => return,
                () = sleep(next) => {}
                () = upstream.wake.notified() => {}
                Ok(()) = network.changed() => looked = None,
                got = receive(self.sockets.as_ref().map(|own| &own.socket), &mut buffer) => {
                    heard = got.map(|(from, datagram)| (false, from, datagram));
                }
                got = receive(
                    self.sockets.as_ref().and_then(|own| own.announcements.as_ref()),
                    &mut overheard,
                ) => {
                    heard = got.map(|(from, datagram)| (true, from, datagram));
                }
            }
        }
    }

    /// Where the server is.
    fn server(&self) -> Option<Ipv4Addr> {
        let by_file = self.file.as_ref().and_then(|path| {
            let text = fs::read_to_string(path).ok()?;
            first_address(&text)
        });
        by_file.or_else(|| match self.server {
            UpstreamServer::None => None,
            UpstreamServer::At(address) => Some(address),
            UpstreamServer::Gateway => {
                default_gateway(&fs::read_to_string("/proc/net/route").ok()?, &self.wan)
            }
        })
    }

    async fn send(&mut self, turn: &Turn) {
        let Some((own, server)) = turn.ends else {
            self.sockets = None;
            return;
        };
        if self.sockets.as_ref().is_none_or(|sockets| sockets.own != own) {
            self.sockets = match Sockets::open(&self.wan, own) {
                Ok(sockets) => Some(sockets),
                Err(error) => {
                    tracing::warn!("cannot ask the NAT upstream from {own}: {error}");
                    None
                }
            };
        }
        let Some(sockets) = &self.sockets else { return };
        for datagram in &turn.datagrams {
            if let Err(error) = sockets.socket.send_to(datagram, server).await {
                tracing::debug!(%server, "PCP send: {error}");
            }
        }
    }
}

impl Sockets {
    fn open(wan: &str, own: Ipv4Addr) -> io::Result<Self> {
        let open = |address: Ipv4Addr, port: u16, shared: bool| {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            socket.bind_device(Some(wan.as_bytes()))?;
            socket.set_reuse_address(shared)?;
            socket.bind(&SocketAddrV4::new(address, port).into())?;
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket.into())
        };
        let announcements = open(Ipv4Addr::UNSPECIFIED, CLIENT_PORT, true);
        if let Err(error) = &announcements {
            tracing::info!("announcements of the NAT upstream are not heard: {error}");
        }
        Ok(Self { own, socket: open(own, 0, false)?, announcements: announcements.ok() })
    }
}

/// The next datagram of a socket; never, if there is none.
async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> Option<(SocketAddrV4, Vec<u8>)> {
    let Some(socket) = socket else { return std::future::pending().await };
    match socket.recv_from(buffer).await {
        Ok((length, SocketAddr::V4(from))) => {
            Some((from, buffer.get(..length).unwrap_or_default().to_vec()))
        }
        Ok(_) => None,
        Err(error) => {
            // An ICMP error about a request tells nothing: it is asked again anyway.
            if error.kind() != ErrorKind::ConnectionRefused {
                tracing::debug!("PCP receive: {error}");
            }
            sleep(RECEIVE_PAUSE).await;
            None
        }
    }
}
