//! The connection to the provider: WANIPConnection's state machine (figure 2-5 of the standard), with
//! all six states.
//!
//! Pure: it is told the time, what the WAN link is like and how the operator's commands end. Whether
//! packets may transit follows from the state ([`Connection::transits`]); commands to run are taken by
//! [`Connection::take_errand`].
//!
//! The connection is "always on": as long as nobody has ended it, it is there whenever the link is.

#[cfg(test)]
mod tests;

use super::error::ErrorCode;
use nat_common::BootTime;

/// ConnectionStatus (table 2-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's own")]
pub enum Status {
    Unconfigured,
    Connecting,
    Connected,
    PendingDisconnect,
    Disconnecting,
    Disconnected,
}

impl Status {
    /// As messages say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unconfigured => "Unconfigured",
            Self::Connecting => "Connecting",
            Self::Connected => "Connected",
            Self::PendingDisconnect => "PendingDisconnect",
            Self::Disconnecting => "Disconnecting",
            Self::Disconnected => "Disconnected",
        }
    }
}

/// LastConnectionError (table 2-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's own")]
pub enum LastError {
    None,
    CommandAborted,
    NotEnabledForInternet,
    UserDisconnect,
    IspDisconnect,
    IdleDisconnect,
    ForcedDisconnect,
    NoCarrier,
    IpConfiguration,
    Unknown,
}

impl LastError {
    /// As messages say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "ERROR_NONE",
            Self::CommandAborted => "ERROR_COMMAND_ABORTED",
            Self::NotEnabledForInternet => "ERROR_NOT_ENABLED_FOR_INTERNET",
            Self::UserDisconnect => "ERROR_USER_DISCONNECT",
            Self::IspDisconnect => "ERROR_ISP_DISCONNECT",
            Self::IdleDisconnect => "ERROR_IDLE_DISCONNECT",
            Self::ForcedDisconnect => "ERROR_FORCED_DISCONNECT",
            Self::NoCarrier => "ERROR_NO_CARRIER",
            Self::IpConfiguration => "ERROR_IP_CONFIGURATION",
            Self::Unknown => "ERROR_UNKNOWN",
        }
    }
}

/// The WAN link, as the kernel has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WanLink {
    /// There is such an interface.
    pub present: bool,
    /// It is up, with a carrier.
    pub carrier: bool,
    /// It has an external address.
    pub addressed: bool,
    /// A route leads out of it.
    pub routed: bool,
}

impl WanLink {
    /// One that carries packets.
    pub const READY: Self = Self { present: true, carrier: true, addressed: true, routed: true };

    const fn is_ready(self) -> bool {
        self.present && self.carrier && self.addressed && self.routed
    }
}

/// What the connection is told at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// There is a command that brings the link up.
    pub has_up: bool,
    /// There is one that takes it down.
    pub has_down: bool,
    /// Seconds after which a setup that has come to nothing has failed.
    pub setup_time: u32,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self { has_up: false, has_down: false, setup_time: 60 }
    }
}

/// What is to be done about the link by the operator's commands. A new one replaces what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Bring it up.
    Up,
    /// Take it down.
    Down,
    /// Nothing any more.
    Stop,
}

/// The connection.
#[derive(Clone, Debug)]
pub struct Connection {
    config: ConnectionConfig,
    status: Status,
    last_error: LastError,
    link: WanLink,
    /// EnabledForInternet of WANCommonInterfaceConfig.
    enabled: bool,
    /// Nobody has ended it.
    wanted: bool,
    auto_disconnect: u32,
    idle_disconnect: u32,
    warn_delay: u32,
    /// When it was established.
    since: BootTime,
    /// From when AutoDisconnectTime counts.
    auto_from: BootTime,
    /// When the present state ends by itself: a setup that fails, a warning that is over.
    until: BootTime,
    /// What is said when the warning is over.
    reason: LastError,
    activity: Activity,
    errand: Option<Errand>,
}

/// When packets were last seen.
#[derive(Clone, Copy, Debug, Default)]
struct Activity {
    packets: u64,
    seen: BootTime,
    /// When the count is to be read again.
    next: BootTime,
}

/// The idle time is told to within this part of it.
const SAMPLES: u64 = 16;

impl Connection {
    /// A connection over a link that is not known yet.
    pub fn new(config: ConnectionConfig) -> Self {
        Self {
            config,
            status: Status::Unconfigured,
            last_error: LastError::None,
            link: WanLink::default(),
            enabled: true,
            wanted: true,
            auto_disconnect: 0,
            idle_disconnect: 0,
            warn_delay: 0,
            since: BootTime(0),
            auto_from: BootTime(0),
            until: BootTime::NEVER,
            reason: LastError::None,
            activity: Activity::default(),
            errand: None,
        }
    }

    /// ConnectionStatus.
    pub fn status(&self) -> Status {
        self.status
    }

    /// LastConnectionError.
    pub fn last_error(&self) -> LastError {
        self.last_error
    }

    /// The WAN link, as it was seen last.
    pub fn link(&self) -> WanLink {
        self.link
    }

    /// Whether packets may transit the gateway.
    pub fn transits(&self) -> bool {
        matches!(self.status, Status::Connected | Status::PendingDisconnect)
    }

    /// Uptime, seconds; 0 while there is no connection (section 2.4.6).
    pub fn uptime(&self, now: BootTime) -> u32 {
        match self.since() {
            Some(since) => u32::try_from(now.nanos_from(since) / 1_000_000_000).unwrap_or(u32::MAX),
            None => 0,
        }
    }

    /// Since when there has been a connection.
    pub fn since(&self) -> Option<BootTime> {
        self.transits().then_some(self.since)
    }

    /// EnabledForInternet.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// AutoDisconnectTime, IdleDisconnectTime and WarnDisconnectDelay.
    pub fn times(&self) -> (u32, u32, u32) {
        (self.auto_disconnect, self.idle_disconnect, self.warn_delay)
    }

    /// The command to run now, once.
    pub fn take_errand(&mut self) -> Option<Errand> {
        self.errand.take()
    }

    /// RequestConnection (section 2.5.3).
    ///
    /// # Errors
    /// 704 to 707 and 709.
    pub fn request(&mut self, now: BootTime) -> Result<(), ErrorCode> {
        match self.status {
            Status::Unconfigured => return Err(ErrorCode::ConnectionNotConfigured),
            _ if !self.enabled => {
                self.last_error = LastError::NotEnabledForInternet;
                return Err(ErrorCode::InternetAccessDisabled);
            }
            Status::Connecting => return Err(ErrorCode::ConnectionSetupInProgress),
            Status::Disconnecting => return Err(ErrorCode::DisconnectInProgress),
            Status::Connected => {}
            Status::PendingDisconnect => {
                self.status = Status::Connected;
                self.until = BootTime::NEVER;
                self.activity.seen = now;
                self.wanted = true;
                // AutoDisconnectTime has run out, or it has not: it begins anew.
                self.auto_from = now;
            }
            Status::Disconnected => {
                self.wanted = true;
                if !self.link.carrier && !self.config.has_up {
                    self.last_error = LastError::NoCarrier;
                    return Err(ErrorCode::ConnectionSetupFailed);
                }
                self.set_up(now);
            }
        }
        Ok(())
    }

    /// RequestTermination (section 2.5.4).
    ///
    /// # Errors
    /// 706, 707 and 711.
    pub fn terminate(&mut self, now: BootTime) -> Result<(), ErrorCode> {
        match self.status {
            Status::PendingDisconnect => Err(ErrorCode::DisconnectInProgress),
            Status::Connected => {
                self.wanted = false;
                self.warn(now, LastError::UserDisconnect);
                Ok(())
            }
            _ => self.force(now),
        }
    }

    /// ForceTermination (section 2.5.5).
    ///
    /// # Errors
    /// 706, 707 and 711.
    pub fn force(&mut self, now: BootTime) -> Result<(), ErrorCode> {
        let reason = match self.status {
            Status::Unconfigured => return Err(ErrorCode::ConnectionNotConfigured),
            Status::Disconnecting => return Err(ErrorCode::DisconnectInProgress),
            Status::Disconnected => return Err(ErrorCode::ConnectionAlreadyTerminated),
            Status::Connecting => LastError::CommandAborted,
            Status::Connected | Status::PendingDisconnect => LastError::ForcedDisconnect,
        };
        self.wanted = false;
        self.take_down(now, reason);
        Ok(())
    }

    /// EnabledForInternet is set. Without it the connection ends at once; with it again, it is what it
    /// was.
    pub fn enable(&mut self, now: BootTime, enabled: bool) {
        self.enabled = enabled;
        if enabled {
            self.link_is(now, self.link);
            // The operator's command has taken the link down.
            if self.status == Status::Disconnected && self.wanted && self.config.has_up {
                self.set_up(now);
            }
        } else if !matches!(
            self.status,
            Status::Unconfigured | Status::Disconnecting | Status::Disconnected
        ) {
            self.take_down(now, LastError::NotEnabledForInternet);
        }
    }

    /// AutoDisconnectTime is set; 0 is never.
    pub fn set_auto_disconnect(&mut self, seconds: u32) {
        self.auto_disconnect = seconds;
    }

    /// IdleDisconnectTime is set; 0 is never. The time begins now, since nobody has looked before.
    pub fn set_idle_disconnect(&mut self, now: BootTime, seconds: u32) {
        self.idle_disconnect = seconds;
        self.activity.seen = now;
        self.activity.next = now;
    }

    /// WarnDisconnectDelay is set; for the next warning.
    pub fn set_warn_delay(&mut self, seconds: u32) {
        self.warn_delay = seconds;
    }

    /// The link is such now.
    pub fn link_is(&mut self, now: BootTime, link: WanLink) {
        self.link = link;
        if !link.present {
            if self.status != Status::Unconfigured {
                self.errand = Some(Errand::Stop);
                self.settle(Status::Unconfigured);
                self.last_error = LastError::IpConfiguration;
            }
            return;
        }
        match self.status {
            Status::Unconfigured | Status::Disconnected => {
                self.status = Status::Disconnected;
                if self.wanted && self.enabled && link.is_ready() {
                    self.establish(now);
                }
            }
            Status::Connecting if link.is_ready() => self.establish(now),
            Status::Connected | Status::PendingDisconnect if !link.is_ready() => {
                // It is down already: nothing to warn of, and no command to run.
                self.settle(Status::Disconnected);
                self.last_error =
                    if link.carrier { LastError::IspDisconnect } else { LastError::NoCarrier };
            }
            _ => {}
        }
    }

    /// A command has ended, well or not.
    pub fn errand_ended(&mut self, errand: Errand, well: bool) {
        match (self.status, errand) {
            (Status::Connecting, Errand::Up) if !well && !self.link.is_ready() => {
                self.settle(Status::Disconnected);
                self.last_error = LastError::Unknown;
            }
            (Status::Disconnecting, Errand::Down) => self.settle(Status::Disconnected),
            _ => {}
        }
    }

    /// Whether the number of packets is to be read before [`Self::pass`].
    pub fn counts(&self, now: BootTime) -> bool {
        self.status == Status::Connected && self.idle_disconnect > 0 && self.activity.next <= now
    }

    /// So many packets have been translated.
    pub fn packets_are(&mut self, now: BootTime, packets: u64) {
        if self.activity.packets != packets {
            self.activity.packets = packets;
            self.activity.seen = now;
        }
        let idle = u64::from(self.idle_disconnect) * 1_000_000_000;
        let end = self.activity.seen.plus_nanos(idle);
        self.activity.next = now.plus_nanos((idle / SAMPLES).max(1_000_000_000)).min(end.max(now));
    }

    /// Time passes.
    pub fn pass(&mut self, now: BootTime) {
        match self.status {
            Status::Connecting if self.until <= now => {
                self.last_error = match self.link.carrier {
                    true => LastError::IpConfiguration,
                    false => LastError::NoCarrier,
                };
                self.errand = Some(Errand::Stop);
                self.settle(Status::Disconnected);
            }
            Status::Connected if self.auto_is_over(now) => {
                self.wanted = false;
                self.warn(now, LastError::UserDisconnect);
            }
            Status::Connected if self.idle_is_over(now) => {
                self.wanted = false;
                self.warn(now, LastError::IdleDisconnect);
            }
            Status::PendingDisconnect if self.until <= now => self.take_down(now, self.reason),
            // Its command hangs.
            Status::Disconnecting if self.until <= now => self.settle(Status::Disconnected),
            _ => {}
        }
    }

    /// When [`Self::pass`] has something to do next.
    pub fn next_moment(&self) -> Option<BootTime> {
        let mut next = self.until;
        if self.status == Status::Connected {
            if self.auto_disconnect > 0 {
                next = next.min(self.auto_from.plus_secs(self.auto_disconnect.into()));
            }
            if self.idle_disconnect > 0 {
                next = next.min(self.activity.next);
            }
        }
        (next != BootTime::NEVER).then_some(next)
    }

    fn auto_is_over(&self, now: BootTime) -> bool {
        self.auto_disconnect > 0 && self.auto_from.plus_secs(self.auto_disconnect.into()) <= now
    }

    fn idle_is_over(&self, now: BootTime) -> bool {
        let end = self.activity.seen.plus_secs(self.idle_disconnect.into());
        self.idle_disconnect > 0 && end <= now
    }

    fn set_up(&mut self, now: BootTime) {
        self.status = Status::Connecting;
        self.until = now.plus_secs(self.config.setup_time.into());
        if self.config.has_up {
            self.errand = Some(Errand::Up);
        } else if self.link.is_ready() {
            self.establish(now);
        }
    }

    fn establish(&mut self, now: BootTime) {
        self.settle(Status::Connected);
        self.last_error = LastError::None;
        self.since = now;
        self.auto_from = now;
        self.activity.seen = now;
        self.activity.next = now;
    }

    /// Ends the connection after the warning, if there is to be one.
    fn warn(&mut self, now: BootTime, reason: LastError) {
        if self.warn_delay == 0 {
            self.take_down(now, reason);
        } else {
            self.status = Status::PendingDisconnect;
            self.until = now.plus_secs(self.warn_delay.into());
            self.reason = reason;
        }
    }

    /// Ends the connection: no packet transits from here on.
    fn take_down(&mut self, now: BootTime, reason: LastError) {
        self.last_error = reason;
        if self.config.has_down {
            self.status = Status::Disconnecting;
            self.until = now.plus_secs(self.config.setup_time.into());
            self.errand = Some(Errand::Down);
        } else {
            if self.status == Status::Connecting && self.config.has_up {
                self.errand = Some(Errand::Stop);
            }
            self.settle(Status::Disconnected);
        }
    }

    /// A state that lasts.
    fn settle(&mut self, status: Status) {
        self.status = status;
        self.until = BootTime::NEVER;
    }
}
