//! Requests that are wrong: each is answered clearly, and the gateway goes on.

use anyhow::Result;
use nat_tests::client::{
    Gateway, http,
    soap::{MAPPING, Mapping, Reply, WAN_IP_CONNECTION, envelope},
};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{EXTERNAL, Lab, Namespace, UdpReflector, WAN_HOST, udp_seen_as};
use nat_tests::lease::udp_answers;
use std::net::SocketAddrV4;

const CONTENT_TYPE: &str = "text/xml; charset=\"utf-8\"";
const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);

/// Runs `bad` against a gateway; before and after it everything must work.
fn survives(bad: impl FnOnce(&Namespace, &Gateway<'_>) -> Result<()>) -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _servers = (
        UdpReflector::start(&lab.wan, &SERVER.to_string())?,
        UdpReflector::start(&lab.lan, "192.168.77.2:5600")?,
    );
    let outgoing = lab.lan.udp("0.0.0.0:0")?;
    let seen = udp_seen_as(&outgoing, SERVER)?;
    let gateway = Gateway::discover(&lab.lan)?;
    bad(&lab.lan, &gateway)?;
    assert!(daemon.mappings()?.is_empty(), "a bad request has made a mapping");
    gateway.add(&MAPPING)?.success()?;
    assert!(udp_answers(&lab.wan, SocketAddrV4::new(EXTERNAL, 6000))?);
    assert_eq!(udp_seen_as(&outgoing, SERVER)?, seen);
    daemon.stop()?;
    lab.finish()
}

fn add_envelope() -> String {
    envelope("AddPortMapping", &MAPPING.arguments())
}

#[test]
fn arguments_that_are_missing_doubled_or_unknown_are_402() -> Result<()> {
    survives(|_, gateway| {
        let good = MAPPING.arguments();
        let mut bad = Vec::new();
        for missing in 0..good.len() {
            // Some old clients leave out NewRemoteHost.
            if good[missing].0 != "NewRemoteHost" {
                let mut arguments = good.to_vec();
                arguments.remove(missing);
                bad.push(arguments);
            }
            let mut arguments = good.to_vec();
            arguments.push(good[missing]);
            bad.push(arguments);
        }
        bad.push(Vec::new());
        for arguments in bad {
            let reply = gateway.call("AddPortMapping", &arguments)?;
            let answered = (reply.0.status, reply.error_code());
            assert_eq!(answered, (500, Some(402)), "{arguments:?}: {reply:?}");
        }
        Ok(())
    })
}

#[test]
fn values_out_of_their_range_are_refused() -> Result<()> {
    survives(|_, gateway| {
        let bad = [
            Mapping { external_port: "65536", ..MAPPING },
            Mapping { external_port: "-1", ..MAPPING },
            Mapping { external_port: "", ..MAPPING },
            Mapping { external_port: "six", ..MAPPING },
            Mapping { internal_port: "0", ..MAPPING },
            Mapping { internal_port: "99999999999999999999", ..MAPPING },
            Mapping { protocol: "SCTP", ..MAPPING },
            Mapping { protocol: "", ..MAPPING },
            Mapping { client: "", ..MAPPING },
            Mapping { client: "192.168.77.256", ..MAPPING },
            Mapping { client: "0.0.0.0", ..MAPPING },
            Mapping { lease: "604801", ..MAPPING },
            Mapping { lease: "4294967296", ..MAPPING },
            Mapping { remote_host: "300.1.1.1", ..MAPPING },
        ];
        for mapping in bad {
            let reply = gateway.add(&mapping)?;
            assert_eq!(reply.0.status, 500, "{mapping:?}: {reply:?}");
            assert!(reply.error_code().is_some(), "{mapping:?}: {reply:?}");
        }
        Ok(())
    })
}

#[test]
fn bodies_that_are_no_request_are_refused() -> Result<()> {
    survives(|_, gateway| {
        let good = add_envelope();
        let mut bad = vec![
            String::new(),
            " ".to_owned(),
            "not XML at all".to_owned(),
            "<?xml version=\"1.0\"?>".to_owned(),
            good.replace("http://schemas.xmlsoap.org/soap/envelope/", "urn:some-other-envelope"),
            good.replace("s:Body", "s:Torso"),
            good.replace("</u:AddPortMapping>", ""),
            good.replace("<s:Body>", &format!("<s:Body>{}", "<a>".repeat(2_000))),
            good.replace(
                "<?xml version=\"1.0\"?>",
                "<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY y \"yyyy\">]>",
            ),
        ];
        bad.extend((0..good.len()).step_by(29).map(|cut| good[..cut].to_owned()));
        for body in bad {
            let reply = gateway.post("AddPortMapping", &body)?;
            let status = reply.0.status;
            assert!((400..600).contains(&status), "{status} for {body:?}: {reply:?}");
        }
        Ok(())
    })
}

#[test]
fn actions_of_another_namespace_or_name_are_401() -> Result<()> {
    survives(|_, gateway| {
        let good = add_envelope();
        let other = "urn:schemas-upnp-org:service:WANPPPConnection:1";
        let reply = gateway.post("AddPortMapping", &good.replace(WAN_IP_CONNECTION, other))?;
        assert_eq!((reply.0.status, reply.error_code()), (500, Some(401)), "{reply:?}");
        let reply = gateway.call("OpenEveryPort", &[])?;
        assert_eq!((reply.0.status, reply.error_code()), (500, Some(401)), "{reply:?}");
        Ok(())
    })
}

#[test]
fn a_body_over_the_limit_is_413() -> Result<()> {
    survives(|lan, gateway| {
        let huge = add_envelope().replace("nat-tests", &"x".repeat(1 << 20));
        let told = gateway.post("AddPortMapping", &huge)?;
        assert_eq!(told.0.status, 413, "{told:?}");

        let head = gateway.request("POST", &gateway.control, CONTENT_TYPE, "AddPortMapping", "");
        let claimed = head.replace("Content-Length: 0", "Content-Length: 99999999999");
        let response = http::exchange(lan, gateway.server, claimed.as_bytes())?;
        assert_eq!(response.status, 413, "{response:?}");

        let chunked = head.replace("Content-Length: 0", "Transfer-Encoding: chunked");
        let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
        let request = format!("{chunked}{}0\r\n\r\n", chunk.repeat(32));
        let response = http::exchange(lan, gateway.server, request.as_bytes())?;
        assert_eq!(response.status, 413, "{response:?}");
        Ok(())
    })
}

#[test]
fn requests_that_end_early_do_no_harm() -> Result<()> {
    survives(|lan, gateway| {
        let good = gateway.request(
            "POST",
            &gateway.control,
            CONTENT_TYPE,
            "AddPortMapping",
            &add_envelope(),
        );
        for cut in (0..good.len()).step_by(61) {
            let request = &good.as_bytes()[..cut];
            let response = http::exchange_cut_off(lan, gateway.server, request)?;
            let refused = response.status == 0 || (400..600).contains(&response.status);
            assert!(refused, "cut off after {cut} bytes: {response:?}");
        }
        Ok(())
    })
}

#[test]
fn wrong_paths_methods_hosts_and_content_types_have_their_status() -> Result<()> {
    survives(|lan, gateway| {
        let body = add_envelope();
        let request = |method: &str, path: &str, content_type: &str| {
            gateway.request(method, path, content_type, "AddPortMapping", &body)
        };
        let control = gateway.control.as_str();
        let host = format!("Host: {}", gateway.server);
        let good = request("POST", control, CONTENT_TYPE);
        let cases: &[(&str, String, &[u16])] = &[
            ("path", request("POST", "/no/such/path", CONTENT_TYPE), &[404]),
            ("path", request("POST", &format!("{control}/../.."), CONTENT_TYPE), &[400, 404]),
            ("method", request("GET", control, CONTENT_TYPE), &[405]),
            ("method", request("DELETE", control, CONTENT_TYPE), &[405]),
            ("method", request("BREW", control, CONTENT_TYPE), &[405, 501]),
            ("content type", request("POST", control, "application/json"), &[415]),
            ("host", good.replace(&host, "Host: evil.example"), &[400, 403, 421]),
            ("host", good.replace(&host, "Host: 11.22.33.1:5000"), &[400, 403, 421]),
            ("host", good.replace(&format!("{host}\r\n"), ""), &[400]),
            ("action", good.replace("#AddPortMapping\"", "#GetStatusInfo\""), &[400, 500]),
            ("no HTTP", "hello\r\n\r\n".to_owned(), &[400, 0]),
        ];
        for (what, request, wanted) in cases {
            let response = http::exchange(lan, gateway.server, request.as_bytes())?;
            assert!(wanted.contains(&response.status), "{what}: {response:?}");
            if response.status == 405 {
                assert!(response.header("allow").is_some(), "{what}: {response:?}");
            }
        }
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20));
        let response = http::exchange(lan, gateway.server, long.as_bytes())?;
        assert!(response.status == 0 || (400..500).contains(&response.status), "{response:?}");
        Ok(())
    })
}

#[test]
fn a_fault_says_what_upnp_wants() -> Result<()> {
    survives(|_, gateway| {
        let reply: Reply = gateway.call("AddPortMapping", &[])?;
        assert_eq!(reply.0.status, 500);
        assert!(reply.0.header("content-type").is_some_and(|kind| kind.starts_with("text/xml")));
        assert_eq!(reply.value("faultstring"), Some("UPnPError"));
        assert!(reply.0.body.contains("urn:schemas-upnp-org:control-1-0"), "{reply:?}");
        assert!(reply.value("errorDescription").is_some_and(|text| !text.is_empty()));
        Ok(())
    })
}
