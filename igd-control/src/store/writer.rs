//! The threads that write: one appends to the journal, one has snapshots taken.

use super::journal::{self, Journal};
use super::snapshot::{Fold, Snapshot};
use super::{Clock, Message, Moment, Shared, StoreError};
use crate::mapping::{Change, Remembered};
use crate::memory;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long after a change the next commit begins: what a power cut can take.
const DELAY: Duration = Duration::from_secs(1);

/// How often a commit tells the time, even when nothing has changed.
const HEARTBEAT: Duration = Duration::from_secs(600);

/// How often the wall clock is looked at.
const WATCH: Duration = Duration::from_secs(30);

/// How long after an error the store is tried again.
const PAUSE: Duration = Duration::from_secs(30);

/// A commit that is to be made.
struct Order {
    fold: Fold,
    /// The last journal that it takes in.
    journal: u64,
    now: Moment,
    /// The database, when it was opened anew.
    snapshot: Option<Snapshot>,
}

/// Appends, and gives orders for commits.
pub(super) struct Writer {
    shared: Arc<Shared>,
    directory: PathBuf,
    clock: Clock,
    /// The number of the last journal.
    number: u64,
    /// What is appended to; `None` while the store is behind, and wants the whole table.
    journal: Option<Journal>,
    /// Changes in the journal.
    pending: Vec<Change>,
    pending_since: Option<Instant>,
    /// Whether the database is open, and its lock ours: nobody else's directory is written to.
    open: bool,
    /// Whether a commit is being made.
    folding: bool,
    /// When the last commit was ordered, by the machine's clocks and by the thread's.
    anchored: Option<(Moment, Instant)>,
    /// When to ask for the table again; `None` while nothing is wrong.
    retry: Option<Instant>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, directory: &Path, clock: Clock, number: u64) -> Self {
        Self {
            shared,
            directory: directory.to_owned(),
            clock,
            number,
            journal: None,
            pending: Vec::new(),
            pending_since: None,
            open: false,
            folding: false,
            anchored: None,
            retry: None,
        }
    }

    /// Writes until the store is closed.
    pub(super) fn run(mut self, snapshot: Option<Snapshot>) {
        self.open = snapshot.is_some();
        let (orders, received) = channel();
        let (shared, directory) = (Arc::clone(&self.shared), self.directory.clone());
        let folder = thread::Builder::new()
            .name("store-commit".to_owned())
            .spawn(move || commit_all(&shared, &directory, snapshot, &received));
        if let Err(error) = &folder {
            self.fail(&StoreError::Thread(error.to_string()));
        }
        loop {
            let (messages, closing) = self.shared.wait(self.next_look());
            for message in messages {
                self.take(message, &orders);
            }
            if closing {
                break;
            }
            self.look(&orders);
        }
        if self.journal.is_some() {
            self.order(&orders);
        }
        drop(orders);
        if let Ok(folder) = folder {
            // It has said why, if it panicked.
            let _ = folder.join();
        }
        for message in self.shared.wait(Instant::now()).0 {
            match message {
                Message::Folded(result) => self.folded(result),
                // It came too late to be kept.
                Message::Changes(number, _) | Message::Everything(number, _) => {
                    self.shared.is_written(number);
                }
                Message::Overflow => {}
            }
        }
    }

    fn take(&mut self, message: Message, orders: &Sender<Order>) {
        match message {
            Message::Changes(number, changes) => {
                self.append(changes);
                self.shared.is_written(number);
            }
            Message::Overflow => {
                self.fail(&StoreError::TooSlow);
                // Nobody is to wait for what is lost.
                self.shared.is_written(self.shared.lock().submitted);
            }
            Message::Everything(number, all) => {
                self.begin(all, orders);
                self.shared.is_written(number);
            }
            Message::Folded(result) => self.folded(result),
        }
    }

    fn folded(&mut self, result: Result<(), StoreError>) {
        self.folding = false;
        match result {
            Ok(()) => {
                self.shared.figures.commits.fetch_add(1, Ordering::Relaxed);
                if self.journal.is_some() {
                    self.retry = None;
                    self.shared.is_well();
                }
                if self.pending.is_empty() {
                    self.pending = Vec::new();
                    memory::give_back();
                }
            }
            Err(error) => {
                self.open = false;
                self.fail(&error);
            }
        }
    }

    /// Begins with the whole table.
    fn begin(&mut self, all: Vec<Remembered>, orders: &Sender<Order>) {
        let snapshot = match self.open {
            true => None,
            false => match Snapshot::open_or_put_aside(&self.directory) {
                Ok((snapshot, _)) => Some(snapshot),
                Err(error) => return self.fail(&error),
            },
        };
        self.open = true;
        if self.begin_journal() {
            self.pending.clear();
            self.pending_since = None;
            self.give(orders, Fold::Everything(all), snapshot);
        } else if snapshot.is_some() {
            self.open = false;
        }
    }

    fn append(&mut self, changes: Vec<Change>) {
        let Some(journal) = &mut self.journal else { return };
        match journal.append(&changes) {
            Ok(()) => {
                self.shared.figures.changes.fetch_add(changes.len() as u64, Ordering::Relaxed);
                self.pending.extend(changes);
                self.pending_since.get_or_insert_with(Instant::now);
            }
            Err(error) => self.fail(&StoreError::file(&self.directory, error)),
        }
    }

    /// Does what is due.
    fn look(&mut self, orders: &Sender<Order>) {
        let now = Instant::now();
        if self.retry.is_some_and(|retry| retry <= now) {
            self.retry = Some(now + PAUSE);
            self.shared.wanted.notify_one();
        }
        if self.journal.is_none() || self.folding {
            return;
        }
        let changed = self.pending_since.is_some_and(|since| now >= since + DELAY);
        let moment = (self.clock)();
        let stale = self
            .anchored
            .as_ref()
            .is_none_or(|(anchor, at)| now >= *at + HEARTBEAT || moment.has_jumped_since(anchor));
        if changed || stale {
            self.order(orders);
        }
    }

    fn next_look(&self) -> Instant {
        let now = Instant::now();
        let due = self.pending_since.filter(|_| !self.folding).map(|since| since + DELAY);
        due.into_iter().chain(self.retry).fold(now + WATCH, Instant::min)
    }

    /// Ends the journal, and orders a commit of what it holds.
    fn order(&mut self, orders: &Sender<Order>) {
        if self.begin_journal() {
            let changes = std::mem::take(&mut self.pending);
            self.pending_since = None;
            self.give(orders, Fold::Changes(changes), None);
        }
    }

    /// Orders a commit that takes in all journals but the last.
    fn give(&mut self, orders: &Sender<Order>, fold: Fold, snapshot: Option<Snapshot>) {
        let now = (self.clock)();
        self.anchored = Some((now.clone(), Instant::now()));
        self.folding = true;
        if orders.send(Order { fold, journal: self.number - 1, now, snapshot }).is_err() {
            self.fail(&StoreError::Thread("it has ended".to_owned()));
        }
    }

    /// Begins another journal; tells whether that can be done.
    fn begin_journal(&mut self) -> bool {
        let number = self.number + 1;
        match Journal::begin(&self.directory, number, &(self.clock)()) {
            Ok(journal) => {
                self.number = number;
                self.journal = Some(journal);
                true
            }
            Err(error) => {
                // A part of it may be there.
                self.number = number;
                self.fail(&error);
                false
            }
        }
    }

    /// From now on the store is behind.
    fn fail(&mut self, error: &StoreError) {
        self.shared.failed(error);
        self.journal = None;
        self.pending.clear();
        self.pending_since = None;
        self.retry = Some(Instant::now() + PAUSE);
    }
}

/// Makes commits as they are ordered, until no more can come.
fn commit_all(
    shared: &Shared,
    directory: &Path,
    mut snapshot: Option<Snapshot>,
    orders: &Receiver<Order>,
) {
    while let Ok(mut order) = orders.recv() {
        snapshot = order.snapshot.take().or(snapshot);
        let result = commit(directory, &mut snapshot, &order);
        if result.is_err() {
            // After an error the database takes nothing more until it is opened again.
            snapshot = None;
        }
        shared.push(Message::Folded(result));
    }
}

fn commit(
    directory: &Path,
    snapshot: &mut Option<Snapshot>,
    order: &Order,
) -> Result<(), StoreError> {
    let Some(open) = snapshot else {
        // An order that was given before the error before it was known.
        let why = "closed by an earlier error".to_owned();
        return Err(StoreError::Busy { path: directory.to_owned(), why });
    };
    open.fold(directory, &order.fold, order.journal, &order.now)?;
    journal::remove_up_to(directory, order.journal)
}
