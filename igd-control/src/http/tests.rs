use super::{admission::Refused, *};
use crate::{
    gena::Subscriber,
    lan::lan_address,
    wire::gena::{EventError, Granted, SubscribeRequest},
};
use crate::{
    igd::{ControlRequest, ControlResponse, ReplyBody, ServiceKind, Tree},
    shutdown::{Trigger, shutdown},
};
use hyper::body::Bytes;
use std::{net::Ipv4Addr, sync::Mutex};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    task::JoinHandle,
    time::Instant,
};
use uuid::Uuid;

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

    fn subscribe(
        &self,
        service: ServiceKind,
        who: Subscriber,
        request: SubscribeRequest,
    ) -> Result<Granted, EventError> {
        assert_eq!((service, who), (SERVICE, subscriber()));
        match request {
            SubscribeRequest::New { .. } => Ok(Granted { sid: SID, seconds: 1_800 }),
            SubscribeRequest::Renew { sid: SID, .. } => Ok(Granted { sid: SID, seconds: 1_801 }),
            SubscribeRequest::Renew { .. } => Err(EventError::BadSid),
        }
    }

    fn unsubscribe(
        &self,
        service: ServiceKind,
        who: &Subscriber,
        sid: Uuid,
    ) -> Result<(), EventError> {
        assert_eq!((service, who), (SERVICE, &subscriber()));
        if sid == SID { Ok(()) } else { Err(EventError::BadSid) }
    }
}

const SID: Uuid = Uuid::from_u128(0x0a1b_2c3d_0000_4000_8000_0123_4567_89ab);

fn subscriber() -> Subscriber {
    Subscriber { at: lan_address("192.0.2.1", 24), peer: PEER.into() }
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
    let ends = Ends { at: lan_address("192.0.2.1", 24), peer: PEER.into() };
    let served = tokio::spawn({
        let site = Arc::clone(&site);
        let admitted = Admission::new(1, 1).admit(PEER.into()).unwrap();
        async move { serve_connection(server, ends, site, &admitted, shutdown).await }
    });
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
        ("GET /control HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", "Allow: POST, M-POST\r\n"),
        ("GET /events HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", "Allow: SUBSCRIBE, UNSUBSCRIBE\r\n"),
    ] {
        let answer = exchange(request).await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains(allowed), "{answer}");
    }
}

fn events(method: &str, headers: &str) -> String {
    format!("{method} /events HTTP/1.1\r\nHost: 192.0.2.1\r\n{headers}\r\n")
}

#[tokio::test]
async fn a_subscription_is_granted_renewed_and_ended() {
    let new = "CALLBACK: <http://192.0.2.7:2869/x>\r\nNT: upnp:event\r\nTIMEOUT: Second-1800\r\n";
    let answer = exchange(events("SUBSCRIBE", new)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(&format!("\r\nSid: uuid:{SID}\r\n")), "{answer}");
    assert!(answer.contains("\r\nTimeout: Second-1800\r\n"), "{answer}");
    assert!(answer.contains("\r\nContent-Length: 0\r\n"), "{answer}");
    assert!(answer.contains("\r\nServer: ") && answer.contains("\r\nDate: "), "{answer}");
    let sid = format!("SID: uuid:{SID}\r\n");
    let answer = exchange(events("SUBSCRIBE", &sid)).await;
    assert!(answer.contains("\r\nTimeout: Second-1801\r\n"), "{answer}");
    assert!(exchange(events("UNSUBSCRIBE", &sid)).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_subscription_that_cannot_be_has_its_status() {
    let (nt, callback) = ("NT: upnp:event\r\n", "CALLBACK: <http://192.0.2.7:2869/x>\r\n");
    let sid = format!("SID: uuid:{SID}\r\n");
    let other = format!("SID: uuid:{}\r\n", Uuid::nil());
    for (method, headers, status) in [
        ("SUBSCRIBE", String::new(), 412),
        ("SUBSCRIBE", nt.to_owned(), 412),
        ("SUBSCRIBE", callback.to_owned(), 412),
        ("SUBSCRIBE", format!("{sid}{nt}"), 400),
        ("SUBSCRIBE", other.clone(), 412),
        ("SUBSCRIBE", format!("{nt}{callback}Origin: http://evil.example\r\n"), 403),
        ("UNSUBSCRIBE", String::new(), 412),
        ("UNSUBSCRIBE", other, 412),
        ("UNSUBSCRIBE", format!("{sid}{callback}"), 400),
    ] {
        let answer = exchange(events(method, &headers)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}: {answer}");
    }
}

#[tokio::test]
async fn the_extension_of_m_post_names_the_action() {
    let soap = "\"http://schemas.xmlsoap.org/soap/envelope/\"";
    for (method, headers, status, action) in [
        ("M-POST", format!("MAN: {soap}; ns=01\r\n01-SOAPAction: a#b\r\n"), 200, Some("a#b")),
        ("M-POST", format!("Man: {soap} ; Ns=\"9\"\r\n9-SOAPACTION: a#b\r\n"), 200, Some("a#b")),
        ("POST", format!("MAN: {soap}; ns=01\r\n01-SOAPAction: a#b\r\n"), 200, Some("a#b")),
        ("M-POST", format!("MAN: {soap}; ns=01\r\nSOAPAction: a#b\r\n"), 200, Some("a#b")),
        ("POST", String::new(), 200, None),
        ("M-POST", String::new(), 510, None),
        ("M-POST", format!("MAN: {soap}\r\n01-SOAPAction: a#b\r\n"), 510, None),
        ("M-POST", format!("MAN: {soap}; ns=02\r\n01-SOAPAction: a#b\r\n"), 510, None),
        ("M-POST", "MAN: \"urn:x\"; ns=01\r\n01-SOAPAction: a#b\r\n".into(), 510, None),
    ] {
        let Client { mut stream, site, trigger: _trigger, .. } = client();
        let request = post(&headers, "<do/>").replacen("POST", method, 1);
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}: {answer}");
        let asked = site.0.lock().unwrap();
        assert_eq!(asked.first().and_then(|asked| asked.0.as_deref()), action, "{headers}");
    }
}

#[tokio::test]
async fn spaces_case_and_order_of_headers_are_free() {
    for headers in [
        "soapaction:\"urn:x#Do\"\r\ncontent-type:text/xml\r\n",
        "SOAPACTION:    \"urn:x#Do\"   \r\nCONTENT-TYPE:\ttext/xml;charset=\"utf-8\"\r\n",
        "Content-Type: text/xml;  charset=UTF-8\r\nSoapAction: \"urn:x#Do\"\r\nConnection: Close\r\n",
        "X-Strange: \r\nSOAPAction: \"urn:x#Do\"\r\n",
    ] {
        let answer = exchange(post(headers, "<do/>")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{headers}: {answer}");
    }
    // RFC 9112 5.1: white space before the colon must be refused.
    let answer = exchange(post("SOAPAction : x\r\n", "<do/>")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn who_asks_for_the_connections_end_gets_it() {
    let mut client = client();
    let request = "GET /root.xml HTTP/1.1\r\nHost: 192.0.2.1\r\nConnection: close\r\n\r\n";
    client.stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.to_lowercase().contains("connection: close\r\n"), "{answer}");
    let mut client = self::client();
    let request = "GET /root.xml HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    for _ in 0..2 {
        client.stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = client.stream.read(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer[..length]).starts_with("HTTP/1.0 200 "));
    }
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

fn peer(number: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, number])
}

/// Whether a connection has to give way.
async fn gives_way(admitted: &admission::Admitted) -> bool {
    timeout(Duration::ZERO, admitted.evicted()).await.is_ok()
}

#[tokio::test]
async fn of_a_client_with_too_many_connections_the_longest_silent_gives_way() {
    let admission = Admission::new(10, 2);
    let first = admission.admit(peer(7)).unwrap();
    let second = admission.admit(peer(7)).unwrap();
    first.touch();
    let third = admission.admit(peer(7)).unwrap();
    assert!(gives_way(&second).await && !gives_way(&first).await && !gives_way(&third).await);
    assert_eq!(admission.connections(), 2);
    drop((first, second, third));
    assert_eq!(admission.connections(), 0);
}

#[tokio::test]
async fn when_all_places_are_taken_the_greediest_client_gives_one() {
    let admission = Admission::new(4, 3);
    let greedy = [(); 3].map(|()| admission.admit(peer(7)).unwrap());
    let _other = admission.admit(peer(8)).unwrap();
    let newcomer = admission.admit(peer(9)).unwrap();
    assert!(gives_way(&greedy[0]).await && !gives_way(&greedy[1]).await);
    assert!(!gives_way(&newcomer).await);
    // Nobody gives way to one who has as many.
    let _more = admission.admit(peer(8)).unwrap();
    assert_eq!(admission.admit(peer(8)).unwrap_err(), Refused);
    assert_eq!(admission.connections(), 4);
}

#[tokio::test]
async fn many_clients_with_a_connection_each_do_not_lock_others_out() {
    let admission = Admission::new(16, 4);
    let mut flood: Vec<_> = (10..26).map(|number| admission.admit(peer(number)).unwrap()).collect();
    let newcomer = admission.admit(peer(7)).unwrap();
    assert_eq!(admission.connections(), 16);
    assert!(!gives_way(&newcomer).await);
    flood.clear();
    assert_eq!(admission.connections(), 1);
}
