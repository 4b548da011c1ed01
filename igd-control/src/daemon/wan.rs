//! What the WAN interface tells clients that ask.

use crate::{
    datapath::Inspector,
    igd::{LinkProperties, TrafficTotals},
};
use nat_common::Counter;
use std::{fs, path::Path};

/// The WAN interface.
#[derive(Clone)]
pub(super) struct Wan {
    interface: String,
    inspector: Inspector,
}

impl Wan {
    pub(super) fn new(interface: &str, inspector: Inspector) -> Self {
        Self { interface: interface.to_owned(), inspector }
    }
}

/// Where the gateway learns about the WAN interface.
pub(super) trait WanSource: Send + Sync + 'static {
    /// What was translated since the start.
    fn traffic(&self) -> TrafficTotals;

    /// How fast the interface is.
    fn link(&self) -> LinkProperties;
}

impl WanSource for Wan {
    fn traffic(&self) -> TrafficTotals {
        match self.inspector.counters() {
            Ok(counters) => totals(&counters),
            Err(error) => {
                tracing::warn!("the counters cannot be read: {error:#}");
                TrafficTotals::default()
            }
        }
    }

    fn link(&self) -> LinkProperties {
        let speed = bits_per_second(&self.interface);
        LinkProperties { upstream: speed, downstream: speed }
    }
}

fn totals(counters: &[(Counter, u64)]) -> TrafficTotals {
    let value = |wanted| counters.iter().find(|(counter, _)| *counter == wanted).map_or(0, |c| c.1);
    TrafficTotals {
        bytes_sent: value(Counter::OutboundBytes),
        bytes_received: value(Counter::InboundBytes),
        packets_sent: value(Counter::OutboundPackets),
        packets_received: value(Counter::InboundPackets),
    }
}

/// The interface's nominal speed; 0 when it has none.
fn bits_per_second(interface: &str) -> u32 {
    let path = Path::new("/sys/class/net").join(interface).join("speed");
    // Megabits; -1 when unknown.
    let speed = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    speed.unwrap_or(0).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_translated_traffic() {
        let counters = [
            (Counter::OutboundPackets, 1),
            (Counter::OutboundBytes, 100),
            (Counter::InboundPackets, 2),
            (Counter::InboundBytes, 200),
            (Counter::HairpinBytes, 1_000),
        ];
        let expected = TrafficTotals {
            bytes_sent: 100,
            bytes_received: 200,
            packets_sent: 1,
            packets_received: 2,
        };
        assert_eq!(totals(&counters), expected);
    }

    #[test]
    fn an_interface_that_does_not_exist_has_no_speed() {
        assert_eq!(bits_per_second("no-such-iface"), 0);
    }
}
