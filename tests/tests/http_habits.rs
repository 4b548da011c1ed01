//! How real control points speak HTTP, SOAP and XML: each habit is served.

use anyhow::{Result, ensure};
use nat_tests::client::{
    Gateway,
    http::{self, Response},
    soap::{MAPPING, Mapping, Reply, WAN_IP_CONNECTION, envelope},
};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{Lab, Namespace};
use std::io::{Read, Write};
use std::time::Duration;

/// Runs `habit` against a gateway, which must then hold as many mappings as it says.
fn served(habit: impl FnOnce(&Namespace, &Gateway<'_>) -> Result<usize>) -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let mappings = habit(&lab.lan, &gateway)?;
    let held = daemon.mappings()?;
    ensure!(held.len() == mappings, "{held:?}");
    daemon.stop()?;
    lab.finish()
}

/// The mapping number `port`.
fn adding(port: u16) -> String {
    envelope("AddPortMapping", &Mapping { external_port: &port.to_string(), ..MAPPING }.arguments())
}

/// The head of a request, with these lines in it.
fn head(gateway: &Gateway<'_>, start: &str, lines: &str, length: usize) -> String {
    let server = gateway.server;
    format!("{start}\r\nHost: {server}\r\n{lines}Content-Length: {length}\r\n\r\n")
}

fn post(gateway: &Gateway<'_>, version: &str, lines: &str, body: &str) -> String {
    let start = format!("POST {} {version}", gateway.control);
    head(gateway, &start, lines, body.len()) + body
}

fn action(name: &str) -> String {
    format!("SOAPAction: \"{WAN_IP_CONNECTION}#{name}\"\r\nContent-Type: text/xml\r\n")
}

fn ok(response: Response) -> Result<()> {
    Reply(response).success()?;
    Ok(())
}

#[test]
fn http_1_0_with_and_without_host_and_keep_alive() -> Result<()> {
    served(|lan, gateway| {
        let lines = action("AddPortMapping");
        let request = post(gateway, "HTTP/1.0", &lines, &adding(6_000));
        ok(http::exchange(lan, gateway.server, request.as_bytes())?)?;
        let host = format!("Host: {}\r\n", gateway.server);
        let request = post(gateway, "HTTP/1.0", &lines, &adding(6_001)).replace(&host, "");
        ok(http::exchange(lan, gateway.server, request.as_bytes())?)?;
        let mut stream = lan.tcp_connect(gateway.server)?;
        for port in 6_002..6_004 {
            let lines = format!("{lines}Connection: Keep-Alive\r\n");
            stream.write_all(post(gateway, "HTTP/1.0", &lines, &adding(port)).as_bytes())?;
            ok(http::read_response(&mut stream)?)?;
        }
        Ok(4)
    })
}

#[test]
fn one_connection_is_kept_for_many_requests() -> Result<()> {
    served(|lan, gateway| {
        let mut stream = lan.tcp_connect(gateway.server)?;
        for port in 6_000..6_020 {
            let request = post(gateway, "HTTP/1.1", &action("AddPortMapping"), &adding(port));
            stream.write_all(request.as_bytes())?;
            ok(http::read_response(&mut stream)?)?;
        }
        Ok(20)
    })
}

#[test]
fn requests_are_sent_before_the_former_are_answered() -> Result<()> {
    served(|lan, gateway| {
        let lines = action("AddPortMapping");
        let requests: String =
            (6_000..6_008).map(|port| post(gateway, "HTTP/1.1", &lines, &adding(port))).collect();
        let mut stream = lan.tcp_connect(gateway.server)?;
        stream.write_all(requests.as_bytes())?;
        let mut answers = String::new();
        let mut buffer = [0; 4096];
        while answers.matches("AddPortMappingResponse>").count() < 8 {
            let length = stream.read(&mut buffer)?;
            ensure!(length > 0, "{answers}");
            answers.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 8);
        Ok(8)
    })
}

#[test]
fn connection_close_is_heard() -> Result<()> {
    served(|lan, gateway| {
        let mut stream = lan.tcp_connect(gateway.server)?;
        let lines = action("AddPortMapping") + "Connection: close\r\n";
        stream.write_all(post(gateway, "HTTP/1.1", &lines, &adding(6_000)).as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        Ok(1)
    })
}

#[test]
fn a_body_waits_for_100_continue() -> Result<()> {
    served(|lan, gateway| {
        let mut stream = lan.tcp_connect(gateway.server)?;
        let body = adding(6_000);
        let start = format!("POST {} HTTP/1.1", gateway.control);
        let lines = action("AddPortMapping") + "Expect: 100-continue\r\n";
        stream.write_all(head(gateway, &start, &lines, body.len()).as_bytes())?;
        let mut buffer = [0; 64];
        let length = stream.read(&mut buffer)?;
        let interim = String::from_utf8_lossy(&buffer[..length]).into_owned();
        ensure!(interim == "HTTP/1.1 100 Continue\r\n\r\n", "{interim}");
        stream.write_all(body.as_bytes())?;
        ok(http::read_response(&mut stream)?)?;
        Ok(1)
    })
}

#[test]
fn a_body_comes_in_chunks_and_slowly() -> Result<()> {
    served(|lan, gateway| {
        let mut stream = lan.tcp_connect(gateway.server)?;
        let start = format!("POST {} HTTP/1.1", gateway.control);
        let lines = action("AddPortMapping") + "Transfer-Encoding: chunked\r\n";
        let head = head(gateway, &start, &lines, 0).replace("Content-Length: 0\r\n", "");
        stream.write_all(head.as_bytes())?;
        stream.set_nodelay(true)?;
        let body = adding(6_000);
        for (number, part) in body.as_bytes().chunks(100).enumerate() {
            let extension = if number % 2 == 0 { "" } else { ";name=value" };
            stream.write_all(format!("{:X}{extension}\r\n", part.len()).as_bytes())?;
            stream.write_all(part)?;
            stream.write_all(b"\r\n")?;
        }
        stream.write_all(b"0\r\nX-Trailer: yes\r\n\r\n")?;
        ok(http::read_response(&mut stream)?)?;
        // A request in two packets, cut within its head.
        let request = post(gateway, "HTTP/1.1", &action("AddPortMapping"), &adding(6_001));
        let mut stream = lan.tcp_connect(gateway.server)?;
        stream.set_nodelay(true)?;
        stream.write_all(&request.as_bytes()[..25])?;
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(&request.as_bytes()[25..])?;
        ok(http::read_response(&mut stream)?)?;
        Ok(2)
    })
}

#[test]
fn soapaction_is_written_in_many_ways() -> Result<()> {
    served(|lan, gateway| {
        let kind = "Content-Type: text/xml; charset=\"utf-8\"\r\n";
        let name = format!("{WAN_IP_CONNECTION}#AddPortMapping");
        let soap = "\"http://schemas.xmlsoap.org/soap/envelope/\"";
        for (method, lines) in [
            ("POST", format!("{kind}SOAPAction: {name}\r\n")),
            ("POST", format!("{kind}soapaction:\"{name}\"\r\n")),
            ("POST", format!("SOAPACTION:   \"{name}\"  \r\n")),
            ("POST", format!("{kind}SoapAction:\t\"{name}\"\r\n")),
            ("M-POST", format!("{kind}MAN: {soap}; ns=01\r\n01-SOAPACTION: \"{name}\"\r\n")),
            ("POST", format!("{kind}Man: {soap};ns=01\r\n01-SoapAction: {name}\r\n")),
        ] {
            let request =
                post(gateway, "HTTP/1.1", &lines, &adding(6_000)).replacen("POST", method, 1);
            let response = http::exchange(lan, gateway.server, request.as_bytes())?;
            ensure!(response.status == 200, "{lines}: {response:?}");
        }
        Ok(1)
    })
}

#[test]
fn xml_is_written_in_many_ways() -> Result<()> {
    served(|_, gateway| {
        let good = adding(6_000);
        let unprefixed = good
            .replace("<s:", "<")
            .replace("</s:", "</")
            .replace("xmlns:s=", "xmlns=")
            .replace("s:encodingStyle", "encodingStyle");
        for body in [
            good.replace("<s:", "<SOAP-ENV:")
                .replace("</s:", "</SOAP-ENV:")
                .replace("xmlns:s=", "xmlns:SOAP-ENV=")
                .replace(" s:encodingStyle", " SOAP-ENV:encodingStyle"),
            good.replace("<u:", "<m:").replace("</u:", "</m:").replace("xmlns:u=", "xmlns:m="),
            good.replace("<u:", "<").replace("</u:", "</").replace("xmlns:u=", "xmlns="),
            unprefixed,
            good.replace("<s:Body>", "<!-- a comment --><s:Header/><s:Body><?some thing?>"),
            good.replace("<NewProtocol>", "<!-- one --><NewProtocol>"),
            good.replace("<NewRemoteHost></NewRemoteHost>", "<NewRemoteHost/>")
                .replace("><", ">\r\n\t<"),
            format!("\u{feff}{good}"),
            format!("{good}\r\n\r\n"),
            good.replace("<?xml version=\"1.0\"?>", "<?xml version='1.0' encoding='UTF-8'?>\r\n"),
            good.replace("<?xml version=\"1.0\"?>", ""),
            good.replace("<NewRemoteHost></NewRemoteHost>", "<NewRemoteHost/>"),
            good.replace("<NewProtocol>", "<NewProtocol xmlns:dt=\"urn:x\" dt:dt=\"string\">"),
            good.replace("nat-tests", "<![CDATA[<nat>]]> &amp; &#116;ests"),
        ] {
            let reply = gateway.post("AddPortMapping", &body)?;
            ensure!(reply.0.status == 200, "{body}: {reply:?}");
        }
        Ok(1)
    })
}

#[test]
fn document_types_and_entity_bombs_are_refused() -> Result<()> {
    served(|_, gateway| {
        let good = adding(6_000);
        let declaration = "<?xml version=\"1.0\"?>";
        let bomb: String =
            (1..10).map(|n| format!("<!ENTITY a{n} \"&a{};&a{};\">", n - 1, n - 1)).collect();
        for document_type in [
            "<!DOCTYPE x>".to_owned(),
            "<!DOCTYPE x SYSTEM \"http://192.168.77.2/x.dtd\">".to_owned(),
            "<!DOCTYPE x [<!ENTITY y SYSTEM \"file:///etc/passwd\">]>".to_owned(),
            format!("<!DOCTYPE x [<!ENTITY a0 \"aaaa\">{bomb}]>"),
        ] {
            let body = good.replace(declaration, &format!("{declaration}{document_type}"));
            let body = body.replace("nat-tests", "&a9;");
            let reply = gateway.post("AddPortMapping", &body)?;
            ensure!(reply.0.status == 400, "{document_type}: {reply:?}");
        }
        let unknown = gateway.post("AddPortMapping", &good.replace("nat-tests", "&y;"))?;
        ensure!(unknown.0.status == 400, "{unknown:?}");
        Ok(0)
    })
}

#[test]
fn one_port_is_asked_for_four_times_and_by_both_protocols() -> Result<()> {
    served(|_, gateway| {
        for _ in 0..4 {
            gateway.add(&MAPPING)?.success()?;
            gateway.add(&Mapping { protocol: "TCP", ..MAPPING })?.success()?;
        }
        Ok(2)
    })
}

#[test]
fn hosts_are_named_with_and_without_their_port() -> Result<()> {
    served(|lan, gateway| {
        let address = gateway.server.ip().to_string();
        let get = |host: &str| {
            let request = format!("GET /igd2/rootDesc.xml HTTP/1.1\r\nHost:{host}\r\n\r\n");
            Ok::<_, anyhow::Error>(http::exchange(lan, gateway.server, request.as_bytes())?.status)
        };
        for host in [address.clone(), format!(" {address}:5000 "), format!("\t{address}:1")] {
            assert_eq!(get(&host)?, 200, "{host:?}");
        }
        for host in
            ["igd.example:5000", "igd.example", "localhost", "11.22.33.1:5000", "[::1]:5000"]
        {
            assert_eq!(get(host)?, 403, "{host:?}");
        }
        let absolute = format!(
            "GET http://{address}:5000/igd2/rootDesc.xml HTTP/1.1\r\nHost: {address}\r\n\r\n"
        );
        assert_eq!(http::exchange(lan, gateway.server, absolute.as_bytes())?.status, 200);
        Ok(0)
    })
}
