//! How many connections there may be.

use crate::{
    lan::Client,
    metrics::{self, Limit},
};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Counts connections, in all and by client. When there is no room for one more, another gives way:
/// the one that has been silent for longest, of the client that has most. So whoever opens connections
/// and leaves them takes nobody's place but its own.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    limit: usize,
    limit_per_client: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    /// Connections by the number of their last request, so that the longest silent is the first.
    connections: BTreeMap<u64, Connection>,
    /// Clients that have connections; never more than these.
    clients: HashMap<Client, usize>,
    next: u64,
}

#[derive(Debug)]
struct Connection {
    client: Client,
    evicted: Arc<Notify>,
}

/// One connection's place; given back on drop.
#[derive(Debug)]
pub(super) struct Admitted {
    number: Mutex<u64>,
    evicted: Arc<Notify>,
    open: Arc<Mutex<Open>>,
}

/// Why a connection is not admitted: every other client has fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many connections")]
pub(super) struct Refused;

impl Admission {
    pub(super) fn new(limit: usize, limit_per_client: usize) -> Self {
        Self { limit, limit_per_client, open: Arc::default() }
    }

    /// Takes a place for a connection of `peer`.
    pub(super) fn admit(&self, peer: IpAddr) -> Result<Admitted, Refused> {
        let client = Client::of(peer);
        let mut open = lock(&self.open);
        let own = open.clients.get(&client).copied().unwrap_or(0);
        if own >= client.share(self.limit_per_client, self.limit) {
            metrics::hit(Limit::ConnectionsPerClient);
            open.evict(client);
        } else if open.connections.len() >= self.limit {
            metrics::hit(Limit::Connections);
            let greediest = open.clients.iter().max_by_key(|(_, count)| **count);
            let (greediest, count) = greediest.map(|(one, count)| (*one, *count)).ok_or(Refused)?;
            if count <= own {
                return Err(Refused);
            }
            open.evict(greediest);
        }
        let evicted = Arc::new(Notify::new());
        *open.clients.entry(client).or_default() += 1;
        let number = open.insert(Connection { client, evicted: Arc::clone(&evicted) });
        Ok(Admitted { number: Mutex::new(number), evicted, open: Arc::clone(&self.open) })
    }

    #[cfg(test)]
    pub(super) fn connections(&self) -> usize {
        lock(&self.open).connections.len()
    }
}

impl Open {
    fn insert(&mut self, connection: Connection) -> u64 {
        let number = self.next;
        self.next += 1;
        self.connections.insert(number, connection);
        number
    }

    fn remove(&mut self, number: u64) -> Option<Connection> {
        let connection = self.connections.remove(&number)?;
        if let Some(count) = self.clients.get_mut(&connection.client) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(&connection.client);
            }
        }
        Some(connection)
    }

    /// Ends the connection of `client` that has been silent for longest.
    fn evict(&mut self, client: Client) {
        let mut of_it = self.connections.iter().filter(|(_, one)| one.client == client);
        if let Some(number) = of_it.next().map(|(number, _)| *number)
            && let Some(connection) = self.remove(number)
        {
            connection.evicted.notify_one();
        }
    }
}

impl Admitted {
    /// The connection has brought a request.
    pub(super) fn touch(&self) {
        let mut number = lock(&self.number);
        let mut open = lock(&self.open);
        // One that had to give way may still bring one.
        if let Some(connection) = open.connections.remove(&*number) {
            *number = open.insert(connection);
        }
    }

    /// Returns when the connection has to give way.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let number = *lock(&self.number);
        lock(&self.open).remove(number);
    }
}

/// What is locked is right between any two statements, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
