//! What carries the datagrams between the client and the server upstream.

use super::finder::{Finder, LOOK};
use crate::{
    config,
    daemon::shared::{Shared, lock},
    mapping::PacketPath,
    shutdown::Shutdown,
    upstream::{Candidates, Client, ServerAddress, ServerPlace},
    wire::pcp::{CLIENT_PORT, SERVER_PORT},
};
use nat_common::BootTime;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    sync::watch,
    time::{Instant, sleep},
};

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
                ends: Some((client.config().client, client.config().server)),
                datagrams: client.take_datagrams(),
                next: client.next().map(|next| Duration::from_nanos(next.nanos_from(now))),
            }
        })
    }
}

/// What the socket has to do.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Turn {
    ends: Option<(IpAddr, SocketAddr)>,
    pub(in crate::daemon) datagrams: Vec<Vec<u8>>,
    next: Option<Duration>,
}

/// What carries the datagrams.
pub(in crate::daemon) struct Carrier {
    config: config::Upstream,
    wan: String,
    candidates: Candidates,
    sockets: Option<Sockets>,
}

struct Sockets {
    own: IpAddr,
    interface: String,
    socket: UdpSocket,
    /// For announcements; without it, they are not heard.
    announcements: Option<UdpSocket>,
}

impl Carrier {
    pub(in crate::daemon) fn new(config: &config::Upstream, wan: &str) -> Self {
        let (config, wan) = (config.clone(), wan.to_owned());
        Self { config, wan, candidates: Candidates::default(), sockets: None }
    }

    /// Carries datagrams until `shutdown`.
    pub(in crate::daemon) async fn run<P: PacketPath + Send + 'static>(
        mut self,
        shared: Arc<Shared<P>>,
        network: watch::Receiver<()>,
        mut shutdown: Shutdown,
    ) {
        let (sender, found) = watch::channel(None);
        let finder = Finder::new(&self.config, &self.wan);
        tokio::select! {
            () = shutdown.wait() => {}
            () = finder.run(sender, network.clone()) => {}
            () = self.carry(&shared, found, network) => {}
        }
    }

    async fn carry<P: PacketPath>(
        &mut self,
        shared: &Shared<P>,
        mut found: watch::Receiver<Option<Vec<ServerAddress>>>,
        mut network: watch::Receiver<()>,
    ) {
        let Some(upstream) = shared.upstream() else { return std::future::pending().await };
        let mut looked: Option<Instant> = None;
        let mut heard: Option<(bool, SocketAddr, Vec<u8>)> = None;
        let (mut buffer, mut overheard) = ([0; DATAGRAM], [0; DATAGRAM]);
        loop {
            let mute = upstream.is_mute();
            if mute || looked.is_none_or(|at| at.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                network.mark_unchanged();
                let candidates = found.borrow_and_update().clone();
                if let Some(candidates) = candidates {
                    self.candidates.are(candidates);
                    if mute {
                        self.leave();
                    }
                    upstream.server_is(self.candidates.current().and_then(|it| self.place(it)));
                }
            }
            let turn = shared.turn(|now, client| match heard.take() {
                Some((false, from, datagram)) => client.hear(now, from, &datagram),
                Some((true, from, datagram)) => client.overhear(now, from, &datagram),
                None => {}
            });
            self.send(&turn).await;
            let next = turn.next.unwrap_or(LOOK).min(LOOK);
            tokio::select! {
                () = sleep(next) => {}
                () = upstream.wake.notified() => {}
                Ok(()) = network.changed() => looked = None,
                Ok(()) = found.changed() => looked = None,
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

    /// The server that was asked does not answer: another one is.
    fn leave(&mut self) {
        let mut candidates = std::mem::take(&mut self.candidates);
        let before = candidates.current().cloned();
        candidates.leave(|address| self.place(address).is_some());
        self.candidates = candidates;
        if let (Some(before), Some(now)) = (before, self.candidates.current())
            && before != *now
        {
            // Every ten seconds, as long as none does: the status tells.
            tracing::debug!("the PCP server {before} does not answer: {now} is asked");
        }
    }

    /// The interface by which a server is asked.
    fn interface<'a>(&'a self, server: &'a ServerAddress) -> &'a str {
        match (&server.address, &server.zone) {
            (IpAddr::V4(_), _) => &self.wan,
            (IpAddr::V6(_), Some(zone)) => zone,
            (IpAddr::V6(_), None) => self.config.interface(&self.wan),
        }
    }

    /// From where a server can be asked; `None`: from nowhere, as things are.
    fn place(&self, server: &ServerAddress) -> Option<ServerPlace> {
        let address = match server.address {
            IpAddr::V4(address) => return Some(ServerPlace::V4(address)),
            IpAddr::V6(address) => address,
        };
        match source(self.interface(server), address) {
            Ok(own) => {
                // Sockets are bound to an interface: it needs not be told again.
                Some(ServerPlace::V6 { server: SocketAddrV6::new(address, SERVER_PORT, 0, 0), own })
            }
            Err(error) => {
                tracing::debug!("the PCP server {server} cannot be asked: {error}");
                None
            }
        }
    }

    async fn send(&mut self, turn: &Turn) {
        let Some(((own, server), at)) = turn.ends.zip(self.candidates.current()) else {
            self.sockets = None;
            return;
        };
        let interface = self.interface(at);
        let fits = |sockets: &Sockets| sockets.own == own && sockets.interface == interface;
        if !self.sockets.as_ref().is_some_and(fits) {
            self.sockets = match Sockets::open(interface, own) {
                Ok(sockets) => Some(sockets),
                Err(error) => {
                    tracing::warn!("cannot ask the NAT upstream from {own}: {error}");
                    None
                }
            };
        }
        let Some(sockets) = &self.sockets else { return };
        let mut failed = false;
        for datagram in &turn.datagrams {
            if let Err(error) = sockets.socket.send_to(datagram, server).await {
                tracing::debug!(%server, "PCP send: {error}");
                failed = true;
            }
        }
        if failed {
            // The interface may be another one of that name by now.
            self.sockets = None;
        }
    }
}

impl Sockets {
    fn open(interface: &str, own: IpAddr) -> io::Result<Self> {
        let everything: IpAddr = match own {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let open = |address: IpAddr, port: u16, shared: bool| {
            let socket = udp(interface, address)?;
            socket.set_reuse_address(shared)?;
            socket.bind(&SocketAddr::new(address, port).into())?;
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket.into())
        };
        let announcements = open(everything, CLIENT_PORT, true);
        if let Err(error) = &announcements {
            tracing::info!("announcements of the NAT upstream are not heard: {error}");
        }
        let (interface, socket) = (interface.to_owned(), open(own, 0, false)?);
        Ok(Self { own, interface, socket, announcements: announcements.ok() })
    }
}

/// A socket that sends and hears by one interface.
fn udp(interface: &str, like: IpAddr) -> io::Result<Socket> {
    let domain = if like.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    if like.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// The address from which the kernel would ask a server. Nothing is sent.
fn source(interface: &str, server: Ipv6Addr) -> io::Result<Ipv6Addr> {
    let socket = udp(interface, server.into())?;
    socket.connect(&SocketAddrV6::new(server, SERVER_PORT, 0, 0).into())?;
    let own = socket.local_addr()?.as_socket_ipv6();
    own.map(|own| *own.ip()).ok_or_else(|| ErrorKind::AddrNotAvailable.into())
}

/// The next datagram of a socket; never, if there is none.
async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> Option<(SocketAddr, Vec<u8>)> {
    let Some(socket) = socket else { return std::future::pending().await };
    match socket.recv_from(buffer).await {
        Ok((length, from)) => {
            // Without the interface of an address of the link's.
            let from = SocketAddr::new(from.ip(), from.port());
            Some((from, buffer.get(..length).unwrap_or_default().to_vec()))
        }
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
