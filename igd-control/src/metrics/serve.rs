//! Metrics by HTTP, for monitoring systems.

use super::PROMETHEUS;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections at a time; more wait.
const CONNECTIONS: usize = 8;
/// Time until a request's headers are complete.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// How long a connection may last.
const CONNECTION_TIME: Duration = Duration::from_secs(300);
/// After a failed accept (no file descriptors left), so that the failure does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who knows the metrics. Asked on a thread that may block.
pub trait Source: Send + Sync + 'static {
    /// All of them, as text.
    ///
    /// # Errors
    /// A map cannot be read.
    fn metrics(&self) -> anyhow::Result<String>;
}

/// The bound listener.
#[derive(Debug)]
pub struct MetricsSocket(TcpListener);

impl MetricsSocket {
    /// Listens. Must run inside tokio.
    ///
    /// # Errors
    /// The address or the port cannot be had.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self(TcpListener::from_std(listener)?))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers until it is dropped.
    pub async fn serve<S: Source>(self, source: Arc<S>) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        // Connections end with the listener.
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            match self.0.accept().await {
                Ok((stream, _)) => {
                    let source = Arc::clone(&source);
                    connections.spawn(async move {
                        let service = service_fn(|request: Request<Incoming>| {
                            let source = Arc::clone(&source);
                            async move { Ok::<_, Infallible>(respond(source, &request).await) }
                        });
                        let served = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(HEADER_TIME)
                            .serve_connection(TokioIo::new(stream), service);
                        if let Ok(Err(error)) = timeout(CONNECTION_TIME, served).await {
                            tracing::debug!("metrics connection: {error}");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!("metrics: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn respond<S: Source, B>(source: Arc<S>, request: &Request<B>) -> Response<Full<Bytes>> {
    let answer = |status, text: String| {
        let mut answer = Response::new(Full::new(Bytes::from(text)));
        *answer.status_mut() = status;
        let kind = HeaderValue::from_static(PROMETHEUS);
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        answer
    };
    if request.uri().path() != "/metrics" {
        return answer(StatusCode::NOT_FOUND, "the metrics are at /metrics\n".to_owned());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer(StatusCode::METHOD_NOT_ALLOWED, "only GET is known here\n".to_owned());
    }
    match tokio::task::spawn_blocking(move || source.metrics()).await {
        Ok(Ok(text)) => answer(StatusCode::OK, text),
        Ok(Err(error)) => answer(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
