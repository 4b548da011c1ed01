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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_trigger_is_seen_by_all_and_by_those_who_come_late() {
        let (trigger, shutdown) = shutdown();
        let mut early = shutdown.clone();
        let waiting = tokio::spawn(async move { early.wait().await });
        drop(trigger);
        waiting.await.unwrap();
        shutdown.clone().wait().await;
    }
}
