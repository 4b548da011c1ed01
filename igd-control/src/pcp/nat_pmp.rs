//! NAT-PMP (RFC 6886). Its mappings have no nonce: whoever sends from an address changes what is that
//! address's, unless PCP has made it, which has one.

use super::map::{Asker, Wish};
use super::server::Server;
use crate::igd::Gateway;
use crate::mapping::{MappingKey, Origin, PacketPath, PortMapping};
use crate::metrics;
use crate::policy::Via;
use crate::wire::nat_pmp::{
    Answer, Mapping, Request, RequestError, Response, ResultCode, unsupported_opcode,
};
use crate::wire::pcp;
use nat_common::BootTime;
use std::net::{Ipv4Addr, SocketAddrV4};

impl Server {
    pub(super) fn answer_nat_pmp<P: PacketPath>(
        &self,
        now: BootTime,
        gateway: &mut Gateway<P>,
        client: Ipv4Addr,
        datagram: &[u8],
    ) -> Option<Vec<u8>> {
        let epoch = self.epoch.seconds(now);
        match Request::decode(datagram) {
            Err(RequestError::Ignored) => None,
            Err(RequestError::UnknownOpcode) => {
                metrics::answered("NAT-PMP", "other", ResultCode::UnsupportedOpcode.number());
                Some(unsupported_opcode(datagram, epoch))
            }
            Ok(Request::Address) => {
                let external = gateway.parts(now).external;
                let code = if external.is_some() { 0 } else { ResultCode::NetworkFailure.number() };
                metrics::answered("NAT-PMP", "address", code);
                Some(self.nat_pmp_address(now, external))
            }
            Ok(Request::Map(asked)) => {
                let outcome = if asked.lifetime == 0 {
                    delete(now, gateway, client, &asked)
                } else {
                    self.map_nat_pmp(now, gateway, client, &asked)
                };
                let (result, mapping) = match outcome {
                    Ok(mapping) => (ResultCode::Success, mapping),
                    // Section 3.5: zero where no mapping was made; section 3.4: what was asked for where
                    // none was ended.
                    Err(code) if asked.lifetime == 0 => (code, asked),
                    Err(code) => (code, Mapping { external_port: 0, lifetime: 0, ..asked }),
                };
                metrics::answered("NAT-PMP", "map", result.number());
                Some(Response { result, epoch, answer: Answer::Map(mapping) }.encode())
            }
        }
    }

    /// The external address, also as it is said to everybody (section 3.2.1).
    pub(super) fn nat_pmp_address(&self, now: BootTime, external: Option<Ipv4Addr>) -> Vec<u8> {
        let result =
            if external.is_some() { ResultCode::Success } else { ResultCode::NetworkFailure };
        let answer = Answer::Address(external.unwrap_or(Ipv4Addr::UNSPECIFIED));
        Response { result, epoch: self.epoch.seconds(now), answer }.encode()
    }

    /// Section 3.3.
    fn map_nat_pmp<P: PacketPath>(
        &self,
        now: BootTime,
        gateway: &mut Gateway<P>,
        client: Ipv4Addr,
        asked: &Mapping,
    ) -> Result<Mapping, ResultCode> {
        let mut parts = gateway.parts(now);
        parts.external.ok_or(ResultCode::NetworkFailure)?;
        if asked.internal_port == 0 {
            return Err(ResultCode::NotAuthorized);
        }
        // Never longer than was asked for.
        let lifetime = asked.lifetime.min(self.settings.max_lifetime);
        let wish = Wish {
            asker: Asker { client, via: Via::NatPmp, origin: Origin::NatPmp },
            protocol: asked.protocol,
            internal: SocketAddrV4::new(client, asked.internal_port),
            deadline: now.plus_secs(lifetime.into()),
            suggested: asked.external_port,
            exactly: false,
        };
        let known = wish.existing(&parts).map(|known| {
            let left = if known.is_static() { lifetime } else { known.lease_left(now) };
            (known.key, known.origin(), left)
        });
        let granted = |external_port| Mapping { external_port, lifetime, ..*asked };
        match known {
            Some((key, Origin::NatPmp | Origin::Unknown, _)) => {
                wish.renew_plainly(&mut parts, now, key).map(granted).map_err(code)
            }
            // Without its nonce it cannot be prolonged: that is for as long as it lasts.
            Some((key, Origin::Pcp(_), left)) => {
                Ok(Mapping { lifetime: lifetime.min(left), ..granted(key.external_port) })
            }
            Some((key, Origin::Upnp, _)) => {
                wish.join(&mut parts, now, key).map(granted).map_err(code)
            }
            None => wish.make(&mut parts, now, &[]).map(granted).map_err(code),
        }
    }
}

/// Ends the mapping of an internal port, or all of a protocol (section 3.4). A mapping that is not there
/// is ended well.
fn delete<P: PacketPath>(
    now: BootTime,
    gateway: &mut Gateway<P>,
    client: Ipv4Addr,
    asked: &Mapping,
) -> Result<Mapping, ResultCode> {
    let parts = gateway.parts(now);
    let ports = match asked.internal_port {
        0 => 0..=u16::MAX,
        port => port..=port,
    };
    let asker = Asker { client, via: Via::NatPmp, origin: Origin::NatPmp };
    let may = |mapping: &PortMapping| {
        !mapping.is_static()
            && !matches!(mapping.origin(), Origin::Pcp(_))
            && parts.policy.may_touch(&asker.question(mapping))
    };
    let found = parts.table.leading_to(asked.protocol, client, ports);
    let found: Vec<(MappingKey, bool)> = found.map(|mapping| (mapping.key, may(mapping))).collect();
    // As many as can be, also when some cannot.
    for (key, _) in found.iter().filter(|(_, may)| *may) {
        parts.table.remove(parts.path, now, key);
    }
    match found.iter().all(|(_, may)| *may) {
        true => Ok(Mapping { external_port: 0, lifetime: 0, ..*asked }),
        false => Err(ResultCode::NotAuthorized),
    }
}

/// What NAT-PMP calls it.
const fn code(code: pcp::ResultCode) -> ResultCode {
    match code {
        pcp::ResultCode::NotAuthorized => ResultCode::NotAuthorized,
        pcp::ResultCode::NetworkFailure => ResultCode::NetworkFailure,
        _ => ResultCode::OutOfResources,
    }
}
