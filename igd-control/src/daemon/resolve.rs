//! Host names, resolved by the router's own resolver without anybody waiting for it but who asked.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use tokio::{net::lookup_host, sync::Semaphore, time::timeout};

/// Names that are looked up at the same time; each takes a thread until the resolver gives up.
const LOOKUPS: usize = 4;
/// How long a client waits, of the 30 seconds that an action may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks names up.
#[derive(Debug)]
pub(super) struct Resolver(Arc<Semaphore>);

impl Default for Resolver {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKUPS)))
    }
}

impl Resolver {
    /// The first IPv4 address of a host; `None` when it has none, or nobody says so in time.
    pub(super) async fn resolve(&self, name: &str) -> Option<Ipv4Addr> {
        let (name, lookups) = (name.to_owned(), Arc::clone(&self.0));
        let lookup = async move {
            let permit = lookups.acquire_owned().await.ok()?;
            // It goes on when nobody waits for it any more, and keeps its place until it ends.
            let found = tokio::spawn(async move {
                let found = lookup_host((name, 0)).await.ok()?;
                let mut addresses = found.map(|address| address.ip());
                drop(permit);
                addresses.find_map(|address| match address {
                    IpAddr::V4(address) => Some(address),
                    IpAddr::V6(_) => None,
                })
            });
            found.await.ok().flatten()
        };
        timeout(PATIENCE, lookup).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_routers_own_name_is_known() {
        let resolver = Resolver::default();
        assert_eq!(resolver.resolve("localhost").await, Some(Ipv4Addr::LOCALHOST));
        assert_eq!(resolver.0.available_permits(), LOOKUPS);
    }
}
