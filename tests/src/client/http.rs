//! An HTTP client that sends whatever bytes it is given.

use crate::lab::Namespace;
use anyhow::{Context, Result, ensure};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code; 0 when the connection was closed without an answer.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Response {
    /// The first header field of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Sends `request` as it is, and reads until the server closes the connection or the body is whole.
///
/// # Errors
/// When the connection fails or the answer is no HTTP.
pub fn exchange(from: &Namespace, server: SocketAddrV4, request: &[u8]) -> Result<Response> {
    let mut stream = from.tcp_connect(server)?;
    // A server that has refused the rest of a large request has its answer in the buffer already.
    if let Err(error) = stream.write_all(request) {
        ensure!(
            matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
            "cannot send: {error}"
        );
    }
    read_response(&mut stream)
}

/// As [`exchange`], and tells the server that nothing more will come: a request that ends early.
///
/// # Errors
/// As [`exchange`].
pub fn exchange_cut_off(
    from: &Namespace,
    server: SocketAddrV4,
    request: &[u8],
) -> Result<Response> {
    let mut stream = from.tcp_connect(server)?;
    stream.write_all(request)?;
    stream.shutdown(Shutdown::Write)?;
    read_response(&mut stream)
}

/// GETs a path.
///
/// # Errors
/// As [`exchange`].
pub fn get(from: &Namespace, server: SocketAddrV4, path: &str) -> Result<Response> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    exchange(from, server, request.as_bytes())
}

/// Reads one answer from a connection: until its body is whole, or the server closes it.
///
/// # Errors
/// As [`exchange`].
pub fn read_response(stream: &mut TcpStream) -> Result<Response> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(response) = parse(&bytes, false)? {
            return Ok(response);
        }
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error).context("no whole answer over HTTP"),
        }
    }
    let nothing = Response { status: 0, headers: Vec::new(), body: String::new() };
    Ok(parse(&bytes, true)?.unwrap_or(nothing))
}

/// A body that comes in chunks, once the last one is there.
fn dechunked(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (length, chunk) = rest.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.push_str(chunk.get(..length)?);
        rest = chunk.get(length..)?.strip_prefix("\r\n")?;
    }
}

/// `None` while there is more to come.
fn parse(bytes: &[u8], ended: bool) -> Result<Option<Response>> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1)?.parse().ok())
        .with_context(|| format!("not an HTTP status line: {status_line}"))?;
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut response = Response { status, headers, body: body.to_owned() };
    if response.header("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        let whole = dechunked(body);
        anyhow::ensure!(whole.is_some() || !ended, "a body that ends in the midst of a chunk");
        return Ok(whole.map(|body| {
            response.body = body;
            response
        }));
    }
    let length: Option<usize> =
        response.header("content-length").and_then(|value| value.parse().ok());
    let whole = ended || length.is_some_and(|length| response.body.len() >= length);
    Ok(whole.then_some(response))
}
