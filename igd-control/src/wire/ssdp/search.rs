//! Reading M-SEARCH requests.

use super::announce::{Announcement, announcements};
use crate::igd::device::split_urn;
use uuid::Uuid;

/// The longest request that is read, bytes.
const MAX_REQUEST: usize = 2_048;

/// Why a datagram is not a search that is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// Not an M-SEARCH: another device's NOTIFY, an answer, or noise.
    #[error("not an M-SEARCH request")]
    NotASearch,
    /// Not text, or too long.
    #[error("not a readable SSDP message")]
    Unreadable,
    /// A header line without a colon, or with white space before it.
    #[error("a malformed header line")]
    BadHeader,
    /// MAN is missing or is not "ssdp:discover".
    #[error("MAN is not \"ssdp:discover\"")]
    BadMan,
    /// MX is not a number.
    #[error("MX is not a number of seconds")]
    BadMx,
    /// ST is missing or is of no known form.
    #[error("ST is missing or of no known form")]
    BadTarget,
}

/// What is searched for: ST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchTarget {
    /// `ssdp:all`.
    All,
    /// `upnp:rootdevice`.
    RootDevice,
    /// `uuid:` and a device's UUID.
    Uuid(Uuid),
    /// A device or service type with the version that the control point knows.
    Type {
        /// The URN without the version.
        kind: String,
        /// The version.
        version: u16,
    },
}

/// A search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchRequest {
    /// What for.
    pub target: SearchTarget,
    /// Answers are to be spread over this many seconds (MX, from 1 to 5). `None`, as in a unicast
    /// search, asks for an answer at once.
    pub max_wait: Option<u8>,
}

impl SearchRequest {
    /// Reads a datagram. Header names and their order are free, and lines may end without a carriage
    /// return.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn parse(datagram: &[u8]) -> Result<Self, SearchError> {
        if !datagram.starts_with(b"M-SEARCH ") {
            return Err(SearchError::NotASearch);
        }
        if datagram.len() > MAX_REQUEST {
            return Err(SearchError::Unreadable);
        }
        let text = std::str::from_utf8(datagram).map_err(|_| SearchError::Unreadable)?;
        let mut lines = text.lines();
        if lines.next().map(str::trim_end) != Some("M-SEARCH * HTTP/1.1") {
            return Err(SearchError::NotASearch);
        }
        let (mut man, mut mx, mut st) = (None, None, None);
        for line in lines.take_while(|line| !line.trim().is_empty()) {
            let (name, value) = line.split_once(':').ok_or(SearchError::BadHeader)?;
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(SearchError::BadHeader);
            }
            let slot = match name.to_ascii_uppercase().as_str() {
                "MAN" => &mut man,
                "MX" => &mut mx,
                "ST" => &mut st,
                _ => continue,
            };
            // Of repeated headers the first one counts.
            slot.get_or_insert(value.trim());
        }
        // The quotes are part of the value, but some control points forget them.
        if man.map(|man| man.trim_matches('"')) != Some("ssdp:discover") {
            return Err(SearchError::BadMan);
        }
        let target = st.and_then(SearchTarget::parse).ok_or(SearchError::BadTarget)?;
        Ok(Self { target, max_wait: mx.map(parse_mx).transpose()? })
    }

    /// The answers that the gateway with this UUID owes; none when it has no such thing.
    pub fn answers(&self, gateway: Uuid) -> Vec<Announcement> {
        let mut known = announcements(gateway);
        known.retain(|announcement| match &self.target {
            SearchTarget::All => true,
            SearchTarget::RootDevice => announcement.target == "upnp:rootdevice",
            SearchTarget::Uuid(uuid) => announcement.target == format!("uuid:{uuid}"),
            SearchTarget::Type { kind, version } => {
                split_urn(&announcement.target) == Some((kind.as_str(), *version))
            }
        });
        known
    }
}

impl SearchTarget {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "ssdp:all" => return Some(Self::All),
            "upnp:rootdevice" => return Some(Self::RootDevice),
            _ => {}
        }
        if let Some(uuid) = text.strip_prefix("uuid:") {
            return Uuid::try_parse(uuid).ok().map(Self::Uuid);
        }
        let (kind, version) = split_urn(text)?;
        kind.starts_with("urn:").then(|| Self::Type { kind: kind.to_owned(), version })
    }
}

/// MX in seconds, brought into 1 to 5 (section 1.3.2: larger values may be taken for 5).
fn parse_mx(digits: &str) -> Result<u8, SearchError> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SearchError::BadMx);
    }
    Ok(digits.parse().unwrap_or(u8::MAX).clamp(1, 5))
}
