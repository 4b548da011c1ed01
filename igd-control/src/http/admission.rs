//! How many connections there may be.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts connections, in all and by client.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    limit: usize,
    limit_per_client: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    /// Clients that have connections; never more than `total`.
    clients: HashMap<Ipv4Addr, usize>,
}

/// One connection's place; given back on drop.
#[derive(Debug)]
pub(super) struct Admitted {
    client: Ipv4Addr,
    open: Arc<Mutex<Open>>,
}

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("too many connections")]
    Full,
    #[error("too many connections of this client")]
    ClientFull,
}

impl Admission {
    pub(super) fn new(limit: usize, limit_per_client: usize) -> Self {
        Self { limit, limit_per_client, open: Arc::default() }
    }

    /// Takes a place for a connection of `client`.
    pub(super) fn admit(&self, client: Ipv4Addr) -> Result<Admitted, Refused> {
        let mut open = lock(&self.open);
        if open.total >= self.limit {
            return Err(Refused::Full);
        }
        let count = open.clients.get(&client).copied().unwrap_or(0);
        if count >= self.limit_per_client {
            return Err(Refused::ClientFull);
        }
        open.clients.insert(client, count + 1);
        open.total += 1;
        Ok(Admitted { client, open: Arc::clone(&self.open) })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.total -= 1;
        if let Some(count) = open.clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.clients.remove(&self.client);
            }
        }
    }
}

/// The counts are right between any two statements, so a panic elsewhere does not spoil them.
fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
