//! Requests (section 7.1).

use super::{
    Bytes, HEADER, MAX_MESSAGE, Opcode, Operation, PcpOption, RESPONSE, ResultCode, VERSION,
    address_bytes,
};
use std::net::IpAddr;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Seconds that the mapping is to last; 0 ends it.
    pub lifetime: u32,
    /// The client's address, as it knows it itself.
    pub client: IpAddr,
    /// What is asked for.
    pub operation: Operation,
    /// Options, in the order in which the server has to look at them.
    pub options: Vec<PcpOption>,
}

/// Why a request cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is no request, or too short for a header: nothing is answered.
    #[error("not a request")]
    Ignored,
    /// It is answered by an [error](super::error_response) with this code.
    #[error("the request is answered by {0}")]
    Refused(ResultCode),
}

impl Request {
    /// Reads a datagram, in the order of the checks of section 8.2.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn decode(datagram: &[u8]) -> Result<Self, RequestError> {
        let refused = |code| Err(RequestError::Refused(code));
        let mut bytes = Bytes(datagram);
        let [version, opcode] = bytes.array().ok_or(RequestError::Ignored)?;
        if opcode & RESPONSE != 0 {
            return Err(RequestError::Ignored);
        }
        if version != VERSION {
            return refused(ResultCode::UnsuppVersion);
        }
        if datagram.len() < HEADER {
            return Err(RequestError::Ignored);
        }
        if datagram.len() > MAX_MESSAGE || !datagram.len().is_multiple_of(4) {
            return refused(ResultCode::MalformedRequest);
        }
        let Some(opcode) = Opcode::of(opcode) else {
            return refused(ResultCode::UnsuppOpcode);
        };
        Self::body(opcode, bytes)
    }

    /// What comes after version and opcode.
    fn body(opcode: Opcode, mut bytes: Bytes<'_>) -> Result<Self, RequestError> {
        let malformed = RequestError::Refused(ResultCode::MalformedRequest);
        bytes.array::<2>().ok_or(malformed)?;
        let lifetime = bytes.number().ok_or(malformed)?;
        let client = bytes.address().ok_or(malformed)?;
        let operation = Operation::read(opcode, &mut bytes).ok_or(malformed)?;
        let options =
            PcpOption::read_all(bytes).ok_or(RequestError::Refused(ResultCode::MalformedOption))?;
        Ok(Self { lifetime, client, operation, options })
    }

    /// Writes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER + self.operation.opcode().length());
        message.extend_from_slice(&[VERSION, self.operation.opcode() as u8, 0, 0]);
        message.extend_from_slice(&self.lifetime.to_be_bytes());
        message.extend_from_slice(&address_bytes(self.client));
        self.operation.write(&mut message);
        self.options.iter().for_each(|option| option.write(&mut message));
        message
    }

    /// For whom the mapping is: the client, or the one that THIRD_PARTY names.
    pub fn internal_client(&self) -> IpAddr {
        let third = self.options.iter().find_map(|option| match option {
            PcpOption::ThirdParty(address) => Some(*address),
            _ => None,
        });
        third.unwrap_or(self.client)
    }
}
