use super::{admission::Refused, *};
use crate::{
    igd::{ControlRequest, ControlResponse, ReplyBody, ServiceKind, Tree},
    shutdown::{Trigger, shutdown},
};
use hyper::body::Bytes;
use std::sync::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    task::JoinHandle,
    time::Instant,
};

const LOCAL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 5000);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const SERVICE: ServiceKind = ServiceKind::WanIpConnection(Tree::Igd2);

/// Serves one of each kind, and remembers what it was asked.
#[derive(Default)]
struct FakeSite(Mutex<Vec<(Option<String>, Vec<u8>)>>);

impl Site for FakeSite {
    fn at(&self, path: &str) -> Option<Place> {
        match path {
            "/root.xml" => Some(Place::Document(Bytes::from_static(b"<root/>"))),
            "/control" => Some(Place::Control(SERVICE)),
            "/events" => Some(Place::Events(SERVICE)),
            _ => None,
        }
    }

    async fn control(&self, request: &ControlRequest<'_>) -> ControlResponse {
        assert_eq!((request.peer, request.service), (PEER, SERVICE));
        let action = request.soap_action.map(str::to_owned);
        self.0.lock().unwrap().push((action, request.body.to_vec()));
        ControlResponse { status: 200, body: ReplyBody::Whole(b"<done/>".to_vec()) }
    }
}

/// A connection to a [`FakeSite`].
struct Client {
    stream: DuplexStream,
    site: Arc<FakeSite>,
    served: JoinHandle<()>,
    trigger: Trigger,
}

fn client() -> Client {
    let (stream, server) = duplex(4096);
    let (trigger, shutdown) = shutdown();
    let site = Arc::new(FakeSite::default());
    let ends = Ends { local: LOCAL, peer: PEER };
    let served = tokio::spawn(serve_connection(server, ends, Arc::clone(&site), shutdown));
    Client { stream, site, served, trigger }
}

/// Sends `request`, then nothing more, and returns everything that comes back.
async fn exchange(request: impl AsRef<[u8]>) -> String {
    let Client { stream, trigger, .. } = client();
    let (mut read, mut write) = tokio::io::split(stream);
    let request = request.as_ref().to_vec();
    let writer = tokio::spawn(async move {
        // The server may hang up early.
        let _ = write.write_all(&request).await;
        let _ = write.shutdown().await;
    });
    let mut answer = Vec::new();
    read.read_to_end(&mut answer).await.unwrap();
    writer.abort();
    drop(trigger);
    String::from_utf8(answer).unwrap()
}

fn post(headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /control HTTP/1.1\r\nHost: 192.0.2.1\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_description_comes_as_xml_with_the_servers_name() {
    let answer = exchange("GET /root.xml HTTP/1.1\r\nHost: 192.0.2.1:5000\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(head.contains("Content-Type: text/xml; charset=\"utf-8\"\r\n"), "{answer}");
    assert!(head.contains(&format!("Server: {}\r\n", crate::wire::SERVER)), "{answer}");
    assert_eq!(body, "<root/>");
}

#[tokio::test]
async fn head_gets_the_headers_alone() {
    let answer = exchange("HEAD /root.xml HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("Content-Length: 7\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let mut client = client();
    client.stream.write_all(b"GET /root.xml HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("<root/>"), "{answer}");
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let request = "GET /root.xml HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n";
    let answer = exchange(request.repeat(3)).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
}

#[tokio::test]
async fn an_action_reaches_the_gateway_with_its_name_and_body() {
    let Client { mut stream, site, trigger: _trigger, .. } = client();
    let headers = "SOAPAction: \"urn:x#Do\"\r\nContent-Type: Text/XML ; charset=utf-8\r\n";
    stream.write_all(post(headers, "<do/>").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("<done/>"), "{answer}");
    assert!(answer.contains("\r\nExt: \r\n"), "{answer}");
    let asked = site.0.lock().unwrap();
    assert_eq!(*asked, [(Some("\"urn:x#Do\"".to_owned()), b"<do/>".to_vec())]);
}

#[tokio::test]
async fn chunks_and_expectations_are_understood() {
    let answer = exchange(
        "POST /control HTTP/1.1\r\nHost: 192.0.2.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
         3\r\n<do\r\n2\r\n/>\r\n0\r\n\r\n",
    )
    .await;
    let (interim, answer) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(interim, "HTTP/1.1 100 Continue");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_wrong_path_or_method_is_told_apart() {
    assert!(
        exchange("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n").await.starts_with("HTTP/1.1 404 ")
    );
    for (request, allowed) in [
        (
            "POST /root.xml HTTP/1.1\r\nHost: 192.0.2.1\r\nContent-Length: 0\r\n\r\n",
            "Allow: GET, HEAD\r\n",
        ),
        ("GET /control HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", "Allow: POST\r\n"),
        ("M-POST /control HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", "Allow: POST\r\n"),
        ("GET /events HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", "Allow: SUBSCRIBE, UNSUBSCRIBE\r\n"),
    ] {
        let answer = exchange(request).await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains(allowed), "{answer}");
    }
    assert!(
        exchange("SUBSCRIBE /events HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 501 ")
    );
}

#[tokio::test]
async fn a_request_for_another_host_is_refused() {
    for host in ["evil.example", "evil.example:5000", "192.0.2.2", "[::1]:5000", "", "192.0.2.1:x"]
    {
        let answer = exchange(format!("GET /root.xml HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{host}: {answer}");
    }
    let absolute = "GET http://evil.example/root.xml HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n";
    assert!(exchange(absolute).await.starts_with("HTTP/1.1 403 "));
    let none = exchange("GET /root.xml HTTP/1.1\r\n\r\n").await;
    assert!(none.starts_with("HTTP/1.1 400 "), "{none}");
    let old = exchange("GET /root.xml HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200 "), "{old}");
    let twice = "GET /root.xml HTTP/1.1\r\nHost: 192.0.2.1\r\nHost: evil.example\r\n\r\n";
    assert!(!exchange(twice).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_web_page_cannot_control_the_gateway() {
    let answer = exchange(post("Origin: http://evil.example\r\n", "<do/>")).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn only_xml_is_taken_for_an_action() {
    for kind in ["text/plain", "application/json", "text/xmlish", "multipart/form-data; a=b"] {
        let answer = exchange(post(&format!("Content-Type: {kind}\r\n"), "<do/>")).await;
        assert!(answer.starts_with("HTTP/1.1 415 "), "{kind}: {answer}");
    }
    for kind in ["text/xml", "application/xml;charset=utf-8", "application/soap+xml"] {
        let answer = exchange(post(&format!("Content-Type: {kind}\r\n"), "<do/>")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{kind}: {answer}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let longest = "x".repeat(limits::BODY_BYTES);
    assert!(exchange(post("", &longest)).await.starts_with("HTTP/1.1 200 "));
    let answer = exchange(post("", &format!("{longest}x"))).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    let endless = "POST /control HTTP/1.1\r\nHost: 192.0.2.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        .to_owned()
        + &format!("1000\r\n{}\r\n", "x".repeat(0x1000)).repeat(1100);
    assert!(exchange(endless).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_not_waited_for() {
    for request in [
        "POST /control HTTP/1.1\r\nHost: 192.0.2.1\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n",
        "POST /control HTTP/1.1\r\nHost: 192.0.2.1\r\nContent-Length: 18446744073709551615\r\n\r\n",
    ] {
        let mut client = client();
        client.stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.stream.read_to_string(&mut answer).await.unwrap();
        assert!(!answer.contains("100 Continue"), "{answer}");
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let long = format!("GET /root.xml HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(32 * 1024));
    assert!(exchange(long).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET /root.xml HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100));
    assert!(exchange(many).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn garbage_is_refused() {
    assert!(exchange("\0\x01\x02 garbage\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    assert_eq!(exchange("").await, "");
}

#[tokio::test]
async fn a_body_that_ends_early_is_refused() {
    let Client { mut stream, site, trigger: _trigger, .. } = client();
    stream
        .write_all(b"POST /control HTTP/1.1\r\nHost: 192.0.2.1\r\nContent-Length: 9\r\n\r\n<do")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    assert!(site.0.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_in_time_is_ended() {
    for (part, time) in [
        ("", limits::HEADER_TIME),
        ("GET /root.xml HTTP/1.1\r\nHost: 192.0.2.1\r\nHo", limits::HEADER_TIME),
        (
            "POST /control HTTP/1.1\r\nHost: 192.0.2.1\r\nContent-Length: 9\r\n\r\n<do",
            limits::BODY_TIME,
        ),
    ] {
        let mut client = client();
        let start = Instant::now();
        client.stream.write_all(part.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{part}: {answer}");
        assert!(start.elapsed() < time + Duration::from_secs(1), "{part}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_with_the_daemon() {
    let Client { mut stream, served, trigger, .. } = client();
    stream.write_all(b"GET /root.xml HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.unwrap();
    drop(trigger);
    let start = Instant::now();
    served.await.unwrap();
    assert!(start.elapsed() <= CLOSING_TIME);
}

#[test]
fn connections_are_limited_in_all_and_by_client() {
    let admission = Admission::new(3, 2);
    let other = Ipv4Addr::new(192, 0, 2, 8);
    let first = admission.admit(PEER).unwrap();
    let _second = admission.admit(PEER).unwrap();
    assert_eq!(admission.admit(PEER).unwrap_err(), Refused::ClientFull);
    let _third = admission.admit(other).unwrap();
    assert_eq!(admission.admit(other).unwrap_err(), Refused::Full);
    drop(first);
    admission.admit(PEER).unwrap();
}
