use super::*;
use crate::igd::Tree;
use crate::wire::SERVER;
use proptest::prelude::*;
use std::collections::HashSet;
use uuid::Uuid;

const ROOT: Uuid = Uuid::from_u128(0x1111_2222_3333_4444);

fn search(target: &str) -> String {
    format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\n\
         ST: {target}\r\n\r\n"
    )
}

fn answers(target: &str) -> Vec<String> {
    let request = SearchRequest::parse(search(target).as_bytes()).unwrap();
    request.answers(ROOT).into_iter().map(|answer| answer.usn).collect()
}

#[test]
fn every_device_service_and_uuid_of_both_trees_is_announced() {
    let all = announcements(ROOT);
    let targets: HashSet<_> = all.iter().map(|announcement| announcement.target.as_str()).collect();
    for name in [
        "device:InternetGatewayDevice:",
        "device:WANDevice:",
        "device:WANConnectionDevice:",
        "service:WANIPConnection:",
    ] {
        for version in 1..=2 {
            let urn = format!("urn:schemas-upnp-org:{name}{version}");
            assert!(targets.contains(urn.as_str()), "{urn}");
        }
    }
    assert!(targets.contains("urn:schemas-upnp-org:service:Layer3Forwarding:1"));
    assert!(targets.contains("urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1"));
    assert!(targets.contains("upnp:rootdevice"));
    assert_eq!(targets.iter().filter(|target| target.starts_with("uuid:")).count(), 6);
    for tree in Tree::ALL {
        let own = all.iter().filter(|announcement| announcement.tree == tree);
        assert_eq!(own.count(), 1 + 3 + 3 + 3);
    }
    let usns: HashSet<_> = all.iter().map(|announcement| announcement.usn.as_str()).collect();
    assert_eq!(usns.len(), all.len());
}

#[test]
fn searches_are_answered_by_the_tree_of_the_version_that_was_asked_for() {
    let device = "urn:schemas-upnp-org:device:InternetGatewayDevice";
    for tree in Tree::ALL {
        let target = format!("{device}:{}", tree.version());
        let uuid = tree.root_uuid(ROOT);
        assert_eq!(answers(&target), [format!("uuid:{uuid}::{target}")]);
        assert_eq!(answers(&format!("uuid:{uuid}")), [format!("uuid:{uuid}")]);
    }
    for unknown in ["3", "0", "02", "", "x", "99999999"] {
        let datagram = search(&format!("{device}:{unknown}"));
        let request = SearchRequest::parse(datagram.as_bytes());
        assert!(request.is_err() || request.unwrap().answers(ROOT).is_empty(), "{unknown}");
    }
    assert!(answers("urn:schemas-upnp-org:device:MediaServer:1").is_empty());
    let roots = Tree::ALL.map(|tree| format!("uuid:{}::upnp:rootdevice", tree.root_uuid(ROOT)));
    assert_eq!(answers("upnp:rootdevice"), roots);
    // Its version is 1 in both trees.
    assert_eq!(answers("urn:schemas-upnp-org:service:Layer3Forwarding:1").len(), 2);
    assert!(answers(&format!("uuid:{}", Uuid::nil())).is_empty());
    assert_eq!(answers("ssdp:all").len(), announcements(ROOT).len());
    let embedded = &announcements(ROOT)[4].target;
    assert!(embedded.starts_with("uuid:"));
    assert_eq!(answers(embedded), std::slice::from_ref(embedded));
}

#[test]
fn headers_are_read_in_any_case_and_order_and_with_bare_line_feeds() {
    let text = "M-SEARCH * HTTP/1.1\nst:ssdp:all\nUser-Agent: x\nman:\"ssdp:discover\"\n";
    let request = SearchRequest::parse(text.as_bytes()).unwrap();
    assert_eq!(request, SearchRequest { target: SearchTarget::All, max_wait: None });
}

#[test]
fn mx_is_brought_into_its_range() {
    for (mx, expected) in
        [("1", Ok(Some(1))), ("0", Ok(Some(1))), ("120", Ok(Some(5))), ("99999999999", Ok(Some(5)))]
    {
        let text = search("ssdp:all").replace("MX: 2", &format!("MX: {mx}"));
        let found = SearchRequest::parse(text.as_bytes()).map(|request| request.max_wait);
        assert_eq!(found, expected, "{mx}");
    }
    for mx in ["", "-1", "two", "1.5", "+3"] {
        let text = search("ssdp:all").replace("MX: 2", &format!("MX: {mx}"));
        assert_eq!(SearchRequest::parse(text.as_bytes()), Err(SearchError::BadMx), "{mx}");
    }
}

#[test]
fn what_is_no_search_is_refused() {
    let good = search("ssdp:all");
    for (text, expected) in [
        (String::new(), SearchError::NotASearch),
        ("NOTIFY * HTTP/1.1\r\n\r\n".into(), SearchError::NotASearch),
        ("HTTP/1.1 200 OK\r\n\r\n".into(), SearchError::NotASearch),
        (good.replace(" * ", " / "), SearchError::NotASearch),
        (good.replace("HTTP/1.1", "HTTP/2"), SearchError::NotASearch),
        (good.replace("ssdp:discover", "ssdp:other"), SearchError::BadMan),
        (good.replace("MAN", "MEN"), SearchError::BadMan),
        (good.replace("ST: ", "SX: "), SearchError::BadTarget),
        (search("rootdevice"), SearchError::BadTarget),
        (search("uuid:123"), SearchError::BadTarget),
        (good.replace("HOST: ", "HOST "), SearchError::BadHeader),
        (good.replace("MX: 2", "MX : 2"), SearchError::BadHeader),
        (good.replace("MX: 2", &format!("X: {}", "y".repeat(3_000))), SearchError::Unreadable),
    ] {
        assert_eq!(SearchRequest::parse(text.as_bytes()), Err(expected), "{text:.100}");
    }
    let mut bytes = good.into_bytes();
    bytes[40] = 0xff;
    assert_eq!(SearchRequest::parse(&bytes), Err(SearchError::Unreadable));
}

fn sender() -> Sender {
    Sender {
        scope: Scope::V4,
        server: "192.0.2.1:5000".to_owned(),
        max_age: 1_800,
        boot_id: 7,
        config_ids: [(Tree::Igd1, 8), (Tree::Igd2, 9)],
    }
}

#[test]
fn messages_hold_what_the_device_architecture_wants() {
    let of_igd2 = |announcement: &Announcement| announcement.tree == Tree::Igd2;
    let announcement = announcements(ROOT).into_iter().find(of_igd2).unwrap();
    let response = String::from_utf8(sender().search_response(&announcement)).unwrap();
    assert_eq!(
        response,
        format!(
            "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=1800\r\nEXT:\r\n\
             LOCATION: http://192.0.2.1:5000/igd2/rootDesc.xml\r\n\
             SERVER: {SERVER}\r\nST: upnp:rootdevice\r\n\
             USN: uuid:{ROOT}::upnp:rootdevice\r\nBOOTID.UPNP.ORG: 7\r\nCONFIGID.UPNP.ORG: 9\r\n\r\n"
        )
    );
    let alive = String::from_utf8(sender().alive(&announcement)).unwrap();
    assert!(alive.starts_with("NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n"));
    assert!(alive.contains("\r\nNTS: ssdp:alive\r\n") && alive.contains("\r\nLOCATION: "));
    let byebye = String::from_utf8(sender().byebye(&announcement)).unwrap();
    assert!(byebye.contains("\r\nNTS: ssdp:byebye\r\n") && !byebye.contains("LOCATION"));
    assert!(byebye.ends_with("\r\n\r\n"));
}

#[test]
fn an_update_tells_the_boot_ids_of_before_and_from_now_on() {
    let announcement = announcements(ROOT).swap_remove(0);
    let update = String::from_utf8(sender().update(&announcement, 5)).unwrap();
    assert!(update.contains("\r\nNTS: ssdp:update\r\n") && update.contains("\r\nLOCATION: "));
    assert!(update.contains("\r\nNEXTBOOTID.UPNP.ORG: 7\r\nBOOTID.UPNP.ORG: 5\r\n"), "{update}");
    assert!(!update.contains("CACHE-CONTROL"));
}

#[test]
fn each_scope_has_its_group() {
    for (scope, host) in [
        (Scope::V4, "239.255.255.250:1900"),
        (Scope::Link, "[ff02::c]:1900"),
        (Scope::Site, "[ff05::c]:1900"),
    ] {
        assert_eq!(scope.group().to_string(), host);
        let sender = Sender { scope, ..sender() };
        let alive = String::from_utf8(sender.alive(&announcements(ROOT)[0])).unwrap();
        assert!(alive.to_lowercase().contains(&format!("\r\nhost: {host}\r\n")), "{alive}");
    }
    for (address, scope) in
        [("192.0.2.1", Scope::V4), ("fe80::1", Scope::Link), ("fd00::1", Scope::Site)]
    {
        assert_eq!(Scope::of(address.parse().unwrap()), scope);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = SearchRequest::parse(&bytes);
        let _ = SearchRequest::parse(&[b"M-SEARCH * HTTP/1.1\r\n".as_slice(), &bytes].concat());
    }

    #[test]
    fn no_cut_makes_it_panic(cut in 0usize..200, target in ".{0,60}") {
        let text = search(&target).into_bytes();
        let _ = SearchRequest::parse(&text[..cut.min(text.len())]);
    }

    #[test]
    fn everything_announced_is_found_by_its_own_name(index in 0usize..20) {
        let announcement = announcements(ROOT).swap_remove(index);
        let request = SearchRequest::parse(search(&announcement.target).as_bytes()).unwrap();
        prop_assert!(request.answers(ROOT).contains(&announcement));
    }
}
