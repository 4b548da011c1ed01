//! How the NAT is configured, at random.

use crate::reference::{Limits, Mode, Modes};
use nat_common::Protocol;
use nat_common::settings::{Filtering, Settings};
use proptest::prelude::*;

/// What stays the same for as long as a world does.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub(super) modes: Modes,
    pub(super) limits: Limits,
}

impl Rules {
    /// As the pipeline is told.
    pub(super) fn settings(&self) -> Settings {
        let mut settings = Settings {
            max_sessions_per_client: self.limits.sessions.unwrap_or(0),
            max_ports_per_client: self.limits.ports.unwrap_or(0),
            ..Settings::DEFAULT
        };
        let Modes { udp, tcp, icmp } = self.modes;
        for (protocol, mode) in [(Protocol::Udp, udp), (Protocol::Tcp, tcp), (Protocol::Icmp, icmp)]
        {
            let filtering = match mode {
                Mode::Nothing => Filtering::EndpointIndependent,
                Mode::Address => Filtering::AddressDependent,
                Mode::Endpoint => Filtering::AddressAndPortDependent,
            };
            settings.set_filtering(protocol, filtering);
        }
        settings
    }
}

/// Any rules.
pub fn rules() -> impl Strategy<Value = Rules> {
    let mode = || prop_oneof![2 => Just(Mode::Nothing), 2 => Just(Mode::Address), 1 => Just(Mode::Endpoint)];
    let modes = (mode(), mode(), mode()).prop_map(|(udp, tcp, icmp)| Modes { udp, tcp, icmp });
    let limit = |most: u32| prop_oneof![2 => Just(None), 1 => (1..=most).prop_map(Some)];
    let limits = (limit(12), limit(5)).prop_map(|(sessions, ports)| Limits { sessions, ports });
    (modes, limits).prop_map(|(modes, limits)| Rules { modes, limits })
}
