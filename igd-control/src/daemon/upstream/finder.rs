//! Where the server may be: looked for again and again.

use crate::{
    config::{self, UpstreamServer},
    upstream::{ServerAddress, addresses, default_gateway},
};
use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    net::lookup_host,
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// Between looks.
pub(super) const LOOK: Duration = Duration::from_secs(30);
/// For how long a name leads to the same addresses, unless the network changes.
const NAMED: Duration = Duration::from_secs(300);
/// How long the name may take to be resolved.
const RESOLVING: Duration = Duration::from_secs(10);

/// Looks for the server.
pub(super) struct Finder {
    wan: String,
    server: UpstreamServer,
    file: Option<PathBuf>,
    /// Where the name has led when it was last resolved, and when that was, unless it is to be anew.
    named: Vec<ServerAddress>,
    resolved: Option<Instant>,
}

impl Finder {
    pub(super) fn new(config: &config::Upstream, wan: &str) -> Self {
        Self {
            wan: wan.to_owned(),
            server: config.server().unwrap_or(UpstreamServer::None),
            file: config.server_file().map(Path::to_owned),
            named: Vec::new(),
            resolved: None,
        }
    }

    /// Tells where it may be, for ever.
    pub(super) async fn run(
        mut self,
        found: watch::Sender<Option<Vec<ServerAddress>>>,
        mut network: watch::Receiver<()>,
    ) {
        loop {
            network.mark_unchanged();
            let addresses = Some(self.look().await);
            found.send_if_modified(|before| {
                let changed = *before != addresses;
                *before = addresses;
                changed
            });
            tokio::select! {
                () = sleep(LOOK) => {}
                Ok(()) = network.changed() => self.resolved = None,
            }
        }
    }

    async fn look(&mut self) -> Vec<ServerAddress> {
        let text = self.file.as_ref().and_then(|path| fs::read_to_string(path).ok());
        let by_file = text.map(|text| addresses(&text)).unwrap_or_default();
        if !by_file.is_empty() {
            return by_file;
        }
        match &self.server {
            UpstreamServer::None => Vec::new(),
            UpstreamServer::At(address) => vec![address.clone()],
            UpstreamServer::Gateway => {
                let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
                let gateway = default_gateway(&routes, &self.wan);
                gateway.map(|address| IpAddr::V4(address).into()).into_iter().collect()
            }
            UpstreamServer::Named(name) => {
                if self.resolved.is_none_or(|at| at.elapsed() >= NAMED) {
                    match resolve(name).await {
                        Some(addresses) => {
                            (self.named, self.resolved) = (addresses, Some(Instant::now()));
                        }
                        // It is where it was, as far as is known.
                        None => tracing::info!("the PCP server {name} cannot be found"),
                    }
                }
                self.named.clone()
            }
        }
    }
}

/// Where a name leads; `None` if nobody says so in time.
async fn resolve(name: &str) -> Option<Vec<ServerAddress>> {
    let found = timeout(RESOLVING, lookup_host((name, 0))).await.ok()?.ok()?;
    let mut addresses: Vec<ServerAddress> = Vec::new();
    for address in found.map(|address| address.ip().into()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Some(addresses).filter(|addresses| !addresses.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finder(server: &str, file: &Path) -> Finder {
        let (server, server_file) = (server.to_owned(), file.to_owned());
        Finder::new(&config::Upstream { server, server_file, ..Default::default() }, "lo")
    }

    async fn found(finder: &mut Finder) -> Vec<String> {
        finder.look().await.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn the_file_comes_before_what_is_configured_and_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pcp");
        let mut finder = finder("192.0.2.9", &file);
        assert_eq!(found(&mut finder).await, ["192.0.2.9"]);
        fs::write(&file, "2001:db8::1 192.0.2.1").unwrap();
        assert_eq!(found(&mut finder).await, ["2001:db8::1", "192.0.2.1"]);
        fs::write(&file, "").unwrap();
        assert_eq!(found(&mut finder).await, ["192.0.2.9"]);
    }

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let mut finder = finder("localhost", Path::new(""));
        let found = found(&mut finder).await;
        assert!(found.iter().any(|it| it == "127.0.0.1" || it == "::1"), "{found:?}");
    }
}
