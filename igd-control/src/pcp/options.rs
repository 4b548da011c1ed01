//! The options of a request, in their order (RFC 6887, sections 7.3 and 13).

use super::Settings;
use crate::mapping::RemoteFilter;
use crate::wire::pcp::{Filter, Opcode, PcpOption, ResultCode};
use nat_common::filters::MAX_FILTERS;
use std::net::{IpAddr, Ipv4Addr};

/// How many leading bits an IPv4-mapped address has before those of the IPv4 address.
const MAPPED_PREFIX: u8 = 96;

/// What the options of a request ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// For whom the mapping is, if not for who asks.
    pub(super) third_party: Option<Ipv4Addr>,
    /// This external port, or none.
    pub(super) prefer_failure: bool,
    /// Filters that are wanted, in their order; `None` takes away all that there were before.
    pub(super) filters: Vec<Option<RemoteFilter>>,
    /// What the response has to have.
    pub(super) processed: Vec<PcpOption>,
}

impl Options {
    /// Looks at the options of a request of `opcode` from `client`.
    pub(super) fn read(
        settings: &Settings,
        opcode: Opcode,
        client: Ipv4Addr,
        asked: &[PcpOption],
    ) -> Result<Self, ResultCode> {
        let mut options = Self::default();
        for option in asked {
            match (option, opcode) {
                (PcpOption::ThirdParty(address), Opcode::Map | Opcode::Peer) => {
                    options.read_third_party(settings, client, *address)?;
                }
                (PcpOption::PreferFailure, Opcode::Map) => {
                    if options.prefer_failure {
                        return Err(ResultCode::MalformedOption);
                    }
                    options.prefer_failure = true;
                }
                // Section 12.2: it is implied there.
                (PcpOption::PreferFailure, Opcode::Peer) => {
                    return Err(ResultCode::MalformedRequest);
                }
                (PcpOption::Filter(filter), Opcode::Map) => {
                    options.filters.push(read_filter(filter)?);
                }
                (PcpOption::Unknown { .. }, _) if !option.is_mandatory() => continue,
                (PcpOption::Unknown { .. }, _) => return Err(ResultCode::UnsuppOption),
                // Not valid for this opcode.
                _ => return Err(ResultCode::MalformedOption),
            }
            options.processed.push(option.clone());
        }
        Ok(options)
    }

    /// Section 13.1.
    fn read_third_party(
        &mut self,
        settings: &Settings,
        client: Ipv4Addr,
        address: IpAddr,
    ) -> Result<(), ResultCode> {
        if !settings.third_party {
            return Err(ResultCode::UnsuppOption);
        }
        if self.third_party.is_some() {
            return Err(ResultCode::MalformedOption);
        }
        match address {
            IpAddr::V4(address) if address == client => Err(ResultCode::MalformedRequest),
            IpAddr::V4(address) if is_host(address) => {
                self.third_party = Some(address);
                Ok(())
            }
            // Nobody to whom this NAT translates.
            _ => Err(ResultCode::NotAuthorized),
        }
    }

    /// The filters of a mapping that had `before`: further ones are added to them, until a prefix of
    /// length 0 takes away all (section 13.3).
    pub(super) fn filters_after(
        &self,
        before: &[RemoteFilter],
    ) -> Result<Vec<RemoteFilter>, ResultCode> {
        let mut filters = before.to_vec();
        for wanted in &self.filters {
            match wanted {
                None => filters.clear(),
                Some(filter) if filters.contains(filter) => {}
                Some(filter) => filters.push(*filter),
            }
            if filters.len() > MAX_FILTERS {
                return Err(ResultCode::ExcessiveRemotePeers);
            }
        }
        Ok(filters)
    }
}

/// A filter as the packet path can have it; `None` for a prefix of length 0.
fn read_filter(filter: &Filter) -> Result<Option<RemoteFilter>, ResultCode> {
    let Filter { prefix, port, address } = *filter;
    match (prefix, address) {
        (0, _) => Ok(None),
        (129.., _) => Err(ResultCode::MalformedOption),
        (_, IpAddr::V4(address)) => match prefix.checked_sub(MAPPED_PREFIX) {
            Some(prefix) => Ok(Some(RemoteFilter::new(address, prefix, port))),
            None => Err(ResultCode::MalformedOption),
        },
        // Nobody by IPv6 comes in by an IPv4 address.
        (_, IpAddr::V6(_)) => Err(ResultCode::ExcessiveRemotePeers),
    }
}

fn is_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    !address.is_unspecified() && !address.is_loopback() && first < 224
}
