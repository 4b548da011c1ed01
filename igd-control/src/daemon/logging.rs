//! The log: to stderr, where systemd and terminals both take it from.

use std::io::{self, IsTerminal as _};
use tracing_subscriber::EnvFilter;

/// Starts logging by RUST_LOG, or else by the configured filter.
///
/// # Errors
/// The filter cannot be understood.
pub(super) fn init(configured: &str) -> anyhow::Result<()> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter)
            .map_err(|error| anyhow::anyhow!("RUST_LOG={filter}: {error}"))?,
        _ => EnvFilter::try_new(configured)
            .map_err(|error| anyhow::anyhow!("daemon.log = {configured:?}: {error}"))?,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
