//! SUBSCRIBE and UNSUBSCRIBE, and the events that follow.
//!
//! The input is lines, `name: value`, as the headers of a request; and after an empty line what a
//! subscriber answers to an event.

use igd_control::wire::gena::{
    Callback, EventHeaders, SubscribeRequest, answer, notification, subscribe, unsubscribe,
    write_sid,
};
use std::net::IpAddr;

/// Takes the headers of a request. What is understood must be what is sent to and answered later.
pub fn run(input: &[u8]) {
    let (head, rest) = match input.windows(2).position(|window| window == b"\n\n") {
        Some(end) => input.split_at(end),
        None => (input, [].as_slice()),
    };
    let _ = answer(rest);
    let Ok(text) = std::str::from_utf8(head) else {
        return;
    };
    let mut headers = EventHeaders::default();
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let slot = match name.trim().to_ascii_uppercase().as_str() {
            "CALLBACK" => &mut headers.callback,
            "NT" => &mut headers.nt,
            "SID" => &mut headers.sid,
            "TIMEOUT" => &mut headers.timeout,
            _ => continue,
        };
        slot.get_or_insert(value.trim());
    }
    if let Ok(sid) = unsubscribe(&headers) {
        let again = write_sid(sid);
        let written = headers.sid.unwrap_or_default();
        assert!(written.trim().eq_ignore_ascii_case(&again), "{written} became {again}");
    }
    match subscribe(&headers) {
        Ok(SubscribeRequest::New { callbacks, .. }) => {
            assert!(!callbacks.is_empty() && headers.sid.is_none());
            callbacks.iter().for_each(check);
        }
        Ok(SubscribeRequest::Renew { .. }) => {
            assert!(headers.callback.is_none() && headers.nt.is_none());
        }
        Err(error) => assert!(matches!(error.status(), 400 | 412), "{error}"),
    }
}

/// Whatever a URL holds, the message to it has the lines that it should, and no others.
fn check(callback: &Callback) {
    assert!(callback.port != 0 && callback.path.starts_with('/'), "{callback:?}");
    let message = notification(callback, uuid::Uuid::nil(), 7, b"<body/>");
    let text = String::from_utf8_lossy(&message);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    assert_eq!(body, "<body/>");
    let names: Vec<_> = head.split("\r\n").skip(1).map(|line| line.split(':').next()).collect();
    let expected =
        ["HOST", "CONTENT-TYPE", "CONTENT-LENGTH", "NT", "NTS", "SID", "SEQ", "CONNECTION"];
    assert_eq!(names, expected.map(Some), "{text}");
    let start: Vec<_> = head.split("\r\n").next().unwrap_or_default().split(' ').collect();
    assert_eq!(start, ["NOTIFY", callback.path.as_str(), "HTTP/1.1"]);
    let host = match callback.address {
        IpAddr::V4(address) => format!("{address}:{}", callback.port),
        IpAddr::V6(address) => format!("[{address}]:{}", callback.port),
    };
    assert!(head.contains(&format!("\r\nHOST: {host}\r\n")), "{text}");
}
