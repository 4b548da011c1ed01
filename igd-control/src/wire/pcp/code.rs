//! Result codes, by the names of RFC 6887.

use std::fmt;

/// What came of a request (section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultCode {
    /// SUCCESS.
    Success,
    /// UNSUPP_VERSION: the server does not speak the version.
    UnsuppVersion,
    /// NOT_AUTHORIZED: not for this client, or not by the server's policy.
    NotAuthorized,
    /// MALFORMED_REQUEST: the request could not be read.
    MalformedRequest,
    /// UNSUPP_OPCODE: the server does not know the opcode.
    UnsuppOpcode,
    /// UNSUPP_OPTION: the server does not know an option that must be known, or does not allow it.
    UnsuppOption,
    /// MALFORMED_OPTION: an option could not be read, or stands where it must not.
    MalformedOption,
    /// NETWORK_FAILURE: the network of the server has failed.
    NetworkFailure,
    /// NO_RESOURCES: the server is full or busy.
    NoResources,
    /// UNSUPP_PROTOCOL: no mappings of that upper-layer protocol.
    UnsuppProtocol,
    /// USER_EX_QUOTA: the client has as many mappings as it may have.
    UserExQuota,
    /// CANNOT_PROVIDE_EXTERNAL: the external port and address cannot be had, and no other is wanted.
    CannotProvideExternal,
    /// ADDRESS_MISMATCH: the request comes from another address than it says.
    AddressMismatch,
    /// EXCESSIVE_REMOTE_PEERS: more filters than the server has room for.
    ExcessiveRemotePeers,
    /// One that RFC 6887 does not have: from 14 on.
    Other(u8),
}

/// All codes of RFC 6887 with their numbers and names.
const CODES: [(ResultCode, &str); 14] = [
    (ResultCode::Success, "SUCCESS"),
    (ResultCode::UnsuppVersion, "UNSUPP_VERSION"),
    (ResultCode::NotAuthorized, "NOT_AUTHORIZED"),
    (ResultCode::MalformedRequest, "MALFORMED_REQUEST"),
    (ResultCode::UnsuppOpcode, "UNSUPP_OPCODE"),
    (ResultCode::UnsuppOption, "UNSUPP_OPTION"),
    (ResultCode::MalformedOption, "MALFORMED_OPTION"),
    (ResultCode::NetworkFailure, "NETWORK_FAILURE"),
    (ResultCode::NoResources, "NO_RESOURCES"),
    (ResultCode::UnsuppProtocol, "UNSUPP_PROTOCOL"),
    (ResultCode::UserExQuota, "USER_EX_QUOTA"),
    (ResultCode::CannotProvideExternal, "CANNOT_PROVIDE_EXTERNAL"),
    (ResultCode::AddressMismatch, "ADDRESS_MISMATCH"),
    (ResultCode::ExcessiveRemotePeers, "EXCESSIVE_REMOTE_PEERS"),
];

impl ResultCode {
    /// Every code of RFC 6887, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        CODES.into_iter().map(|(code, _)| code)
    }

    /// The code of a number.
    pub fn of(number: u8) -> Self {
        CODES.get(usize::from(number)).map_or(Self::Other(number), |(code, _)| *code)
    }

    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Self::Other(number) => number,
            code => CODES.iter().position(|(known, _)| *known == code).unwrap_or_default() as u8,
        }
    }

    /// The name that RFC 6887 gives it.
    pub fn name(self) -> &'static str {
        CODES.get(usize::from(self.number())).map_or("unknown", |(_, name)| name)
    }

    /// Whether trying again soon may help: a short-lifetime error. CANNOT_PROVIDE_EXTERNAL may be
    /// either; what stands in the way here is another's lease, which ends.
    pub const fn is_short(self) -> bool {
        matches!(
            self,
            Self::NetworkFailure
                | Self::NoResources
                | Self::UserExQuota
                | Self::CannotProvideExternal
        )
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(number) => write!(f, "result code {number}"),
            code => f.write_str(code.name()),
        }
    }
}
