//! What one internal client may have, so that it leaves something to the others (RFC 6888 REQ-3,
//! REQ-4): sessions, external ports, and new sessions in a second.
//!
//! A session counts for the client that opens it, or that is called from outside. A quarter of its
//! sessions is for those that the client opens itself, and of new sessions only those count: nobody
//! else can use up what it may have.
//!
//! How many live is known as long as the daemon sweeps. Without it the first two limits do not hold,
//! since what ends would count for ever. Nor do they for clients for which the table has no room: they
//! are served like the others. See [`nat_common::client`].

use crate::tables::Tables;
use crate::verdict::{Step, Verdict};
use nat_common::client::alive;
use nat_common::settings::Settings;
use nat_common::{BootTime, Counter, NetAddr};

const SESSIONS: usize = 0;
const PORTS: usize = 1;
const RATE: usize = 2;

/// Whether a client may have one session more; `opens`: it opens it itself.
///
/// # Errors
/// The verdict when it may not.
#[inline(always)]
pub fn admit<T: Tables>(
    tables: &T,
    settings: &Settings,
    now: BootTime,
    addr: NetAddr,
    opens: bool,
) -> Step<()> {
    if !settings.has_client_limits() {
        return Ok(());
    }
    let Some(client) = meet(tables, addr) else { return Ok(()) };
    let most = settings.max_sessions_per_client;
    let most = if opens { most } else { most - most / 4 };
    if most != 0
        && settings.is_swept(now)
        && alive(client.sessions.get(), tables.ended(&addr).sessions) >= u64::from(most)
    {
        client.refused[SESSIONS].add(1);
        return Err(Verdict::drop(Counter::DropSessionLimit));
    }
    let most = settings.new_sessions_per_second;
    if opens && most != 0 && !client.may_open(now, most) {
        client.refused[RATE].add(1);
        return Err(Verdict::drop(Counter::DropRateLimit));
    }
    Ok(())
}

/// A client, from now on known if it was not; `None` when there is no room.
#[inline(always)]
pub fn meet<T: Tables>(tables: &T, addr: NetAddr) -> Option<T::Client> {
    let known = tables.client(&addr);
    if known.is_some() {
        return known;
    }
    let _ = tables.insert_client(&addr);
    tables.client(&addr)
}

/// Whether a client may have one external port more. It must have been met.
///
/// # Errors
/// The verdict when it may not.
#[inline(always)]
pub fn admit_port<T: Tables>(
    tables: &T,
    settings: &Settings,
    now: BootTime,
    addr: NetAddr,
) -> Step<()> {
    let most = settings.max_ports_per_client;
    if most == 0 || !settings.is_swept(now) {
        return Ok(());
    }
    let Some(client) = tables.client(&addr) else { return Ok(()) };
    if alive(client.ports.get(), tables.ended(&addr).ports) >= u64::from(most) {
        client.refused[PORTS].add(1);
        return Err(Verdict::drop(Counter::DropPortLimit));
    }
    Ok(())
}

/// Counts a session that a client is about to get.
#[inline(always)]
pub fn count_session<T: Tables>(tables: &T, settings: &Settings, addr: NetAddr, by: u64) {
    if settings.has_client_limits()
        && let Some(client) = tables.client(&addr)
    {
        client.sessions.add(by);
    }
}

/// Counts an external port that a client has got.
#[inline(always)]
pub fn count_port<T: Tables>(tables: &T, settings: &Settings, addr: NetAddr, by: u64) {
    if settings.has_client_limits()
        && let Some(client) = tables.client(&addr)
    {
        client.ports.add(by);
    }
}

/// One more.
pub const ONE: u64 = 1;
/// One less: it was not got after all. The counts are modulo 2^64.
pub const NOT_ONE: u64 = u64::MAX;
