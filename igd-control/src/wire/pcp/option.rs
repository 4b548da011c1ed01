//! Options (sections 7.3 and 13).

use super::{Bytes, address_bytes};
use std::net::IpAddr;

const THIRD_PARTY: u8 = 1;
const PREFER_FAILURE: u8 = 2;
const FILTER: u8 = 3;
/// Options from this number on may be ignored.
const OPTIONAL: u8 = 128;

/// Who is let in (section 13.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter {
    /// How many leading bits of the address count, as of a 128-bit address: 96 more than an IPv4
    /// prefix has. 0 takes all filters of the mapping away.
    pub prefix: u8,
    /// The only remote port; 0: all of them.
    pub port: u16,
    /// The remote host or network.
    pub address: IpAddr,
}

/// An option.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PcpOption {
    /// The mapping is for this host (section 13.1).
    ThirdParty(IpAddr),
    /// This external port and address, or none (section 13.2).
    PreferFailure,
    /// Only who comes from there is let in (section 13.3).
    Filter(Filter),
    /// One that RFC 6887 does not have.
    Unknown {
        /// Its number.
        code: u8,
        /// What is in it.
        data: Vec<u8>,
    },
}

impl PcpOption {
    /// Its number.
    pub const fn code(&self) -> u8 {
        match self {
            Self::ThirdParty(_) => THIRD_PARTY,
            Self::PreferFailure => PREFER_FAILURE,
            Self::Filter(_) => FILTER,
            Self::Unknown { code, .. } => *code,
        }
    }

    /// Whether a server that does not know it must refuse the request (section 7.3).
    pub const fn is_mandatory(&self) -> bool {
        self.code() < OPTIONAL
    }

    /// Appends it, padded to four octets.
    pub(super) fn write(&self, message: &mut Vec<u8>) {
        let data = match self {
            Self::ThirdParty(address) => address_bytes(*address).to_vec(),
            Self::PreferFailure => Vec::new(),
            Self::Filter(filter) => {
                let [high, low] = filter.port.to_be_bytes();
                let mut data = vec![0, filter.prefix, high, low];
                data.extend_from_slice(&address_bytes(filter.address));
                data
            }
            Self::Unknown { data, .. } => data.clone(),
        };
        let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
        message.extend_from_slice(&[self.code(), 0]);
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(data.get(..length.into()).unwrap_or_default());
        message.resize(message.len().next_multiple_of(4), 0);
    }

    /// Reads the options at the end of a message; `None` when one of them cannot be read.
    pub(super) fn read_all(mut bytes: Bytes<'_>) -> Option<Vec<Self>> {
        let mut options = Vec::new();
        while !bytes.0.is_empty() {
            options.push(Self::read(&mut bytes)?);
        }
        Some(options)
    }

    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        let [code, _reserved] = bytes.array()?;
        let length = usize::from(bytes.port()?);
        let data = bytes.take(length)?;
        bytes.take(length.next_multiple_of(4) - length)?;
        let mut inner = Bytes(data);
        let option = match code {
            THIRD_PARTY => Self::ThirdParty(inner.address()?),
            PREFER_FAILURE => Self::PreferFailure,
            FILTER => {
                let [_reserved, prefix] = inner.array()?;
                Self::Filter(Filter { prefix, port: inner.port()?, address: inner.address()? })
            }
            code => return Some(Self::Unknown { code, data: data.to_vec() }),
        };
        inner.0.is_empty().then_some(option)
    }
}
