//! Device descriptions, control and subscriptions over HTTP, on the LAN only.
//!
//! Each listener is bound to one LAN interface and to that interface's own address, so neither a
//! route nor a weak-host kernel brings a request from elsewhere to it; and it hears only hosts of that
//! address's own network. What a request gets is decided in `route`, which knows no sockets.

mod admission;
mod host;
mod route;

pub use route::{Place, Site};

use crate::metrics::{self, Limit};
use crate::{lan::LanAddress, shutdown::Shutdown};
use admission::{Admission, Admitted};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, io, net::IpAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// What clients are held to. More than any control point needs, less than does harm.
pub mod limits {
    use std::time::Duration;

    /// Request line and headers, bytes (431 above).
    pub const HEADER_BYTES: usize = 16 * 1024;
    /// Headers of one request (431 above).
    pub const HEADERS: usize = 64;
    /// Request body, bytes (413 above).
    pub const BODY_BYTES: usize = 64 * 1024;
    /// How much of a body that is too large is read and thrown away, so that its sender gets to read
    /// the answer.
    pub const DISCARDED_BYTES: usize = 4 * 1024 * 1024;
    /// Time until a request's headers are complete; also how long an idle connection is kept.
    pub const HEADER_TIME: Duration = Duration::from_secs(15);
    /// Time until a request's body is complete (408 after).
    pub const BODY_TIME: Duration = Duration::from_secs(10);
    /// Time that a client may leave data unacknowledged.
    pub const UNACKNOWLEDGED_TIME: Duration = Duration::from_secs(20);
    /// Age at which a connection is closed after the request in hand.
    pub const CONNECTION_TIME: Duration = Duration::from_secs(300);
    /// Connections in all; for one more, one of the client that has most is closed.
    pub const CONNECTIONS: usize = 256;
    /// Connections of one client; for one more, the one that has been silent for longest is closed.
    pub const CONNECTIONS_PER_CLIENT: usize = 32;
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;
/// After a failed accept (no file descriptors left), so that the failure does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a connection that is told to end may take to write what it has begun.
const CLOSING_TIME: Duration = Duration::from_millis(500);

/// A bound listener of one address of a LAN interface.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    at: LanAddress,
    port: u16,
}

impl Listener {
    /// Listens at `address`, on its interface only; port 0 takes any. Must run inside tokio.
    ///
    /// # Errors
    /// The address or the port cannot be had.
    pub fn bind(address: &LanAddress, port: u16) -> io::Result<Self> {
        use socket2::{Domain, Protocol, Socket, Type};
        let ip = address.ip();
        let domain = if ip.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if ip.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind_device(Some(address.interface.as_bytes()))?;
        socket.bind(&address.at(port).into())?;
        socket.set_tcp_user_timeout(Some(limits::UNACKNOWLEDGED_TIME))?;
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, at: address.clone(), port })
    }

    /// The address at which it listens.
    pub fn address(&self) -> &LanAddress {
        &self.at
    }

    /// The port, also when any was asked for.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Serves a site at listeners that come and go. The limits hold for all of them together.
#[derive(Debug)]
pub struct Server<S> {
    site: Arc<S>,
    admission: Admission,
}

impl<S: Site> Server<S> {
    /// One that serves `site`.
    pub fn new(site: Arc<S>) -> Self {
        Self {
            site,
            admission: Admission::new(limits::CONNECTIONS, limits::CONNECTIONS_PER_CLIENT),
        }
    }

    /// Serves at `listener` until `shutdown`.
    pub async fn serve(&self, Listener { listener, at, .. }: Listener, shutdown: Shutdown) {
        let mut connections = JoinSet::new();
        let mut stop = shutdown.clone();
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                () = stop.wait() => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok((stream, peer)) => (stream, peer.ip()),
                Err(error) => {
                    tracing::debug!(%at, "accept: {error}");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if !at.subnet.reaches(peer) {
                tracing::debug!(%peer, %at, "connection closed: not a host of this network");
                continue;
            }
            match self.admission.admit(peer) {
                Ok(admitted) => {
                    let (site, stop) = (Arc::clone(&self.site), shutdown.clone());
                    let ends = Ends { at: at.clone(), peer };
                    connections.spawn(async move {
                        serve_connection(prepared(stream), ends, site, &admitted, stop).await;
                    });
                }
                Err(refused) => tracing::debug!(%peer, "connection closed: {refused}"),
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

/// Answers are small: none should wait for more to go out with.
fn prepared(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("TCP_NODELAY: {error}");
    }
    stream
}

/// The two ends of a connection.
#[derive(Clone, Debug)]
struct Ends {
    /// Our own.
    at: LanAddress,
    /// The client's.
    peer: IpAddr,
}

async fn serve_connection<S: Site>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ends: Ends,
    site: Arc<S>,
    admitted: &Admitted,
    mut shutdown: Shutdown,
) {
    let peer = ends.peer;
    let service = service_fn(|request: Request<Incoming>| {
        admitted.touch();
        let (site, ends) = (Arc::clone(&site), ends.clone());
        async move {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let response = route::respond(site.as_ref(), &ends, request).await;
            tracing::debug!(%peer, %method, path, status = response.status().as_u16(), "request");
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::HEADER_TIME)
            .max_header_size(limits::HEADER_BYTES)
            .max_headers(limits::HEADERS)
            .half_close(true)
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), service)
    );
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = async { tokio::select! {
            () = sleep(limits::CONNECTION_TIME) => {}
            () = shutdown.wait() => {}
            () = admitted.evicted() => {}
        } } => {
            connection.as_mut().graceful_shutdown();
            timeout(CLOSING_TIME, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        if error.is_parse_too_large() {
            metrics::hit(Limit::HeaderBytes);
        } else if error.is_timeout() {
            metrics::hit(Limit::HeaderTime);
        }
        tracing::debug!(%peer, "connection ended: {error}");
    }
}

#[cfg(test)]
mod tests;
