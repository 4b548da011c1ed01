//! A request, as often as it takes, and its answer.

use crate::{
    datapath::now,
    mapping::Random,
    upstream::Backoff,
    wire::pcp::{MAX_MESSAGE, Mapping, Request, Response, ResponseError},
};
use anyhow::bail;
use nat_common::BootTime;
use std::{io::ErrorKind, net::UdpSocket, time::Duration};

/// Sends a request until it is answered, by the timer of RFC 6887 8.1.1; `None` when that is not before
/// `end`.
pub(super) fn exchange(
    socket: &UdpSocket,
    request: &Request,
    end: BootTime,
) -> anyhow::Result<Option<Response>> {
    let mut random = Random::new(fastrand::u64(..));
    let message = request.encode();
    let mut timer = Backoff::start(now(), &mut random);
    let mut buffer = [0; MAX_MESSAGE + 1];
    loop {
        socket.send(&message)?;
        loop {
            let left = timer.due.min(end).nanos_from(now());
            if left == 0 {
                break;
            }
            socket.set_read_timeout(Some(Duration::from_nanos(left)))?;
            let length = match socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    bail!("there is no server");
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            match Response::decode(buffer.get(..length).unwrap_or_default()) {
                Ok(response) if answers(&response, request) => return Ok(Some(response)),
                Err(ResponseError::Version(version)) => {
                    bail!("it does not speak this version of PCP, but {version} (0 is NAT-PMP)");
                }
                _ => {}
            }
        }
        if now() >= end {
            return Ok(None);
        }
        timer = timer.again(now(), &mut random);
    }
}

/// Whether a response is about a request (RFC 6887 8.3, 11.4).
fn answers(response: &Response, request: &Request) -> bool {
    let Some(told) = response.operation() else { return !response.is_success() };
    let of = |mapping: &Mapping| (mapping.nonce, mapping.protocol, mapping.internal_port);
    told.opcode() == request.operation.opcode()
        && told.mapping().map(of) == request.operation.mapping().map(of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::pcp::{Nonce, Operation, Payload, ResultCode};
    use std::net::Ipv4Addr;

    const SOON: u64 = 30;

    fn mapping() -> Mapping {
        let nonce = Nonce(*b"twelve bytes");
        let external = Ipv4Addr::UNSPECIFIED.into();
        Mapping { nonce, protocol: 17, internal_port: 5600, external_port: 6000, external }
    }

    fn response(mapping: Mapping) -> Response {
        let payload = Payload::Known(Operation::Map(mapping), Vec::new());
        Response { result: ResultCode::Success, lifetime: 600, epoch: 9, payload }
    }

    /// A server's socket, and one that is connected to it.
    fn pair() -> (UdpSocket, UdpSocket) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server.local_addr().unwrap()).unwrap();
        (server, socket)
    }

    fn request(lifetime: u32, operation: Operation) -> Request {
        Request { lifetime, client: Ipv4Addr::LOCALHOST.into(), operation, options: Vec::new() }
    }

    #[test]
    fn an_answer_to_somebody_elses_request_is_passed_over() {
        let (server, socket) = pair();
        let request = request(600, Operation::Map(mapping()));
        let foreign = Mapping { nonce: Nonce([0; 12]), ..mapping() };
        for message in [b"x".to_vec(), response(foreign).encode(), response(mapping()).encode()] {
            server.send_to(&message, socket.local_addr().unwrap()).unwrap();
        }
        let answer = exchange(&socket, &request, now().plus_secs(SOON)).unwrap();
        assert_eq!(answer, Some(response(mapping())));
        assert_eq!(exchange(&socket, &request, now()).unwrap(), None);
    }

    #[test]
    fn a_server_of_another_version_is_told() {
        let (server, socket) = pair();
        let request = request(0, Operation::Announce);
        server.send_to(&[0, 0, 0, 1, 0, 0, 0, 9], socket.local_addr().unwrap()).unwrap();
        let told = exchange(&socket, &request, now().plus_secs(SOON)).unwrap_err().to_string();
        assert!(told.contains("but 0"), "{told}");
    }
}
