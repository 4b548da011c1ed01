//! The daemon's end of the operator's socket.

use super::{Asked, Operator, sessions};
use crate::metrics::PROMETHEUS;
use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use std::{
    convert::Infallible,
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};

/// Connections at a time; more wait.
const CONNECTIONS: usize = 16;
/// Bytes of a body.
const BODY: usize = 64 * 1024;
/// How long a connection may take to ask something.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptors left), so that the failure does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// The bound socket; its file goes away with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl ControlSocket {
    /// Binds `path`, for its owner alone, in place of a socket that a dead daemon left there. Must
    /// run inside tokio.
    ///
    /// # Errors
    /// A daemon answers at `path`, something that is no socket lies there, or it cannot be bound.
    pub fn bind(path: &Path) -> anyhow::Result<Self> {
        clear(path)?;
        Self::listen(path)
            .with_context(|| format!("cannot bind the control socket {}", path.display()))
    }

    fn listen(path: &Path) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        // Before listen(): nobody can have connected with wider permissions.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let inode = fs::symlink_metadata(path)?.ino();
        socket.set_nonblocking(true)?;
        socket.listen(16)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Self { listener, path: path.to_owned(), inode })
    }

    /// Answers until it is dropped.
    pub async fn serve<O: Operator>(self, operator: Arc<O>) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        // Connections end with the listener.
        let mut connections = tokio::task::JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let operator = Arc::clone(&operator);
                    connections.spawn(async move {
                        connection(stream, operator).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Only the file that was made here, not the one of a daemon that came after.
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes room at `path`.
fn clear(path: &Path) -> anyhow::Result<()> {
    let at = || format!("control socket {}", path.display());
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(at),
    };
    anyhow::ensure!(file.file_type().is_socket(), "{}: the file there is not a socket", at());
    match StdUnixStream::connect(path) {
        Ok(_) => anyhow::bail!("{}: another daemon answers there", at()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(at)
        }
        Err(error) => Err(error).with_context(at),
    }
}

async fn connection<O: Operator>(stream: UnixStream, operator: Arc<O>) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let operator = Arc::clone(&operator);
        async move { Ok::<_, Infallible>(respond(operator, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("control connection: {error}");
    }
}

async fn respond<O, B>(operator: Arc<O>, request: Request<B>) -> Answer
where
    O: Operator,
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let path = request.uri().path().to_owned();
    let changes = ["/mappings/add", "/mappings/remove", "/policy/check", "/reload"];
    let (allowed, wanted) = match changes.contains(&path.as_str()) {
        true => (Method::POST, HeaderValue::from_static("POST")),
        false => (Method::GET, HeaderValue::from_static("GET")),
    };
    if request.method() != allowed {
        let text = format!("only {allowed} is known here");
        let mut answer = failure(StatusCode::METHOD_NOT_ALLOWED, &text);
        answer.headers_mut().insert(ALLOW, wanted);
        return answer;
    }
    let body = match Limited::new(request.into_body(), BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match path.as_str() {
        "/metrics" => metrics(operator).await,
        "/mappings/add" => {
            changing(operator, &body, |operator, mapping| operator.add_mapping(&mapping)).await
        }
        "/mappings/remove" => {
            changing(operator, &body, |operator, key| operator.remove_mapping(&key)).await
        }
        "/policy/check" => {
            let explain = |operator: &O, asked: Asked| Ok(operator.explain(&(&asked).into()));
            changing(operator, &body, explain).await
        }
        "/reload" => blocking(operator, O::reload).await,
        "/status" => blocking(operator, O::status).await,
        "/mappings" => blocking(operator, |operator| Ok(operator.mappings())).await,
        "/clients" => blocking(operator, O::clients).await,
        "/counters" => blocking(operator, counters).await,
        "/sessions" => answer(StatusCode::OK, StreamBody::new(sessions::stream(operator))),
        path => failure(StatusCode::NOT_FOUND, &format!("nothing is known at {path}")),
    }
}

/// Has the operator do something with what the body says.
async fn changing<O: Operator, Q: DeserializeOwned + Send + 'static, T: Serialize>(
    operator: Arc<O>,
    body: &[u8],
    run: impl FnOnce(&O, Q) -> anyhow::Result<T> + Send + 'static,
) -> Answer {
    match serde_json::from_slice(body) {
        Ok(asked) => blocking(operator, move |operator| run(operator, asked)).await,
        Err(error) => failure(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn metrics<O: Operator>(operator: Arc<O>) -> Answer {
    match tokio::task::spawn_blocking(move || operator.metrics()).await {
        Ok(Ok(text)) => {
            let mut answer = answer(StatusCode::OK, whole(text));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROMETHEUS));
            answer
        }
        Ok(Err(error)) => failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn counters<O: Operator>(operator: &O) -> anyhow::Result<Map<String, Value>> {
    let values = operator.counters()?.into_iter();
    Ok(values.map(|(counter, value)| (counter.name().to_owned(), value.into())).collect())
}

/// Asks the operator on a thread that may block.
async fn blocking<O: Operator, T: Serialize>(
    operator: Arc<O>,
    ask: impl FnOnce(&O) -> anyhow::Result<T> + Send + 'static,
) -> Answer {
    let text = move || Ok(serde_json::to_string(&ask(&operator)?)? + "\n");
    let text: anyhow::Result<String> = match tokio::task::spawn_blocking(text).await {
        Ok(text) => text,
        Err(error) => Err(error.into()),
    };
    match text {
        Ok(text) => answer(StatusCode::OK, whole(text)),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
    }
}

fn failure(status: StatusCode, message: &str) -> Answer {
    answer(status, whole(format!("{}\n", json!({ "error": message }))))
}

fn whole(text: String) -> impl Body<Data = Bytes, Error = io::Error> + Send + 'static {
    Full::new(Bytes::from(text)).map_err(|never| match never {})
}

fn answer(
    status: StatusCode,
    body: impl Body<Data = Bytes, Error = io::Error> + Send + 'static,
) -> Answer {
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
