//! Actions about the connection, the link and the default connection.

use super::arguments::Value;
use super::error::{ActionError, ErrorCode};
use super::gateway::{Call, Gateway};
use crate::mapping::PacketPath;
use nat_common::BootTime;

impl<P: PacketPath> Gateway<P> {
    /// GetConnectionTypeInfo: routing with NAT is all that this gateway does.
    pub(super) fn connection_type_info(&self) -> Vec<Value> {
        vec![Value::text("IP_Routed"), Value::text("IP_Routed")]
    }

    /// GetStatusInfo. Without an external address there is no connection, and its uptime is 0
    /// (WANIPConnection:2, section 2.4.6).
    pub(super) fn status_info(&self, now: BootTime) -> Vec<Value> {
        let (status, uptime) = match self.connected_since {
            Some(since) => ("Connected", now.0.saturating_sub(since.0) / 1_000_000_000),
            None => ("Disconnected", 0),
        };
        let uptime = u32::try_from(uptime).unwrap_or(u32::MAX);
        vec![Value::text(status), Value::text("ERROR_NONE"), Value::Ui4(uptime)]
    }

    /// GetNATRSIPStatus: no RSIP, but NAT.
    pub(super) fn nat_rsip_status(&self) -> Vec<Value> {
        vec![Value::Boolean(false), Value::Boolean(true)]
    }

    /// GetExternalIPAddress: empty while there is none.
    pub(super) fn external_ip_address(&self) -> Vec<Value> {
        let address = self.path.external_address().map(|address| address.to_string());
        vec![Value::text(address.unwrap_or_default())]
    }

    /// GetCommonLinkProperties. The WAN is an Ethernet interface to us, whatever lies behind it.
    pub(super) fn common_link_properties(&self) -> Vec<Value> {
        vec![
            Value::text("Ethernet"),
            Value::Ui4(self.link.upstream),
            Value::Ui4(self.link.downstream),
            Value::text(if self.link.up { "Up" } else { "Down" }),
        ]
    }

    /// GetDefaultConnectionService: there is only one connection.
    pub(super) fn default_connection(&self, call: &Call<'_>) -> Vec<Value> {
        vec![Value::text(call.tree.default_connection_service(self.root_uuid))]
    }

    /// SetDefaultConnectionService: only what is already so can be set.
    pub(super) fn set_default_connection(
        &self,
        call: &Call<'_>,
    ) -> Result<Vec<Value>, ActionError> {
        let only = call.tree.default_connection_service(self.root_uuid);
        let wanted = call.arguments.text("NewDefaultConnectionService")?.trim();
        if wanted == only {
            return Ok(Vec::new());
        }
        let device = |text: &str| text.split_once(',').map(|(device, _)| device.to_owned());
        if device(wanted) == device(&only) {
            Err(ErrorCode::InvalidServiceId.into())
        } else {
            Err(ErrorCode::InvalidDeviceUuid.into())
        }
    }
}
