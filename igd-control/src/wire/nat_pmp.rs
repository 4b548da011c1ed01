//! NAT-PMP, the NAT Port Mapping Protocol (RFC 6886): its messages, for the server's side and the
//! client's.

use nat_common::Protocol;
use std::net::Ipv4Addr;

/// NAT-PMP's version.
pub const VERSION: u8 = 0;

/// Longest answer; NAT-PMP's own are far shorter.
const MAX_ANSWER: usize = 1_100;
/// The bit that responses have in their opcode.
const RESPONSE: u8 = 0x80;
const ADDRESS: u8 = 0;
const MAP_UDP: u8 = 1;
const MAP_TCP: u8 = 2;

/// What came of a request (section 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultCode {
    /// Success.
    Success,
    /// Unsupported Version.
    UnsupportedVersion,
    /// Not Authorized/Refused.
    NotAuthorized,
    /// Network Failure: the NAT has no external address.
    NetworkFailure,
    /// Out of resources.
    OutOfResources,
    /// Unsupported opcode.
    UnsupportedOpcode,
    /// One that RFC 6886 does not have.
    Other(u16),
}

impl ResultCode {
    /// The code of a number.
    pub const fn of(number: u16) -> Self {
        match number {
            0 => Self::Success,
            1 => Self::UnsupportedVersion,
            2 => Self::NotAuthorized,
            3 => Self::NetworkFailure,
            4 => Self::OutOfResources,
            5 => Self::UnsupportedOpcode,
            other => Self::Other(other),
        }
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        match self {
            Self::Success => 0,
            Self::UnsupportedVersion => 1,
            Self::NotAuthorized => 2,
            Self::NetworkFailure => 3,
            Self::OutOfResources => 4,
            Self::UnsupportedOpcode => 5,
            Self::Other(number) => number,
        }
    }
}

/// A mapping that is asked for, or was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// UDP or TCP.
    pub protocol: Protocol,
    /// The client's port.
    pub internal_port: u16,
    /// The external port: in a request a wish.
    pub external_port: u16,
    /// Seconds; 0 ends the mapping, with internal port 0 all mappings of the protocol.
    pub lifetime: u32,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Which external address there is (section 3.2).
    Address,
    /// A mapping (section 3.3), or its end (section 3.4).
    Map(Mapping),
}

/// Why a request cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is no request, or too short for its opcode: nothing is answered.
    #[error("not a request")]
    Ignored,
    /// It is answered by [`unsupported_opcode`].
    #[error("the opcode is unknown")]
    UnknownOpcode,
}

impl Request {
    /// Reads a datagram of version 0.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn decode(datagram: &[u8]) -> Result<Self, RequestError> {
        match datagram {
            [VERSION, ADDRESS, ..] => Ok(Self::Address),
            [VERSION, opcode @ (MAP_UDP | MAP_TCP), _, _, rest @ ..] => {
                let mapping = read_mapping(*opcode, rest).ok_or(RequestError::Ignored)?;
                Ok(Self::Map(mapping))
            }
            // Section 3.5: opcodes from 128 on are responses.
            [VERSION, opcode, ..] if *opcode > MAP_TCP && opcode & RESPONSE == 0 => {
                Err(RequestError::UnknownOpcode)
            }
            _ => Err(RequestError::Ignored),
        }
    }

    /// Writes it.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Address => vec![VERSION, ADDRESS],
            Self::Map(mapping) => {
                let mut message = vec![VERSION, opcode_of(mapping.protocol), 0, 0];
                write_mapping(mapping, &mut message);
                message
            }
        }
    }
}

/// A response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Response {
    /// What came of the request.
    pub result: ResultCode,
    /// Seconds Since Start of Epoch (section 3.6).
    pub epoch: u32,
    /// The answer.
    pub answer: Answer,
}

/// What a response tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The external address; also said to all when it changes (section 3.2.1).
    Address(Ipv4Addr),
    /// The mapping.
    Map(Mapping),
    /// Nothing: an error to a request of this opcode.
    Nothing {
        /// Without the bit of responses.
        opcode: u8,
    },
}

/// Why a response cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// It is no response, or none of NAT-PMP.
    #[error("not a response")]
    NotAResponse,
    /// It is too short for its opcode.
    #[error("the response is malformed")]
    Malformed,
}

impl Response {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn decode(datagram: &[u8]) -> Result<Self, ResponseError> {
        if let [VERSION, ADDRESS, 0, 1, e0, e1, e2, e3] = *datagram {
            // Section 3.5 shows this one answer without the bit of responses.
            return Ok(Self {
                result: ResultCode::UnsupportedVersion,
                epoch: u32::from_be_bytes([e0, e1, e2, e3]),
                answer: Answer::Nothing { opcode: ADDRESS },
            });
        }
        let [VERSION, opcode, high, low, e0, e1, e2, e3, rest @ ..] = datagram else {
            return Err(match datagram {
                [VERSION, opcode, ..] if opcode & RESPONSE != 0 => ResponseError::Malformed,
                _ => ResponseError::NotAResponse,
            });
        };
        if opcode & RESPONSE == 0 {
            return Err(ResponseError::NotAResponse);
        }
        let opcode = opcode & !RESPONSE;
        let result = ResultCode::of(u16::from_be_bytes([*high, *low]));
        let answer = match (opcode, rest) {
            (ADDRESS, [a, b, c, d, ..]) => Some(Answer::Address(Ipv4Addr::new(*a, *b, *c, *d))),
            (MAP_UDP | MAP_TCP, rest) => read_mapping(opcode, rest).map(Answer::Map),
            _ => None,
        };
        let answer = match answer {
            Some(answer) => answer,
            None if result != ResultCode::Success => Answer::Nothing { opcode },
            None => return Err(ResponseError::Malformed),
        };
        Ok(Self { result, epoch: u32::from_be_bytes([*e0, *e1, *e2, *e3]), answer })
    }

    /// Writes it.
    pub fn encode(&self) -> Vec<u8> {
        let opcode = match &self.answer {
            Answer::Address(_) => ADDRESS,
            Answer::Map(mapping) => opcode_of(mapping.protocol),
            Answer::Nothing { opcode } => opcode & !RESPONSE,
        };
        let mut message = vec![VERSION, opcode | RESPONSE];
        message.extend_from_slice(&self.result.number().to_be_bytes());
        message.extend_from_slice(&self.epoch.to_be_bytes());
        match &self.answer {
            Answer::Address(address) => message.extend_from_slice(&address.octets()),
            Answer::Map(mapping) => write_mapping(mapping, &mut message),
            Answer::Nothing { .. } => {}
        }
        message
    }
}

/// The answer to a request whose opcode is unknown: the whole of it, with the bit of responses, the
/// result and the epoch (section 3.5).
pub fn unsupported_opcode(request: &[u8], epoch: u32) -> Vec<u8> {
    let opcode = request.get(1).copied().unwrap_or_default();
    let head = Response {
        result: ResultCode::UnsupportedOpcode,
        epoch,
        answer: Answer::Nothing { opcode },
    };
    let mut message = head.encode();
    let rest = request.get(message.len()..request.len().min(MAX_ANSWER)).unwrap_or_default();
    message.extend_from_slice(rest);
    message
}

const fn opcode_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => MAP_TCP,
        _ => MAP_UDP,
    }
}

fn read_mapping(opcode: u8, bytes: &[u8]) -> Option<Mapping> {
    let [i0, i1, e0, e1, l0, l1, l2, l3, ..] = bytes else { return None };
    Some(Mapping {
        protocol: if opcode == MAP_TCP { Protocol::Tcp } else { Protocol::Udp },
        internal_port: u16::from_be_bytes([*i0, *i1]),
        external_port: u16::from_be_bytes([*e0, *e1]),
        lifetime: u32::from_be_bytes([*l0, *l1, *l2, *l3]),
    })
}

fn write_mapping(mapping: &Mapping, message: &mut Vec<u8>) {
    message.extend_from_slice(&mapping.internal_port.to_be_bytes());
    message.extend_from_slice(&mapping.external_port.to_be_bytes());
    message.extend_from_slice(&mapping.lifetime.to_be_bytes());
}

#[cfg(test)]
mod tests;
