//! What systemd is told, where there is one.

use sd_notify::NotifyState;

/// The daemon serves.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The daemon ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Without NOTIFY_SOCKET this does nothing.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("systemd could not be told: {error}");
    }
}
