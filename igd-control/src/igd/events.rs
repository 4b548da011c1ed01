//! The evented variables, as subscribers are told them.

use super::arguments::Value;
use super::gateway::Gateway;
use super::spec::ServiceKind;
use crate::mapping::PacketPath;
use nat_common::BootTime;

impl<P: PacketPath> Gateway<P> {
    /// The values of the evented variables of a service, in the order of its table. They are what the
    /// actions answer, but for mappings to which a server upstream has yet to agree.
    pub fn evented(&self, now: BootTime, service: ServiceKind) -> Vec<(&'static str, String)> {
        let variables = service.spec().variables.iter().filter(|variable| variable.evented);
        let value = |name| self.evented_value(now, service, name).unwrap_or_default();
        variables.map(|variable| (variable.name, value(variable.name))).collect()
    }

    fn evented_value(&self, now: BootTime, service: ServiceKind, name: &str) -> Option<String> {
        let nth = |values: Vec<Value>, index: usize| values.get(index).map(ToString::to_string);
        match name {
            "PossibleConnectionTypes" => nth(self.connection_type_info(), 1),
            "ConnectionStatus" => nth(self.status_info(now), 0),
            "ExternalIPAddress" => nth(self.external_ip_address(), 0),
            "PortMappingNumberOfEntries" => Some(self.counts().0.to_string()),
            "SystemUpdateID" => Some(self.counts().1.to_string()),
            "PhysicalLinkStatus" => nth(self.common_link_properties(), 3),
            "EnabledForInternet" => Some(Value::Boolean(self.connection.is_enabled()).to_string()),
            "NumberOfActiveConnections" => Some(u8::from(self.connection.transits()).to_string()),
            "DefaultConnectionService" => {
                Some(service.tree().default_connection_service(self.root_uuid))
            }
            _ => None,
        }
    }
}
