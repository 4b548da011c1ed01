//! What the WAN interface tells clients that ask.

use crate::{
    datapath::Inspect,
    igd::{LinkProperties, TrafficTotals},
};
use std::{fs, path::Path, sync::Arc};

/// The WAN interface.
#[derive(Clone)]
pub(super) struct Wan {
    interface: String,
    inspector: Arc<dyn Inspect>,
}

impl Wan {
    pub(super) fn new(interface: &str, inspector: Arc<dyn Inspect>) -> Self {
        Self { interface: interface.to_owned(), inspector }
    }
}

/// Where the gateway learns about the WAN interface.
pub(super) trait WanSource: Send + Sync + 'static {
    /// Traffic over it since the start.
    fn traffic(&self) -> TrafficTotals;

    /// How fast the interface is.
    fn link(&self) -> LinkProperties;
}

impl WanSource for Wan {
    fn traffic(&self) -> TrafficTotals {
        self.inspector.traffic()
    }

    fn link(&self) -> LinkProperties {
        let speed = bits_per_second(&self.interface);
        LinkProperties { upstream: speed, downstream: speed }
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
    fn an_interface_that_does_not_exist_has_no_speed() {
        assert_eq!(bits_per_second("no-such-iface"), 0);
    }
}
