//! Datagrams of PCP and NAT-PMP, in both directions.

use igd_control::wire::{nat_pmp, pcp};

/// Takes a datagram. What can be read is written and read again as the same; what can be refused has an
/// answer that a client can read.
pub fn run(input: &[u8]) {
    match pcp::Request::decode(input) {
        Ok(request) => assert_eq!(pcp::Request::decode(&request.encode()), Ok(request)),
        Err(pcp::RequestError::Refused(code)) => {
            let answer = pcp::error_response(input, code, 1_800, 1, false);
            assert!(answer.len() <= pcp::MAX_MESSAGE && answer.len().is_multiple_of(4));
            let read = pcp::Response::decode(&answer);
            let told = read.map(|read| (read.result, read.lifetime, read.epoch));
            assert_eq!(told, Ok((code, 1_800, 1)));
        }
        Err(pcp::RequestError::Ignored) => {}
    }
    if let Ok(response) = pcp::Response::decode(input)
        && response.operation().is_some()
    {
        assert_eq!(pcp::Response::decode(&response.encode()), Ok(response));
    }
    match nat_pmp::Request::decode(input) {
        Ok(request) => assert_eq!(nat_pmp::Request::decode(&request.encode()), Ok(request)),
        Err(nat_pmp::RequestError::UnknownOpcode) => {
            let answer = nat_pmp::unsupported_opcode(input, 1);
            let read = nat_pmp::Response::decode(&answer).map(|read| read.result);
            assert_eq!(read, Ok(nat_pmp::ResultCode::UnsupportedOpcode));
        }
        Err(nat_pmp::RequestError::Ignored) => {}
    }
    if let Ok(response) = nat_pmp::Response::decode(input)
        && !matches!(response.answer, nat_pmp::Answer::Nothing { .. })
    {
        assert_eq!(nat_pmp::Response::decode(&response.encode()), Ok(response));
    }
}
