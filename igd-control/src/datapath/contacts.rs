//! The map of contacts: to whom internal clients have sent, where filtering asks for that.

use super::batch::Chunks;
use anyhow::{Context as _, Result, bail};
use aya::maps::{HashMap, Map, MapData};
use nat_common::BootTime;
use nat_common::contact::{ContactKey, ContactRecord};
use nat_common::maps::{CONTACTS, NO_CONTACTS};
use nat_common::settings::Settings;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

const KEY: usize = size_of::<ContactKey>();
const RECORD: usize = size_of::<ContactRecord>();

/// The map.
pub struct Contacts {
    map: Mutex<HashMap<MapData, [u8; KEY], [u8; RECORD]>>,
    fd: OwnedFd,
    /// How many fit.
    pub max: u32,
}

/// How many contacts shall fit: each is made by a session, and goes with the last one to its host.
pub fn wanted(settings: &Settings, max_sessions: u32) -> u32 {
    if settings.needs_contacts() { max_sessions } else { NO_CONTACTS }
}

impl Contacts {
    /// Takes the map of a loaded program.
    pub(super) fn new(map: MapData) -> Result<Self> {
        let (fd, max) = (map.fd().as_fd().try_clone_to_owned()?, map.info()?.max_entries());
        Ok(Self { map: Mutex::new(Map::HashMap(map).try_into().context(CONTACTS)?), fd, max })
    }

    /// Checks that filtering can be as the settings say.
    ///
    /// # Errors
    /// When it asks for contacts and the map was made for none.
    pub fn check(&self, settings: &Settings) -> Result<()> {
        if settings.needs_contacts() && self.max <= NO_CONTACTS {
            bail!(
                "filtering by address (nat.filtering-udp, -tcp, -icmp) needs a table of contacts, and \
                 the pinned tables were made without: `igd-control unload` takes them away, sessions \
                 included, and the next start makes new ones"
            );
        }
        Ok(())
    }

    /// Removes the contacts that ended before `past`; tells how many.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn sweep(&self, past: BootTime) -> Result<usize> {
        let mut swept = 0;
        let mut over: Vec<ContactKey> = Vec::new();
        let mut chunks = Chunks::<ContactKey, ContactRecord>::new(self.fd.as_fd());
        while let Some(chunk) = chunks.next_chunk()? {
            over.extend(chunk.filter(|(_, record)| record.deadline <= past.0).map(|(key, _)| *key));
            let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
            for key in over.drain(..) {
                let _ = map.remove(&bytemuck::cast::<_, [u8; KEY]>(key));
                swept += 1;
            }
        }
        Ok(swept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nat_common::settings::Filtering;

    #[test]
    fn contacts_take_memory_only_where_filtering_asks_for_them() {
        assert_eq!(wanted(&Settings::DEFAULT, 262_144), NO_CONTACTS);
        for filtering in [Filtering::AddressDependent, Filtering::AddressAndPortDependent] {
            let mut settings = Settings::DEFAULT;
            settings.set_filtering(nat_common::Protocol::Icmp, filtering);
            assert_eq!(wanted(&settings, 262_144), 262_144);
        }
    }
}
