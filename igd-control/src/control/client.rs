//! The command line's end of the operator's socket.

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::HOST,
};
use hyper_util::rt::TokioIo;
use std::{
    io,
    path::{Path, PathBuf},
};
use tokio::net::UnixStream;

/// Why the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket, or nobody listens at it.
    #[error("no daemon answers at {}: is `igd-control run` running?", .0.display())]
    NoDaemon(PathBuf),
    /// The socket cannot be opened for another reason.
    #[error("cannot reach the daemon at {}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the daemon's answer was cut off: {0}")]
    Broken(#[from] hyper::Error),
    /// The daemon says that something went wrong.
    #[error("the daemon answers: {0}")]
    Refused(String),
}

/// An answer that is still arriving.
#[derive(Debug)]
pub struct Answer(Incoming);

/// Asks the daemon at `socket` for `path`.
///
/// # Errors
/// [`ClientError`]
pub async fn get(socket: &Path, path: &'static str) -> Result<Answer, ClientError> {
    ask(socket, Method::GET, path, Bytes::new()).await
}

/// Has the daemon at `socket` do what `path` and `body` say.
///
/// # Errors
/// [`ClientError`]
pub async fn post(socket: &Path, path: &'static str, body: Bytes) -> Result<Answer, ClientError> {
    ask(socket, Method::POST, path, body).await
}

async fn ask(
    socket: &Path,
    method: Method,
    path: &'static str,
    body: Bytes,
) -> Result<Answer, ClientError> {
    let stream = UnixStream::connect(socket).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NoDaemon(socket.to_owned())
        }
        _ => ClientError::Connect { path: socket.to_owned(), source },
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer; what breaks it breaks the answer too.
    tokio::spawn(connection);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = hyper::Uri::from_static(path);
    request.headers_mut().insert(HOST, hyper::header::HeaderValue::from_static("localhost"));
    let response = sender.send_request(request).await?;
    let status = response.status();
    let answer = Answer(response.into_body());
    if status == StatusCode::OK {
        return Ok(answer);
    }
    let body = answer.whole().await?;
    let error = serde_json::from_slice::<serde_json::Value>(&body)
        .ok()
        .and_then(|body| body.get("error")?.as_str().map(str::to_owned));
    Err(ClientError::Refused(error.unwrap_or_else(|| status.to_string())))
}

impl Answer {
    /// The next piece of the answer; `None` at its end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.0.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// All of the answer.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn whole(self) -> Result<Bytes, ClientError> {
        Ok(self.0.collect().await?.to_bytes())
    }
}
