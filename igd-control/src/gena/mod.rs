//! Events: who is told what of the gateway's changes (UPnP Device Architecture 1.1, section 4).
//!
//! [`Publisher`] is the state machine: it holds the subscriptions and says which message is to be sent
//! when; it knows neither sockets nor clocks. [`Hub`] is what the daemon shares of it, and has the
//! messages sent, each by a task of its own, so that nobody waits for a subscriber but itself.
//! Messages are made and read in [`crate::wire::gena`].

mod delivery;
mod hub;
mod publisher;
mod subscription;

#[cfg(test)]
mod tests;

pub use hub::Hub;
pub use publisher::{Delivery, Publisher, Subscriber};

/// The values of a service's evented variables, in the order of its table.
pub type Values = Vec<(&'static str, String)>;

/// What subscribers are held to.
pub mod limits {
    use std::time::Duration;

    /// Subscriptions in all (503 above).
    pub const SUBSCRIPTIONS: usize = 512;
    /// Subscriptions of one client (503 above): two trees of three services, and some programs.
    pub const SUBSCRIPTIONS_PER_CLIENT: usize = 32;
    /// The shortest subscription, seconds (UPnP Device Architecture 1.1, 4.1.2: SHOULD be 1800 or more).
    pub const LEAST_SECONDS: u32 = 1_800;
    /// The longest one: a host that has left the LAN is forgotten after that.
    pub const MOST_SECONDS: u32 = 7_200;
    /// Ports below are no control point's: events must not be a way to speak to a host's services.
    pub const LOWEST_PORT: u16 = 1_024;
    /// Changes that wait to be told apart. Later ones join the last of them.
    pub const QUEUE: usize = 8;
    /// Messages that may follow one another at once.
    pub const BURST: u64 = 16;
    /// Between messages in the long run.
    pub const PACE: Duration = Duration::from_millis(200);
    /// From the answer to SUBSCRIBE to the first event: the answer, which says what the subscription is
    /// called, should be read before.
    pub const FIRST_EVENT: Duration = Duration::from_millis(100);
    /// How often a message is tried that surely has not arrived.
    pub const ATTEMPTS: u32 = 3;
    /// Before the second try; doubled each time, and after each message that was given up.
    pub const BACKOFF: Duration = Duration::from_secs(1);
    /// The longest of these pauses.
    pub const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
    /// How long a delivery URL may take to accept a connection.
    pub const CONNECT_TIME: Duration = Duration::from_secs(5);
    /// How long a message may take, with all its URLs and the answer (UPnP Device Architecture 1.1,
    /// 4.3.2: 30 seconds).
    pub const MESSAGE_TIME: Duration = Duration::from_secs(30);
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The subscriber has answered it, whatever it thinks of it.
    Delivered,
    /// The subscriber knows no such subscription (412).
    Unknown,
    /// It surely has not arrived: nobody accepted a connection.
    Unreached,
    /// It was sent and not answered: who knows.
    Unanswered,
}
