use super::*;
use proptest::prelude::*;
use uuid::Uuid;

const SID: &str = "uuid:0a1b2c3d-0000-4000-8000-0123456789ab";

fn sid() -> Uuid {
    Uuid::parse_str("0a1b2c3d-0000-4000-8000-0123456789ab").unwrap()
}

fn one(url: &str) -> Option<(String, String)> {
    let mut found = callbacks(&format!("<{url}>"));
    assert!(found.len() <= 1);
    found.pop().map(|callback| (callback.host(), callback.path))
}

#[test]
fn callback_urls_are_read_in_their_order() {
    let found = callbacks("<http://192.0.2.7:2869/upnp/eventing/abc> <http://192.0.2.8:49152/>");
    let hosts: Vec<_> = found.iter().map(Callback::host).collect();
    assert_eq!(hosts, ["192.0.2.7:2869", "192.0.2.8:49152"]);
    assert_eq!(callbacks("<http://192.0.2.7:1/a><http://192.0.2.7:2/b>").len(), 2);
    assert_eq!(callbacks(&"<http://192.0.2.7:1/a>".repeat(100)).len(), MAX_CALLBACKS);
}

#[test]
fn a_callback_url_is_taken_apart() {
    for (url, host, path) in [
        ("http://192.0.2.7:2869/a/b?c=d", "192.0.2.7:2869", "/a/b?c=d"),
        ("HTTP://192.0.2.7:2869", "192.0.2.7:2869", "/"),
        ("http://192.0.2.7", "192.0.2.7:80", "/"),
        ("http://192.0.2.7:5000?x", "192.0.2.7:5000", "/?x"),
        ("http://192.0.2.7:5000/a#b", "192.0.2.7:5000", "/a"),
        ("http://[fe80::7]:5000/a", "[fe80::7]:5000", "/a"),
        ("http://[fe80::7%25eth0]:5000/a", "[fe80::7]:5000", "/a"),
    ] {
        assert_eq!(one(url), Some((host.to_owned(), path.to_owned())), "{url}");
    }
}

#[test]
fn what_cannot_be_sent_to_is_no_callback() {
    for url in [
        "",
        "http://",
        "http:///path",
        "https://192.0.2.7:5000/",
        "file:///etc/passwd",
        "http://victim.example:5000/",
        "http://localhost:5000/",
        "http://user@192.0.2.7:5000/",
        "http://192.0.2.7@203.0.113.1:5000/",
        "http://192.0.2.7:0/",
        "http://192.0.2.7:65536/",
        "http://192.0.2.7:+80/",
        "http://192.0.2.7:/",
        "http://192.0.2.7:5000/a b",
        "http://192.0.2.7:5000/\r\nEvil: 1",
        "http://192.0.2.7:5000/\u{e4}",
        "http://[fe80::7:5000/",
        "http://[192.0.2.7]:5000/",
        "http://[fe80::7]5000/",
        "http://0x7f.1:5000/",
        "http://3221225991:5000/",
    ] {
        assert_eq!(one(url), None, "{url:?}");
    }
    assert_eq!(one(&format!("http://192.0.2.7:5000/{}", "x".repeat(1_000))), None);
    for header in ["", "http://192.0.2.7:5000/", "<http://192.0.2.7:5000/", "><", "<>"] {
        assert!(callbacks(header).is_empty(), "{header:?}");
    }
}

const NEW: EventHeaders<'_> = EventHeaders {
    callback: Some("<http://192.0.2.7:2869/x>"),
    nt: Some("upnp:event"),
    sid: None,
    timeout: Some("Second-1800"),
};
const KNOWN: EventHeaders<'_> =
    EventHeaders { callback: None, nt: None, sid: Some(SID), timeout: Some("Second-300") };

#[test]
fn a_subscription_and_its_renewal_are_told_apart() {
    let SubscribeRequest::New { callbacks, seconds } = subscribe(&NEW).unwrap() else {
        panic!("it is new");
    };
    assert_eq!((callbacks.len(), seconds), (1, Some(1_800)));
    assert_eq!(subscribe(&KNOWN), Ok(SubscribeRequest::Renew { sid: sid(), seconds: Some(300) }));
    assert_eq!(unsubscribe(&KNOWN), Ok(sid()));
}

#[test]
fn headers_that_do_not_go_together_have_their_status() {
    use EventError::{BadCallback, BadNt, BadSid, Incompatible};
    for (headers, expected, status) in [
        (EventHeaders { sid: Some(SID), ..NEW }, Incompatible, 400),
        (EventHeaders { nt: NEW.nt, ..KNOWN }, Incompatible, 400),
        (EventHeaders { callback: NEW.callback, ..KNOWN }, Incompatible, 400),
        (EventHeaders { callback: None, ..NEW }, BadCallback, 412),
        (EventHeaders { callback: Some("<ftp://192.0.2.7/>"), ..NEW }, BadCallback, 412),
        (EventHeaders { callback: None, nt: None, ..NEW }, BadCallback, 412),
        (EventHeaders { nt: None, ..NEW }, BadNt, 412),
        (EventHeaders { nt: Some("upnp:propchange"), ..NEW }, BadNt, 412),
        (EventHeaders { sid: Some("uuid:1"), ..KNOWN }, BadSid, 412),
        (EventHeaders { sid: Some(""), ..KNOWN }, BadSid, 412),
    ] {
        assert_eq!(subscribe(&headers), Err(expected), "{headers:?}");
        assert_eq!(expected.status(), status);
    }
    assert_eq!(unsubscribe(&EventHeaders::default()), Err(BadSid));
    assert_eq!(unsubscribe(&EventHeaders { nt: NEW.nt, ..KNOWN }), Err(Incompatible));
}

#[test]
fn a_timeout_is_a_number_of_seconds_or_the_gateways_choice() {
    for (text, expected) in [
        ("Second-300", Some(300)),
        (" second-0 ", Some(0)),
        ("Second-99999999999999999999", Some(u32::MAX)),
        ("Second-infinite", None),
        ("infinite", None),
        ("300", None),
        ("Second-", None),
        ("Second--1", None),
        ("", None),
    ] {
        let headers = EventHeaders { timeout: Some(text), ..KNOWN };
        let Ok(SubscribeRequest::Renew { seconds, .. }) = subscribe(&headers) else {
            panic!("{text}");
        };
        assert_eq!(seconds, expected, "{text}");
    }
}

#[test]
fn an_event_holds_what_the_device_architecture_wants() {
    let body = property_set([("SystemUpdateID", "7"), ("ExternalIPAddress", "<&>")]);
    let text = String::from_utf8(body.clone()).unwrap();
    assert!(text.starts_with("<?xml version=\"1.0\""), "{text}");
    assert!(
        text.ends_with(
            "\n<e:propertyset xmlns:e=\"urn:schemas-upnp-org:event-1-0\">\
             <e:property><SystemUpdateID>7</SystemUpdateID></e:property>\
             <e:property><ExternalIPAddress>&lt;&amp;&gt;</ExternalIPAddress></e:property>\
             </e:propertyset>\n"
        ),
        "{text}"
    );
    let to = callbacks("<http://192.0.2.7:2869/x?y>").remove(0);
    let message = String::from_utf8(notification(&to, sid(), 3, &body)).unwrap();
    let (head, sent) = message.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        head,
        format!(
            "NOTIFY /x?y HTTP/1.1\r\nHOST: 192.0.2.7:2869\r\n\
             CONTENT-TYPE: text/xml; charset=\"utf-8\"\r\nCONTENT-LENGTH: {}\r\n\
             NT: upnp:event\r\nNTS: upnp:propchange\r\nSID: {SID}\r\nSEQ: 3\r\nCONNECTION: close",
            body.len()
        )
    );
    assert_eq!(sent, text);
}

#[test]
fn an_event_can_be_read_line_by_line() {
    let text = String::from_utf8(property_set([("Uptime", "7"), ("Note", "two\nlines")])).unwrap();
    assert!(text.ends_with('\n'), "{text:?}");
    let mut lines = text.lines().skip(1);
    assert!(lines.next().is_some_and(|line| line.starts_with("<e:propertyset")), "{text:?}");
    assert!(lines.last().is_some_and(|line| line.ends_with("</e:propertyset>")), "{text:?}");
}

#[test]
fn an_answer_is_read_to_its_status() {
    for (bytes, expected) in [
        ("", Answer::More),
        ("HTTP/1.1 20", Answer::More),
        ("HTTP/1.1 200 OK\r\n", Answer::Status(200)),
        ("HTTP/1.0 412\r\n\r\n", Answer::Status(412)),
        ("HTTP/1.1 100 Continue\r\n\r\n", Answer::More),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\n", Answer::Status(503)),
        ("HTTP/2 200\r\n", Answer::Garbage),
        ("SSH-2.0-x\r\n", Answer::Garbage),
        ("HTTP/1.1 999 x\r\n", Answer::Garbage),
    ] {
        assert_eq!(answer(bytes.as_bytes()), expected, "{bytes:?}");
    }
    assert_eq!(answer(&[b'x'; 10_000]), Answer::Garbage);
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(
        callback in ".{0,80}", nt in ".{0,12}", sid in "(uuid:)?.{0,40}", timeout in "(Second-)?.{0,24}",
    ) {
        let headers = EventHeaders {
            callback: Some(&callback), nt: Some(&nt), sid: Some(&sid), timeout: Some(&timeout),
        };
        let _ = subscribe(&headers);
        let _ = unsubscribe(&headers);
        let _ = subscribe(&EventHeaders { sid: None, ..headers });
        let _ = unsubscribe(&EventHeaders { nt: None, callback: None, ..headers });
    }

    #[test]
    fn no_url_adds_a_line_to_the_message(url in "http://192\\.0\\.2\\.7(:[0-9]{1,6})?.{0,40}") {
        for callback in callbacks(&format!("<{url}>")) {
            let message = notification(&callback, Uuid::nil(), 0, b"");
            let text = String::from_utf8(message).unwrap();
            prop_assert_eq!(text.lines().count(), 10);
            prop_assert_eq!(text.lines().next().unwrap().split(' ').count(), 3);
        }
    }

    #[test]
    fn no_answer_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = answer(&bytes);
        let _ = answer(&[b"HTTP/1.1 100 \r\n".as_slice(), &bytes].concat());
    }

    #[test]
    fn every_value_comes_back_from_the_body(value in "[^\u{0}-\u{1f}\u{fffe}\u{ffff}]{0,40}") {
        let body = String::from_utf8(property_set([("V", value.as_str())])).unwrap();
        let escaped = body.split_once("<V>").unwrap().1.split_once("</V>").unwrap().0;
        prop_assert_eq!(quick_xml::escape::unescape(escaped).unwrap(), value);
    }
}
