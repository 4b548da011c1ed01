//! A control point that costs little: requests are ready bytes, and of answers it reads what it must.

use anyhow::{Context as _, Result, bail, ensure};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

/// How long an answer may take: a large table costs some daemons minutes.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// A service's control URL.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) server: SocketAddrV4,
    pub(crate) path: String,
    pub(crate) kind: String,
}

impl Service {
    /// The bytes of a request. `arguments` are XML.
    pub(crate) fn request(&self, action: &str, arguments: &str, keep: bool) -> Vec<u8> {
        let Self { server, path, kind } = self;
        let body = format!(
            "<?xml version=\"1.0\"?>\r\n<s:Envelope \
             xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
             <u:{action} xmlns:u=\"{kind}\">{arguments}</u:{action}></s:Body></s:Envelope>\r\n"
        );
        let connection = if keep { "keep-alive" } else { "close" };
        format!(
            "POST {path} HTTP/1.1\r\nHost: {server}\r\nConnection: {connection}\r\n\
             Content-Type: text/xml; charset=\"utf-8\"\r\nContent-Length: {}\r\n\
             SOAPAction: \"{kind}#{action}\"\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// The request of a lease of an hour for the TCP port `port` of `client`, the same outside.
    pub(crate) fn add(&self, client: Ipv4Addr, port: u16, keep: bool) -> Vec<u8> {
        self.add_as(client, "TCP", port, keep)
    }

    /// The same for any protocol.
    pub(crate) fn add_as(
        &self,
        client: Ipv4Addr,
        protocol: &str,
        port: u16,
        keep: bool,
    ) -> Vec<u8> {
        let arguments = format!(
            "<NewRemoteHost></NewRemoteHost><NewExternalPort>{port}</NewExternalPort>\
             <NewProtocol>{protocol}</NewProtocol><NewInternalPort>{port}</NewInternalPort>\
             <NewInternalClient>{client}</NewInternalClient><NewEnabled>1</NewEnabled>\
             <NewPortMappingDescription>bench mapping</NewPortMappingDescription>\
             <NewLeaseDuration>3600</NewLeaseDuration>"
        );
        self.request("AddPortMapping", &arguments, keep)
    }

    /// Sends a request over a connection of its own, which the server ends.
    pub(crate) fn exchange(&self, request: &[u8]) -> Result<Answer> {
        let mut stream = connect(self.server)?;
        stream.write_all(request)?;
        let mut bytes = Vec::with_capacity(2_048);
        stream.read_to_end(&mut bytes).context("no whole answer")?;
        let (answer, _) = parse(&bytes, true)?.context("the connection ended without an answer")?;
        Ok(answer)
    }
}

/// A connection for one request after the other.
pub(crate) struct Kept {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Kept {
    pub(crate) fn new(server: SocketAddrV4) -> Result<Self> {
        Ok(Self { stream: connect(server)?, bytes: Vec::new() })
    }

    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request)?;
        let mut buffer = [0; 4_096];
        loop {
            if let Some((answer, length)) = parse(&self.bytes, false)? {
                self.bytes.drain(..length);
                return Ok(answer);
            }
            let length = self.stream.read(&mut buffer).context("no whole answer")?;
            ensure!(length > 0, "the server has closed a connection that is kept");
            self.bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
        }
    }
}

pub(crate) fn connect(server: SocketAddrV4) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server.into(), ANSWER_TIME)
        .with_context(|| format!("cannot connect to {server}"))?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads an answer, and how many bytes it has; `None` while it is not whole. `ended`: nothing more comes.
pub(crate) fn parse(bytes: &[u8], ended: bool) -> Result<Option<(Answer, usize)>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(head) = bytes.windows(END.len()).position(|window| window == END) else {
        return Ok(None);
    };
    let (head, rest) = bytes.split_at(head);
    let body = rest.get(END.len()..).unwrap_or_default();
    let begins = head.len() + END.len();
    let head = std::str::from_utf8(head).context("a head that is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let status = status.parse().with_context(|| format!("not a status: {status}"))?;
    let field = |name: &str| {
        let fields = lines.clone().filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    };
    if field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return match dechunked(body) {
            Some((body, length)) => Ok(Some((Answer { status, body }, begins + length))),
            None if ended => bail!("a body that ends in the midst of a chunk"),
            None => Ok(None),
        };
    }
    let length = match field("content-length") {
        Some(length) => length.parse().with_context(|| format!("not a length: {length}"))?,
        None if ended => body.len(),
        None => return Ok(None),
    };
    match body.get(..length) {
        Some(body) => Ok(Some((Answer { status, body: body.to_vec() }, begins + length))),
        None if ended => bail!("a body that ends too early"),
        None => Ok(None),
    }
}

/// A body that comes in chunks, and its length as sent; `None` before its end.
fn dechunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut rest) = (Vec::new(), bytes);
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n")?;
        let length = std::str::from_utf8(rest.get(..line)?).ok()?;
        let length = usize::from_str_radix(length.trim(), 16).ok()?;
        let chunk = rest.get(line + 2..)?;
        body.extend_from_slice(chunk.get(..length)?);
        rest = chunk.get(length..)?.strip_prefix(b"\r\n")?;
        if length == 0 {
            return Some((body, bytes.len() - rest.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbodyHTTP";
        for length in 0..bytes.len() - 4 {
            assert_eq!(parse(&bytes[..length], false).unwrap(), None, "{length}");
        }
        let (answer, length) = parse(bytes, false).unwrap().unwrap();
        assert_eq!((answer.status, answer.body.as_slice(), length), (200, &b"body"[..], 42));
    }

    #[test]
    fn an_answer_without_a_length_ends_with_its_connection() {
        let bytes = b"HTTP/1.0 500 Internal Server Error\r\nServer: x\r\n\r\nfault";
        assert_eq!(parse(bytes, false).unwrap(), None);
        let (answer, _) = parse(bytes, true).unwrap().unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (500, &b"fault"[..]));
    }

    #[test]
    fn chunks_are_joined() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(parse(&bytes[..bytes.len() - 1], false).unwrap(), None);
        assert!(parse(&bytes[..bytes.len() - 1], true).is_err());
        let (answer, length) = parse(bytes, false).unwrap().unwrap();
        assert_eq!((answer.body.as_slice(), length), (&b"abc0123456789"[..], bytes.len()));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert!(parse(b"HTTP/1.1 what\r\n\r\n", true).is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", true).is_err());
    }
}
