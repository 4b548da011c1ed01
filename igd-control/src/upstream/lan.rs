//! What clients of PCP and NAT-PMP in the LAN are answered, when a server upstream has a say in it.

use super::Port;
use crate::mapping::PeerKey;
use crate::wire::nat_pmp::{self, Answer};
use crate::wire::pcp::{
    Operation, Payload, PcpOption, Request, Response, ResultCode, error_response,
};
use nat_common::Protocol;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

/// The port of the mapping that an answer grants, and whether the gateway has chosen it.
pub fn granted(datagram: &[u8], answer: &[u8]) -> Option<(Port, bool)> {
    if let Ok(nat_pmp::Response { result: nat_pmp::ResultCode::Success, answer, .. }) =
        nat_pmp::Response::decode(answer)
    {
        let Answer::Map(mapping) = answer else { return None };
        let port = Port { protocol: mapping.protocol, number: mapping.external_port };
        return (mapping.lifetime != 0 && port.number != 0).then_some((port, true));
    }
    let response = Response::decode(answer).ok().filter(Response::is_success)?;
    let Some(Operation::Map(mapping)) = response.operation() else { return None };
    let protocol = protocol(mapping.protocol)?;
    let exactly =
        Request::decode(datagram).is_ok_and(|it| it.options.contains(&PcpOption::PreferFailure));
    let port = Port { protocol, number: mapping.external_port };
    (response.lifetime != 0 && port.number != 0).then_some((port, !exactly))
}

/// The session with a remote peer that an answer grants to a client.
pub fn granted_peer(client: Ipv4Addr, answer: &[u8]) -> Option<PeerKey> {
    let response = Response::decode(answer).ok().filter(Response::is_success)?;
    let Some(Operation::Peer(mapping, remote)) = response.operation() else { return None };
    let IpAddr::V4(address) = remote.address else { return None };
    let third = response.options().iter().find_map(|option| match option {
        PcpOption::ThirdParty(IpAddr::V4(third)) => Some(*third),
        _ => None,
    });
    let key = PeerKey {
        protocol: protocol(mapping.protocol)?,
        internal: SocketAddrV4::new(third.unwrap_or(client), mapping.internal_port),
        remote: SocketAddrV4::new(address, remote.port),
    };
    (response.lifetime != 0).then_some(key)
}

/// An answer about a session as the server upstream has it: with this external endpoint, for no longer than
/// it grants. It is refused where another port was wished for (RFC 6887 12.2).
pub fn adjusted_peer(
    datagram: &[u8],
    answer: &[u8],
    external: SocketAddrV4,
    seconds: u32,
) -> Vec<u8> {
    let asked = Request::decode(datagram).ok();
    let wished = asked.and_then(|asked| asked.operation.mapping().map(|it| it.external_port));
    if wished.is_some_and(|port| port != 0 && port != external.port()) {
        return refused(datagram, answer, ResultCode::CannotProvideExternal);
    }
    let Ok(mut response) = Response::decode(answer) else { return answer.to_vec() };
    if let Payload::Known(Operation::Peer(mapping, _), _) = &mut response.payload {
        mapping.external_port = external.port();
        mapping.external = (*external.ip()).into();
        response.lifetime = response.lifetime.min(seconds);
    }
    response.encode()
}

const fn protocol(number: u8) -> Option<Protocol> {
    match number {
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        _ => None,
    }
}

/// An answer as the server upstream has it: with this external port, and never for longer than it grants
/// (the draft's section 5.6).
pub fn adjusted(answer: &[u8], port: Port, seconds: u32) -> Vec<u8> {
    if let Ok(mut response) = nat_pmp::Response::decode(answer) {
        if let Answer::Map(mapping) = &mut response.answer {
            mapping.external_port = port.number;
            mapping.lifetime = mapping.lifetime.min(seconds);
        }
        return response.encode();
    }
    let Ok(mut response) = Response::decode(answer) else { return answer.to_vec() };
    if let Payload::Known(Operation::Map(mapping), _) = &mut response.payload {
        mapping.external_port = port.number;
        response.lifetime = response.lifetime.min(seconds);
    }
    response.encode()
}

/// The error in the place of an answer that grants something.
pub fn refused(datagram: &[u8], answer: &[u8], code: ResultCode) -> Vec<u8> {
    if let Ok(response) = nat_pmp::Response::decode(answer) {
        let result = match code {
            ResultCode::NotAuthorized => nat_pmp::ResultCode::NotAuthorized,
            ResultCode::NetworkFailure => nat_pmp::ResultCode::NetworkFailure,
            _ => nat_pmp::ResultCode::OutOfResources,
        };
        let answer = match response.answer {
            Answer::Map(mapping) => {
                Answer::Map(nat_pmp::Mapping { external_port: 0, lifetime: 0, ..mapping })
            }
            other => other,
        };
        return nat_pmp::Response { result, answer, ..response }.encode();
    }
    let epoch = Response::decode(answer).map_or(0, |response| response.epoch);
    // Of the codes, those about the request as we have written it are none of the client's.
    let (code, lifetime) = match code {
        code if code.is_short() => (code, 30),
        // The last one is only said to who has asked by an opcode that the server does not know.
        ResultCode::NotAuthorized | ResultCode::UnsuppOpcode => (code, 1_800),
        _ => (ResultCode::NoResources, 30),
    };
    error_response(datagram, code, lifetime, epoch, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::pcp::{Mapping, Nonce};

    fn pcp(options: Vec<PcpOption>) -> (Vec<u8>, Vec<u8>) {
        let mapping = Mapping {
            nonce: Nonce([7; 12]),
            protocol: 6,
            internal_port: 80,
            external_port: 6_000,
            external: Ipv4Addr::new(11, 22, 33, 1).into(),
        };
        let client = Ipv4Addr::new(192, 168, 77, 2).into();
        let operation = Operation::Map(mapping);
        let request = Request { lifetime: 3_600, client, operation, options: options.clone() };
        let payload = Payload::Known(operation, options);
        let response = Response { result: ResultCode::Success, lifetime: 3_600, epoch: 5, payload };
        (request.encode(), response.encode())
    }

    fn nat_pmp() -> (Vec<u8>, Vec<u8>) {
        let mapping = nat_pmp::Mapping {
            protocol: Protocol::Udp,
            internal_port: 80,
            external_port: 6_000,
            lifetime: 3_600,
        };
        let answer = Answer::Map(mapping);
        let result = nat_pmp::ResultCode::Success;
        let response = nat_pmp::Response { result, epoch: 5, answer };
        (nat_pmp::Request::Map(mapping).encode(), response.encode())
    }

    #[test]
    fn a_grant_is_told_by_its_port_and_whether_that_was_chosen_here() {
        let port = Port { protocol: Protocol::Tcp, number: 6_000 };
        for (options, chosen) in [(vec![], true), (vec![PcpOption::PreferFailure], false)] {
            let (request, answer) = pcp(options);
            assert_eq!(granted(&request, &answer), Some((port, chosen)));
        }
        let (request, answer) = nat_pmp();
        let port = Port { protocol: Protocol::Udp, ..port };
        assert_eq!(granted(&request, &answer), Some((port, true)));
        assert_eq!(granted(&request, &request), None);
        assert_eq!(granted(&[], &[0; 8]), None);
    }

    #[test]
    fn an_answer_takes_over_port_and_lifetime_and_never_a_longer_one() {
        for (request, answer) in [pcp(vec![]), nat_pmp()] {
            let (port, _) = granted(&request, &answer).unwrap();
            let other = Port { number: 7_000, ..port };
            let longer = adjusted(&answer, port, 86_400);
            assert_eq!(longer, answer);
            let adjusted = adjusted(&answer, other, 100);
            assert_eq!(granted(&request, &adjusted).unwrap().0, other);
            assert_ne!(adjusted, super::adjusted(&answer, other, 3_600));
        }
    }

    #[test]
    fn a_refusal_is_an_error_with_the_clients_nonce() {
        let (request, answer) = pcp(vec![]);
        let error = refused(&request, &answer, ResultCode::NotAuthorized);
        let error = Response::decode(&error).unwrap();
        assert_eq!((error.result, error.epoch), (ResultCode::NotAuthorized, 5));
        let Some(Operation::Map(mapping)) = error.operation() else { panic!("MAP") };
        assert_eq!(mapping.nonce, Nonce([7; 12]));
        let (request, answer) = nat_pmp();
        let error = nat_pmp::Response::decode(&refused(&request, &answer, ResultCode::UserExQuota));
        assert_eq!(error.unwrap().result, nat_pmp::ResultCode::OutOfResources);
    }
}
