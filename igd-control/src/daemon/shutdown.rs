//! How every part of the daemon learns that it is to end.

use tokio::sync::watch;

/// Dropped, it tells every [`Shutdown`].
#[derive(Debug)]
pub struct Trigger(#[expect(dead_code, reason = "its drop is the signal")] watch::Sender<()>);

/// Waits for the end.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<()>);

/// A trigger and what waits for it.
pub fn shutdown() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(());
    (Trigger(sender), Shutdown(receiver))
}

impl Shutdown {
    /// Returns when the trigger is dropped, at once if it has been.
    pub async fn wait(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}
