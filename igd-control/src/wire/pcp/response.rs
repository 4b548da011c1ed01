//! Responses (section 7.2).

use super::{
    Bytes, HEADER, MAX_MESSAGE, Opcode, Operation, PcpOption, RESPONSE, ResultCode, VERSION,
};

/// A response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Response {
    /// What came of the request.
    pub result: ResultCode,
    /// Seconds that the mapping lasts or, with an error, after which asking again may help.
    pub lifetime: u32,
    /// Seconds for which the server has kept its state (section 8.5).
    pub epoch: u32,
    /// What was asked for and assigned.
    pub payload: Payload,
}

/// What follows the header of a response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Of an opcode of RFC 6887.
    Known(Operation, Vec<PcpOption>),
    /// An error for something else: the request was of this opcode, or could not be read.
    Unread {
        /// Without the R bit.
        opcode: u8,
    },
}

/// Why a response cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// It is no response, or no PCP: to be ignored (section 8.3).
    #[error("not a response")]
    NotAResponse,
    /// It is of another version, which the server says that it speaks instead (section 9). NAT-PMP,
    /// version 0, has a layout of its own.
    #[error("the server answers by version {0}")]
    Version(u8),
    /// It is too short for its opcode, too long, or has an option that cannot be read.
    #[error("the response is malformed")]
    Malformed,
}

impl Response {
    /// Whether it is a success.
    pub fn is_success(&self) -> bool {
        self.result == ResultCode::Success
    }

    /// What it is about, if it is of an opcode of RFC 6887.
    pub const fn operation(&self) -> Option<&Operation> {
        match &self.payload {
            Payload::Known(operation, _) => Some(operation),
            Payload::Unread { .. } => None,
        }
    }

    /// The options that the server has processed.
    pub fn options(&self) -> &[PcpOption] {
        match &self.payload {
            Payload::Known(_, options) => options,
            Payload::Unread { .. } => &[],
        }
    }

    /// Reads a datagram (section 8.3).
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn decode(datagram: &[u8]) -> Result<Self, ResponseError> {
        let mut bytes = Bytes(datagram);
        let [version, opcode, _reserved, result] =
            bytes.array().ok_or(ResponseError::NotAResponse)?;
        // RFC 6886 3.5 shows NAT-PMP's answer about versions without the bit of responses.
        let about_version = version == 0 && opcode == 0 && result == 1;
        if opcode & RESPONSE == 0 && !about_version {
            return Err(ResponseError::NotAResponse);
        }
        if version != VERSION {
            return Err(ResponseError::Version(version));
        }
        let length = datagram.len();
        if !(HEADER..=MAX_MESSAGE).contains(&length) || !length.is_multiple_of(4) {
            return Err(ResponseError::Malformed);
        }
        let malformed = ResponseError::Malformed;
        let lifetime = bytes.number().ok_or(malformed)?;
        let epoch = bytes.number().ok_or(malformed)?;
        bytes.take(12).ok_or(malformed)?;
        let result = ResultCode::of(result);
        let opcode = opcode & !RESPONSE;
        let known = Opcode::of(opcode).and_then(|opcode| {
            let operation = Operation::read(opcode, &mut bytes)?;
            Some(Payload::Known(operation, PcpOption::read_all(bytes)?))
        });
        let payload = match known {
            Some(payload) => payload,
            // An error copies whatever came, which need not be readable.
            None if result != ResultCode::Success => Payload::Unread { opcode },
            None => return Err(malformed),
        };
        Ok(Self { result, lifetime, epoch, payload })
    }

    /// Writes it.
    pub fn encode(&self) -> Vec<u8> {
        let opcode = match &self.payload {
            Payload::Known(operation, _) => operation.opcode() as u8,
            Payload::Unread { opcode } => opcode & !RESPONSE,
        };
        let mut message = vec![VERSION, RESPONSE | opcode, 0, self.result.number()];
        message.extend_from_slice(&self.lifetime.to_be_bytes());
        message.extend_from_slice(&self.epoch.to_be_bytes());
        message.extend_from_slice(&[0; 12]);
        if let Payload::Known(operation, options) = &self.payload {
            operation.write(&mut message);
            options.iter().for_each(|option| option.write(&mut message));
        }
        message
    }
}

/// The error that answers a request: a copy of it with the R bit and the fields that the server sets,
/// cut to 1,100 octets and padded to a multiple of four, whatever it is (section 8.2). `read` tells whether the request could be read:
/// if not, the last 96 bits of the client's address stay where they are, else zeros are there
/// (section 7.2).
pub fn error_response(
    request: &[u8],
    result: ResultCode,
    lifetime: u32,
    epoch: u32,
    read: bool,
) -> Vec<u8> {
    let mut message = request.get(..request.len().min(MAX_MESSAGE)).unwrap_or_default().to_vec();
    message.resize(message.len().next_multiple_of(4).max(HEADER), 0);
    let opcode = request.get(1).copied().unwrap_or_default();
    let [l0, l1, l2, l3] = lifetime.to_be_bytes();
    let [e0, e1, e2, e3] = epoch.to_be_bytes();
    // Section 9: the version is the one that the server speaks.
    let start = [VERSION, opcode | RESPONSE, 0, result.number(), l0, l1, l2, l3, e0, e1, e2, e3];
    message.splice(..start.len(), start);
    if read {
        message.splice(start.len()..HEADER, [0; 12]);
    }
    message
}
