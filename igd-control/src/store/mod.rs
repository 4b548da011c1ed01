//! Port mappings beyond the life of the process.
//!
//! Every change of the table is appended to a `journal` before its request is answered, which
//! survives the end of the process at any moment. About a second later a `snapshot` takes it in by a
//! durable commit, which survives a power cut too. Two threads do the writing: one appends, which is
//! quick, and one commits, which waits for the disk. Requests wait for the first one only, and not for
//! long.
//!
//! Nothing that goes wrong here stops the gateway. While the store fails, changes are not kept; it is
//! tried again every half minute, and what it missed is made good by the whole table.
//!
//! What is pinned in the kernel knows better than the store what is in force: the packet path is
//! changed first, and the store afterwards. So after a restart the store tells only the words and the
//! order of what is found there ([`crate::igd::Gateway::take_over`]). Where nothing is found, after a
//! reboot or without pins, it tells everything.

mod error;
mod journal;
mod load;
mod moment;
mod record;
mod snapshot;
mod writer;

#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use moment::Moment;

use crate::mapping::{Change, Remembered};
use nat_common::BootTime;
use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// Changes that may wait to be written. More, and the store falls behind and wants the whole table.
const MOST_WAITING: usize = 200_000;

/// How long an answer waits for its change to be written, when the disk does not take it.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Reads both clocks.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// This machine's clocks.
pub fn clock(boot_time: fn() -> BootTime) -> Clock {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let boot_id = boot_id.trim().to_owned();
    Arc::new(move || Moment {
        boot_id: boot_id.clone(),
        boot: boot_time().0,
        wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    })
}

/// The store, while it is written.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// What the table and the threads share.
struct Shared {
    queue: Mutex<Queue>,
    /// Something is in the queue.
    filled: Condvar,
    /// Up to which submission everything is written, or given up.
    written: watch::Sender<u64>,
    /// The whole table is wanted.
    wanted: Notify,
    /// Why nothing can be kept at the moment.
    failure: Mutex<Option<String>>,
    figures: Figures,
}

/// What waits for the writing thread.
#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    /// How many changes are among them.
    changes: usize,
    /// The number of the last submission.
    submitted: u64,
    closing: bool,
}

/// What the writing thread is told.
enum Message {
    Changes(u64, Vec<Change>),
    /// More came than can wait: changes are lost.
    Overflow,
    Everything(u64, Vec<Remembered>),
    /// What came of a commit.
    Folded(Result<(), StoreError>),
}

/// What the store has done.
#[derive(Debug, Default)]
pub struct Figures {
    /// Changes appended to the journal.
    pub changes: AtomicU64,
    /// Durable commits.
    pub commits: AtomicU64,
    /// Things that went wrong.
    pub errors: AtomicU64,
    /// Answers that did not wait for their change any longer.
    pub unwaited: AtomicU64,
}

impl Store {
    /// Reads what a directory holds, and begins to write there. Until it is given the whole table for
    /// the first time ([`Self::replace`]) nothing is written. An error tells what could not be read; the
    /// store is there all the same.
    pub fn open(directory: &Path, clock: Clock) -> (Self, Vec<Remembered>, Option<StoreError>) {
        let loaded = load::load(directory, &clock());
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            written: watch::Sender::new(0),
            wanted: Notify::new(),
            failure: Mutex::default(),
            figures: Figures::default(),
        });
        if let Some(error) = &loaded.error {
            shared.failed(error);
        }
        let writer = writer::Writer::new(Arc::clone(&shared), directory, clock, loaded.journal);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(loaded.snapshot))
            .inspect_err(|error| {
                shared.failed(&StoreError::Thread(error.to_string()));
                shared.lock().closing = true;
            });
        let thread = Arc::new(Mutex::new(thread.ok()));
        (Self { shared, thread }, loaded.mappings, loaded.error)
    }

    /// Has changes written, in the order of the calls. Does not wait.
    pub fn submit(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let mut queue = self.shared.lock();
        queue.submitted += 1;
        if queue.closing {
            let submitted = queue.submitted;
            drop(queue);
            self.shared.is_written(submitted);
            return;
        }
        let number = queue.submitted;
        queue.changes += changes.len();
        if queue.changes > MOST_WAITING {
            queue.messages.retain(|message| !matches!(message, Message::Changes(..)));
            queue.messages.push_back(Message::Overflow);
            queue.changes = 0;
        } else {
            queue.messages.push_back(Message::Changes(number, changes));
        }
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// Waits until everything that was submitted is written, and will survive the end of the process;
    /// for a second at most.
    pub async fn settle(&self) {
        let submitted = self.shared.lock().submitted;
        let mut written = self.shared.written.subscribe();
        if timeout(LONGEST_WAIT, written.wait_for(|written| *written >= submitted)).await.is_err() {
            self.shared.figures.unwaited.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns when the store wants the whole table: what it has is not what there is.
    pub async fn wanted(&self) {
        self.shared.wanted.notified().await;
    }

    /// Has the whole table written, in the place of what there is. Changes that are submitted
    /// afterwards are changes to it.
    pub fn replace(&self, all: Vec<Remembered>) {
        let mut queue = self.shared.lock();
        queue.submitted += 1;
        let number = queue.submitted;
        // It holds them already.
        queue
            .messages
            .retain(|message| !matches!(message, Message::Changes(..) | Message::Overflow));
        queue.changes = 0;
        queue.messages.push_back(Message::Everything(number, all));
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// Why nothing can be kept at the moment; `None` when all is well.
    pub fn failure(&self) -> Option<String> {
        lock(&self.shared.failure).clone()
    }

    /// What it has done.
    pub fn figures(&self) -> &Figures {
        &self.shared.figures
    }

    /// Writes what waits, as durably as can be, and ends. Blocks.
    pub fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.filled.notify_one();
        if let Some(thread) = lock(&self.thread).take() {
            // It has said why, if it panicked.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    fn push(&self, message: Message) {
        self.lock().messages.push_back(message);
        self.filled.notify_one();
    }

    /// What has come by a time, and whether the store is to end.
    fn wait(&self, until: Instant) -> (VecDeque<Message>, bool) {
        let mut queue = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if !queue.messages.is_empty() || queue.closing || left.is_zero() {
                queue.changes = 0;
                return (std::mem::take(&mut queue.messages), queue.closing);
            }
            let waited = self.filled.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn is_written(&self, submission: u64) {
        self.written.send_if_modified(|written| {
            let later = submission > *written;
            *written = submission.max(*written);
            later
        });
    }

    fn failed(&self, error: &StoreError) {
        self.figures.errors.fetch_add(1, Ordering::Relaxed);
        let text = error.to_string();
        let mut failure = lock(&self.failure);
        if failure.as_ref() != Some(&text) {
            tracing::error!("port mappings are not kept: {text}");
        }
        *failure = Some(text);
    }

    fn is_well(&self) {
        if lock(&self.failure).take().is_some() {
            tracing::info!("port mappings are kept again");
        }
    }
}

/// What the locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
