//! How the NAT is configured, at random.

use crate::reference::{Mode, Modes};
use nat_common::Protocol;
use nat_common::settings::{Filtering, Settings};
use proptest::prelude::*;

/// What stays the same for as long as a world does.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub modes: Modes,
}

impl Rules {
    /// As the pipeline is told.
    pub(super) fn settings(&self) -> Settings {
        let mut settings = Settings::DEFAULT;
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
    (mode(), mode(), mode()).prop_map(|(udp, tcp, icmp)| Rules { modes: Modes { udp, tcp, icmp } })
}
