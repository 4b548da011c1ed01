//! What lies beyond the gateway's own NAT: the interworking with a NAT upstream (RFC 6970; the draft's
//! sections 4 and 5).

use super::arguments::Value;
use super::device::Tree;
use super::error::{ActionError, ErrorCode};
use super::gateway::Gateway;
use super::message::{ControlResponse, Invocation};
use crate::mapping::{MappingKey, PacketPath};
use crate::wire::pcp::ResultCode;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What control points are told of an external address that the Internet does not route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrivateAddress {
    /// The address.
    #[default]
    Truth,
    /// Nothing, as if there were no connection.
    Empty,
    /// The one by which the NAT upstream is known, or nothing while that is not known.
    Upstream,
}

/// What the gateway says of the world beyond it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// With a server upstream in service: the external address that it has given, once it has.
    pub upstream: Option<Option<Ipv4Addr>>,
    /// The external address that it has given last, though it may be out of service now.
    pub seen: Option<Ipv4Addr>,
    /// What GetExternalIPAddress answers in the place of an address that the Internet does not route.
    pub private_address: PrivateAddress,
}

impl Outside {
    /// The external address as control points are told it.
    pub(super) fn told(
        &self,
        address: Option<Ipv4Addr>,
        seen: Option<Ipv4Addr>,
    ) -> Option<Ipv4Addr> {
        match self.private_address {
            _ if !address.is_some_and(is_private) => address,
            PrivateAddress::Truth => address,
            PrivateAddress::Empty => None,
            PrivateAddress::Upstream => self.seen.or(seen),
        }
    }
}

/// What an action was about, as far as the server upstream has to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// It has made this mapping.
    Made {
        /// The mapping.
        key: MappingKey,
        /// Its external port was the gateway's to choose.
        any: bool,
    },
    /// It has asked about this one, which is not there.
    Missing(MappingKey),
}

/// What an action has come to, before it is answered.
#[derive(Clone, Debug)]
pub struct Done(pub(super) Result<Vec<Value>, ActionError>);

impl Done {
    /// The server upstream has refused (section 4.3).
    pub fn refused_upstream(tree: Tree, code: ResultCode) -> Self {
        let known = match code {
            // Version 1 has nothing of the kind, and clients try another port then.
            ResultCode::NotAuthorized if tree == Tree::Igd1 => ErrorCode::ConflictInMappingEntry,
            ResultCode::NotAuthorized => ErrorCode::ActionNotAuthorized,
            // 501 in version 1.
            ResultCode::NoResources | ResultCode::UserExQuota => ErrorCode::NoPortMapsAvailable,
            ResultCode::CannotProvideExternal => ErrorCode::ConflictInMappingEntry,
            _ => ErrorCode::ActionFailed,
        };
        Self(Err(ActionError::new(known, format!("the NAT upstream answers {code}"))))
    }

    /// The server upstream has not answered.
    pub fn unanswered() -> Self {
        Self(Err(ActionError::new(ErrorCode::ActionFailed, "the NAT upstream does not answer")))
    }

    /// AddAnyPortMapping has come to this external port.
    pub fn reserved(port: u16) -> Self {
        Self(Ok(vec![Value::Ui2(port)]))
    }
}

impl Invocation {
    /// The answer.
    pub fn respond(&self, done: Done) -> ControlResponse {
        self.answer(done.0)
    }

    /// By which version it came.
    pub const fn tree(&self) -> Tree {
        self.service.tree()
    }
}

impl<P: PacketPath> Gateway<P> {
    /// The address that somebody outside has seen packets of ours come from, or that nobody has.
    pub fn set_seen(&mut self, seen: Option<Ipv4Addr>) {
        self.seen = seen;
    }

    /// Whether the server upstream has yet to agree to what somebody waits for: subscribers are told no new
    /// number of mappings meanwhile, since it may refuse.
    pub fn set_undecided(&mut self, undecided: bool) {
        if undecided {
            self.withheld.get_or_insert(self.settled);
        } else {
            self.withheld = None;
            self.settled = self.live_counts();
        }
    }

    /// PortMappingNumberOfEntries and SystemUpdateID, as subscribers are told them.
    pub(super) fn counts(&self) -> (u16, u32) {
        self.withheld.unwrap_or_else(|| self.live_counts())
    }

    fn live_counts(&self) -> (u16, u32) {
        (self.table.number_of_entries(), self.table.changes())
    }

    /// What lies beyond, from now on.
    pub fn set_outside(&mut self, outside: Outside) {
        self.outside = outside;
    }

    /// What the last action was about, once.
    pub fn take_touched(&mut self) -> Option<Touched> {
        self.touched.take()
    }

    /// With a NAT upstream nobody has every port (section 4.1, ExternalPort).
    pub(super) fn check_wildcard(&self, key: &MappingKey) -> Result<(), ActionError> {
        if self.outside.upstream.is_none() || key.external_port != 0 {
            return Ok(());
        }
        let detail = "the NAT upstream maps single ports";
        Err(ActionError::new(ErrorCode::WildCardNotPermittedInExtPort, detail))
    }
}

/// Whether the Internet does not route an address: private use (RFC 1918), shared between subscribers
/// (RFC 6598), link-local, loopback, DS-Lite's (RFC 6333) or for benchmarks (RFC 2544).
pub fn is_private(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_link_local()
        || address.is_loopback()
        || address.is_unspecified()
        || (a == 100 && b & 0xc0 == 64)
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && b & 0xfe == 18)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_those_that_nobody_routes() {
        for private in
            ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.127.9.9", "192.0.0.2"]
        {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in ["11.22.33.1", "100.63.0.1", "100.128.0.1", "192.0.1.1", "198.20.0.1"] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn errors_are_those_of_the_draft_for_each_version() {
        let code = |tree, code| {
            let Done(Err(error)) = Done::refused_upstream(tree, code) else { panic!("an error") };
            if tree == Tree::Igd1 { error.in_version_1().code.code() } else { error.code.code() }
        };
        for (result, first, second) in [
            (ResultCode::UnsuppVersion, 501, 501),
            (ResultCode::NotAuthorized, 718, 606),
            (ResultCode::MalformedRequest, 501, 501),
            (ResultCode::UnsuppOpcode, 501, 501),
            (ResultCode::UnsuppOption, 501, 501),
            (ResultCode::MalformedOption, 501, 501),
            (ResultCode::NetworkFailure, 501, 501),
            (ResultCode::NoResources, 501, 728),
            (ResultCode::UnsuppProtocol, 501, 501),
            (ResultCode::UserExQuota, 501, 728),
            (ResultCode::CannotProvideExternal, 718, 718),
            (ResultCode::AddressMismatch, 501, 501),
            (ResultCode::ExcessiveRemotePeers, 501, 501),
        ] {
            assert_eq!(code(Tree::Igd1, result), first, "{result}");
            assert_eq!(code(Tree::Igd2, result), second, "{result}");
        }
    }
}
