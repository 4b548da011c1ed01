//! Device description and control over HTTP, on the LAN only.
//!
//! Each listener is bound to one LAN interface and to that interface's own address, so neither a
//! route nor a weak-host kernel brings a request from elsewhere to it. What a request gets is decided
//! in `route`, which knows no sockets.

mod admission;
mod host;
mod route;

pub use route::{Place, Site};

use crate::shutdown::Shutdown;
use admission::Admission;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    pin::pin,
    sync::Arc,
    time::Duration,
};
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
    /// Connections in all; more are closed at once.
    pub const CONNECTIONS: usize = 256;
    /// Connections of one client; more are closed at once.
    pub const CONNECTIONS_PER_CLIENT: usize = 32;
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;
/// After a failed accept (no file descriptors left), so that the failure does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a connection that is told to end may take to write what it has begun.
const CLOSING_TIME: Duration = Duration::from_millis(500);

/// A bound listener of one LAN interface.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    local: SocketAddrV4,
}

impl Listener {
    /// Listens at `address`, on `interface` only; port 0 takes any. Must run inside tokio.
    ///
    /// # Errors
    /// The address or the port cannot be had.
    pub fn bind(interface: &str, address: Ipv4Addr, port: u16) -> io::Result<Self> {
        use socket2::{Domain, Protocol, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.bind(&SocketAddrV4::new(address, port).into())?;
        socket.set_tcp_user_timeout(Some(limits::UNACKNOWLEDGED_TIME))?;
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let SocketAddr::V4(local) = listener.local_addr()? else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        Ok(Self { listener, local })
    }

    /// Where it listens, with the port that was taken.
    pub fn local(&self) -> SocketAddrV4 {
        self.local
    }
}

/// Serves `site` at `listeners` until `shutdown`.
pub async fn serve<S: Site>(listeners: Vec<Listener>, site: Arc<S>, mut shutdown: Shutdown) {
    let admission = Admission::new(limits::CONNECTIONS, limits::CONNECTIONS_PER_CLIENT);
    let mut tasks = JoinSet::new();
    for listener in listeners {
        let (site, admission) = (Arc::clone(&site), admission.clone());
        tasks.spawn(accept(listener, site, admission, shutdown.clone()));
    }
    // Also without any listener: a LAN that has no address yet.
    shutdown.wait().await;
    while tasks.join_next().await.is_some() {}
}

async fn accept<S: Site>(
    Listener { listener, local }: Listener,
    site: Arc<S>,
    admission: Admission,
    shutdown: Shutdown,
) {
    let mut connections = JoinSet::new();
    let mut stop = shutdown.clone();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = stop.wait() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, SocketAddr::V4(peer))) => match admission.admit(*peer.ip()) {
                Ok(admitted) => {
                    let (site, stop) = (Arc::clone(&site), shutdown.clone());
                    connections.spawn(async move {
                        let ends = Ends { local, peer: *peer.ip() };
                        serve_connection(prepared(stream), ends, site, stop).await;
                        drop(admitted);
                    });
                }
                Err(refused) => tracing::debug!(%peer, "connection closed: {refused}"),
            },
            Ok((_, SocketAddr::V6(_))) => {}
            Err(error) => {
                tracing::debug!(%local, "accept: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Answers are small: none should wait for more to go out with.
fn prepared(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("TCP_NODELAY: {error}");
    }
    stream
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
struct Ends {
    local: SocketAddrV4,
    peer: Ipv4Addr,
}

async fn serve_connection<S: Site>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    Ends { local, peer }: Ends,
    site: Arc<S>,
    mut shutdown: Shutdown,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let site = Arc::clone(&site);
        async move {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let response = route::respond(site.as_ref(), local, peer, request).await;
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
        } } => {
            connection.as_mut().graceful_shutdown();
            timeout(CLOSING_TIME, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, "connection ended: {error}");
    }
}

#[cfg(test)]
mod tests;
