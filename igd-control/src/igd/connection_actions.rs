//! Actions about the connection, the link and the default connection.

use super::arguments::Value;
use super::connection::Status;
use super::error::{ActionError, ErrorCode};
use super::gateway::{Call, Gateway};
use crate::mapping::PacketPath;
use nat_common::BootTime;

type Answer = Result<Vec<Value>, ActionError>;

/// Routing with NAT is all that this gateway does.
const CONNECTION_TYPE: &str = "IP_Routed";

impl<P: PacketPath> Gateway<P> {
    /// SetConnectionType: the type is read-only, being what the gateway is made for. Nobody is refused
    /// what is so already, once the state allows to ask (section 2.5.1.5).
    pub(super) fn set_connection_type(&mut self, call: &Call<'_>) -> Answer {
        self.policy.check_connection()?;
        let wanted = call.arguments.text("NewConnectionType")?;
        if !matches!(self.connection.status(), Status::Disconnected | Status::Unconfigured) {
            return Err(ErrorCode::InactiveConnectionStateRequired.into());
        }
        if wanted == CONNECTION_TYPE { Ok(Vec::new()) } else { Err(ErrorCode::ReadOnly.into()) }
    }

    /// GetConnectionTypeInfo.
    pub(super) fn connection_type_info(&self) -> Vec<Value> {
        vec![Value::text(CONNECTION_TYPE), Value::text(CONNECTION_TYPE)]
    }

    /// RequestConnection: everybody may have the connection that all share.
    pub(super) fn request_connection(&mut self, call: &Call<'_>) -> Answer {
        Ok(self.connection.request(call.now).map(|()| Vec::new())?)
    }

    /// RequestTermination.
    pub(super) fn request_termination(&mut self, call: &Call<'_>) -> Answer {
        self.policy.check_connection()?;
        Ok(self.connection.terminate(call.now).map(|()| Vec::new())?)
    }

    /// ForceTermination.
    pub(super) fn force_termination(&mut self, call: &Call<'_>) -> Answer {
        self.policy.check_connection()?;
        Ok(self.connection.force(call.now).map(|()| Vec::new())?)
    }

    /// SetAutoDisconnectTime.
    pub(super) fn set_auto_disconnect(&mut self, call: &Call<'_>) -> Answer {
        self.policy.check_connection()?;
        self.connection.set_auto_disconnect(call.arguments.ui4("NewAutoDisconnectTime")?);
        Ok(Vec::new())
    }

    /// SetIdleDisconnectTime.
    pub(super) fn set_idle_disconnect(&mut self, call: &Call<'_>) -> Answer {
        self.policy.check_connection()?;
        let seconds = call.arguments.ui4("NewIdleDisconnectTime")?;
        self.connection.set_idle_disconnect(call.now, seconds);
        Ok(Vec::new())
    }

    /// SetWarnDisconnectDelay.
    pub(super) fn set_warn_delay(&mut self, call: &Call<'_>) -> Answer {
        self.policy.check_connection()?;
        self.connection.set_warn_delay(call.arguments.ui4("NewWarnDisconnectDelay")?);
        Ok(Vec::new())
    }

    /// GetStatusInfo.
    pub(super) fn status_info(&self, now: BootTime) -> Vec<Value> {
        vec![
            Value::text(self.connection.status().name()),
            Value::text(self.connection.last_error().name()),
            Value::Ui4(self.connection.uptime(now)),
        ]
    }

    /// GetNATRSIPStatus: no RSIP, but NAT.
    pub(super) fn nat_rsip_status(&self) -> Vec<Value> {
        vec![Value::Boolean(false), Value::Boolean(true)]
    }

    /// GetExternalIPAddress: empty while there is no connection, and where a private address is not to
    /// be told.
    pub(super) fn external_ip_address(&self) -> Vec<Value> {
        let address = self.outside.told(self.external_address(), self.seen);
        vec![Value::text(address.map(|address| address.to_string()).unwrap_or_default())]
    }

    /// SetEnabledForInternet.
    pub(super) fn set_enabled_for_internet(&mut self, call: &Call<'_>) -> Answer {
        self.policy.check_connection()?;
        let enabled = call.arguments.boolean("NewEnabledForInternet")?;
        self.connection.enable(call.now, enabled);
        Ok(Vec::new())
    }

    /// GetCommonLinkProperties. The WAN is an Ethernet interface to us, whatever lies behind it.
    pub(super) fn common_link_properties(&self) -> Vec<Value> {
        vec![
            Value::text("Ethernet"),
            Value::Ui4(self.link.upstream),
            Value::Ui4(self.link.downstream),
            Value::text(match self.connection.link() {
                link if link.carrier => "Up",
                link if link.present => "Down",
                _ => "Unavailable",
            }),
        ]
    }

    /// GetActiveConnections: the only connection, if it is there.
    pub(super) fn active_connection(&self, call: &Call<'_>) -> Answer {
        let index = call.arguments.ui2("NewActiveConnectionIndex")?;
        if index != 0 || !self.connection.transits() {
            return Err(ErrorCode::SpecifiedArrayIndexInvalid.into());
        }
        let connection = call.tree.default_connection_service(self.root_uuid);
        let (device, service) = connection.split_once(',').unwrap_or_default();
        Ok(vec![Value::text(device), Value::text(service)])
    }

    /// GetDefaultConnectionService: there is only one connection.
    pub(super) fn default_connection(&self, call: &Call<'_>) -> Vec<Value> {
        vec![Value::text(call.tree.default_connection_service(self.root_uuid))]
    }

    /// SetDefaultConnectionService: only what is already so can be set.
    pub(super) fn set_default_connection(&self, call: &Call<'_>) -> Answer {
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
