//! GENA: the messages of eventing (UPnP Device Architecture 1.1, section 4).

mod callback;
mod notify;
mod request;

#[cfg(test)]
mod tests;

pub use callback::{Callback, MAX_CALLBACKS, callbacks};
pub use notify::{Answer, answer, notification, property_set};
pub use request::{
    EventError, EventHeaders, Granted, SubscribeRequest, subscribe, unsubscribe, write_sid,
};
