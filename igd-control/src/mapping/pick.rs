//! Choosing a free external port.

use super::entry::{FIRST_UNPRIVILEGED, MappingKey, MappingRequest};
use super::error::MapError;
use super::path::PacketPath;
use super::table::PortMappingTable;
use nat_common::BootTime;

/// Random ports tried of the wanted parity, and then of any.
const TRIES: usize = 32;
/// Ports to choose from.
const CHOICE: u32 = u16::MAX as u32 - FIRST_UNPRIVILEGED as u32 + 1;

/// Random numbers for choosing ports (splitmix64). Mapped ports are public, so speed and spread
/// matter here, not secrecy.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u32(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 32) as u32
    }
}

impl PortMappingTable {
    /// Adds a mapping as [`add`](Self::add) does, from the wanted external port when that can be
    /// had, else from a free one: first of the same parity (RTP, RFC 4787 section 4.2.2), then of
    /// any, and at last by going through all of them, so that the last free port is found. The port
    /// is one that `fits`.
    ///
    /// Returns the external port (figure 2-4 of WANIPConnection:2).
    ///
    /// # Errors
    /// [`MapError::NoPortMaps`] when a limit is reached or no port is free, [`MapError::Failed`].
    pub fn add_any<P: PacketPath>(
        &mut self,
        path: &mut P,
        now: BootTime,
        request: &MappingRequest,
        random: &mut dyn FnMut() -> u32,
        fits: &dyn Fn(u16) -> bool,
    ) -> Result<u16, MapError> {
        let wanted = request.key.external_port;
        match self.add(path, now, request) {
            Err(MapError::Conflict | MapError::HeldByRouter) => {}
            result => return result.map(|()| wanted),
        }
        self.pick(path, now, request, random, fits)
    }

    /// Adds a mapping as [`add_any`](Self::add_any) does, but never in the place of one that there is,
    /// and from the wanted port only if it `fits`.
    ///
    /// # Errors
    /// As [`add_any`](Self::add_any).
    pub fn add_beside<P: PacketPath>(
        &mut self,
        path: &mut P,
        now: BootTime,
        request: &MappingRequest,
        random: &mut dyn FnMut() -> u32,
        fits: &dyn Fn(u16) -> bool,
    ) -> Result<u16, MapError> {
        let wanted = request.key.external_port;
        match self.add_wanted(path, now, request, fits) {
            Err(MapError::Conflict | MapError::HeldByRouter) => {
                self.pick(path, now, request, random, fits)
            }
            result => result.map(|()| wanted),
        }
    }

    /// Adds a mapping from the port that it wants, if that `fits` and no other has its identity.
    ///
    /// # Errors
    /// [`MapError`].
    pub fn add_wanted<P: PacketPath>(
        &mut self,
        path: &mut P,
        now: BootTime,
        request: &MappingRequest,
        fits: &dyn Fn(u16) -> bool,
    ) -> Result<(), MapError> {
        if self.get(&request.key).is_some() || !fits(request.key.external_port) {
            return Err(MapError::Conflict);
        }
        self.add(path, now, request)
    }

    /// Adds a mapping from a free port that `fits`, with the parity of the wanted one if that can be.
    fn pick<P: PacketPath>(
        &mut self,
        path: &mut P,
        now: BootTime,
        request: &MappingRequest,
        random: &mut dyn FnMut() -> u32,
        fits: &dyn Fn(u16) -> bool,
    ) -> Result<u16, MapError> {
        let wanted = request.key.external_port;
        let mut attempt = request.clone();
        for try_number in 0..2 * TRIES {
            let mut port = port_at(random());
            if try_number < TRIES {
                port = (port & !1) | (wanted & 1);
            }
            if fits(port) && self.add_free(path, now, &mut attempt, port)? {
                return Ok(port);
            }
        }
        let start = random() % CHOICE;
        for offset in 0..CHOICE {
            let port = port_at(start + offset);
            if fits(port) && self.add_free(path, now, &mut attempt, port)? {
                return Ok(port);
            }
        }
        Err(MapError::NoPortMaps)
    }

    /// Adds the mapping from `port` if nobody has that port; false when somebody has.
    fn add_free<P: PacketPath>(
        &mut self,
        path: &mut P,
        now: BootTime,
        attempt: &mut MappingRequest,
        port: u16,
    ) -> Result<bool, MapError> {
        attempt.key = MappingKey { external_port: port, ..attempt.key };
        if self.on_port(&attempt.key).next().is_some() {
            return Ok(false);
        }
        match self.add(path, now, attempt) {
            Ok(()) => Ok(true),
            Err(MapError::Conflict | MapError::HeldByRouter) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A port to choose from, by any number.
fn port_at(number: u32) -> u16 {
    (u32::from(FIRST_UNPRIVILEGED) + number % CHOICE) as u16
}
