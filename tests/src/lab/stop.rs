//! Telling a thread that waits for packets to stop.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

/// The end that the thread holds.
#[derive(Debug)]
pub(crate) struct StopSignal(UnixStream);

impl StopSignal {
    /// Waits until `source` has something to read: true. Once told to stop, looks at `source` without
    /// waiting, so that what had arrived by then is still read.
    pub(crate) fn wait_readable(&self, source: &impl AsFd) -> bool {
        let mut wanted = [
            PollFd::new(source.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.0.as_fd(), PollFlags::POLLIN),
        ];
        loop {
            match poll(&mut wanted, PollTimeout::NONE) {
                Ok(_) => {
                    return wanted.first().is_some_and(|first| first.any() == Some(true));
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }
}

/// A thread that is told to stop, and waited for, on drop.
#[derive(Debug)]
pub(crate) struct StoppableThread {
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl StoppableThread {
    /// Starts `body`, which returns once [`StopSignal::wait_readable`] says false.
    pub(crate) fn spawn(body: impl FnOnce(StopSignal) + Send + 'static) -> std::io::Result<Self> {
        let (stop, told) = UnixStream::pair()?;
        let thread = std::thread::spawn(move || body(StopSignal(told)));
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops the thread and waits until it has ended.
    pub(crate) fn stop(&mut self) {
        // A thread that has ended by itself needs no telling.
        let _ = self.stop.write_all(&[0]);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for StoppableThread {
    fn drop(&mut self) {
        self.stop();
    }
}
