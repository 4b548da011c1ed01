//! SUBSCRIBE and UNSUBSCRIBE: what their headers ask for.

use super::callback::{Callback, callbacks};
use uuid::Uuid;

/// The headers of a request that say something about events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventHeaders<'a> {
    /// CALLBACK.
    pub callback: Option<&'a str>,
    /// NT.
    pub nt: Option<&'a str>,
    /// SID.
    pub sid: Option<&'a str>,
    /// TIMEOUT.
    pub timeout: Option<&'a str>,
}

/// What a SUBSCRIBE asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscribeRequest {
    /// A new subscription.
    New {
        /// Where to send events, in the order of trying; at least one.
        callbacks: Vec<Callback>,
        /// For how many seconds; `None` leaves it to the gateway.
        seconds: Option<u32>,
    },
    /// More time for one that there is.
    Renew {
        /// Which.
        sid: Uuid,
        /// For how many seconds; `None` leaves it to the gateway.
        seconds: Option<u32>,
    },
}

/// What a subscriber is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The name of the subscription.
    pub sid: Uuid,
    /// How long it lasts.
    pub seconds: u32,
}

/// Why there is no subscription (UPnP Device Architecture 1.1, tables 4-4 to 4-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// SID beside NT or CALLBACK.
    #[error("SID and NT or CALLBACK exclude each other")]
    Incompatible,
    /// CALLBACK is missing or has no URL by which events may be sent.
    #[error("CALLBACK has no URL of a host of this LAN by which events may be sent")]
    BadCallback,
    /// NT is missing or is not `upnp:event`.
    #[error("NT is not upnp:event")]
    BadNt,
    /// SID is missing or names no subscription.
    #[error("SID names no subscription to this service")]
    BadSid,
    /// There are too many.
    #[error("there are too many subscriptions")]
    Full,
}

impl EventError {
    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::Incompatible => 400,
            Self::BadCallback | Self::BadNt | Self::BadSid => 412,
            Self::Full => 503,
        }
    }
}

/// Reads the headers of a SUBSCRIBE.
///
/// # Errors
/// [`EventError`].
pub fn subscribe(headers: &EventHeaders<'_>) -> Result<SubscribeRequest, EventError> {
    let seconds = headers.timeout.and_then(seconds);
    if headers.sid.is_some() {
        return Ok(SubscribeRequest::Renew { sid: unsubscribe(headers)?, seconds });
    }
    // Which of the two is missing first is told by the standard's order: table 4-4.
    let callback = headers.callback.ok_or(EventError::BadCallback)?;
    if headers.nt.map(str::trim) != Some("upnp:event") {
        return Err(EventError::BadNt);
    }
    let callbacks = callbacks(callback);
    if callbacks.is_empty() {
        return Err(EventError::BadCallback);
    }
    Ok(SubscribeRequest::New { callbacks, seconds })
}

/// Reads the headers of an UNSUBSCRIBE.
///
/// # Errors
/// [`EventError`].
pub fn unsubscribe(headers: &EventHeaders<'_>) -> Result<Uuid, EventError> {
    let sid = headers.sid.ok_or(EventError::BadSid)?;
    if headers.nt.is_some() || headers.callback.is_some() {
        return Err(EventError::Incompatible);
    }
    read_sid(sid).ok_or(EventError::BadSid)
}

/// `uuid:` and a UUID as [`write_sid`] writes it, in any case.
fn read_sid(text: &str) -> Option<Uuid> {
    let (scheme, uuid) = text.trim().split_once(':')?;
    let hyphenated = uuid.len() == 36;
    (hyphenated && scheme.eq_ignore_ascii_case("uuid"))
        .then(|| Uuid::try_parse(uuid).ok())
        .flatten()
}

/// The value of SID.
pub fn write_sid(sid: Uuid) -> String {
    format!("uuid:{sid}")
}

/// `Second-1800`. `infinite`, which the Device Architecture 1.1 has abolished, and what cannot be read
/// leave the choice to the gateway; a number that is too large for us is merely large.
fn seconds(text: &str) -> Option<u32> {
    let (unit, number) = text.trim().split_once('-')?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let known = unit.eq_ignore_ascii_case("second") && digits;
    known.then(|| number.parse().unwrap_or(u32::MAX))
}
