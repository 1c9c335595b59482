//! The audit's files: who writes them, when a new one begins, and when an old one goes.
//!
//! Decides that nobody waits for it: what happened is handed to a thread, in order. What was handed over is
//! written before the process ends in order, and after a crash the chain goes on behind the last whole line.
//! Should the disk not keep up, what does not fit is counted, and the count is written instead.
//!
//! The file in use has the name that was chosen; one that is full is put beside it as `NAME-FIRST.EXTENSION`,
//! FIRST being the number of its first line, and the next file goes on where it ended. Processes beside each
//! other write one chain.

mod read;

pub use read::{Page, Query, Stats, files, verify};

use super::files::{Lines, News};
use crate::guard::audit::{Entry, Event, Head, Line, Verifier};
use crate::guard::finding::Severity;
use crate::ledger::log::Clock;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Entries that may wait to be written.
const WAITING: usize = 65_536;

/// Entries that are written at once.
const BATCH: usize = 1_024;

/// How often it is looked whether an old file is to go.
const LOOK: Duration = Duration::from_secs(3600);

/// How long the thread sleeps when there is nothing to do.
const IDLE: Duration = Duration::from_secs(1);

/// Where the audit is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFiles {
    /// The file in use.
    pub path: PathBuf,
    /// The size at which a new one begins, in bytes.
    pub size: u64,
    /// How long an old one is kept after its last line.
    pub retention: Duration,
}

enum Order {
    Write(u64, Box<Entry>),
    /// Tells when everything before it was written.
    Flush(mpsc::Sender<()>),
    Close,
}

/// The audit.
pub struct Audit {
    files: Option<AuditFiles>,
    clock: Clock,
    orders: Option<SyncSender<Order>>,
    lost: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// One that writes nothing.
    pub fn off() -> Self {
        Self {
            files: None,
            clock: Clock::default(),
            orders: None,
            lost: Arc::default(),
            thread: Mutex::new(None),
        }
    }

    /// Begins to write. The newest file is verified first; that it was changed is told in the log, and the
    /// chain goes on behind it.
    ///
    /// # Errors
    /// When the files cannot be read, or the system gives no thread.
    pub fn start(files: AuditFiles, clock: Clock) -> io::Result<Self> {
        let head = read::head(&files.path)?;
        if let Some(wrong) = &head.wrong {
            tracing::error!(
                path = %wrong.path.display(),
                line = wrong.line,
                error = %wrong.error,
                "the audit was changed by somebody else"
            );
        }
        let (orders, taken) = mpsc::sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            lines: Lines::at(&files.path),
            files: files.clone(),
            clock: clock.clone(),
            head: head.head,
            lost: Arc::clone(&lost),
            complained: false,
        };
        let thread = std::thread::Builder::new()
            .name("weir-audit".to_owned())
            .spawn(move || writer.run(&taken))?;
        Ok(Self {
            files: Some(files),
            clock,
            orders: Some(orders),
            lost,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands over what happened. Never waits.
    pub fn record(&self, entry: Entry) {
        let Some(orders) = &self.orders else {
            return;
        };
        let order = Order::Write(self.clock.millis(), Box::new(entry));
        if let Err(TrySendError::Full(_)) = orders.try_send(order) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The files, if there are any.
    pub fn files(&self) -> Option<&AuditFiles> {
        self.files.as_ref()
    }

    /// Waits until what was handed over is written, but not for longer than `patience`. For threads that may
    /// wait.
    pub fn flush(&self, patience: Duration) {
        let Some(orders) = &self.orders else {
            return;
        };
        let (done, written) = mpsc::channel();
        if orders.try_send(Order::Flush(done)).is_ok() {
            let _ = written.recv_timeout(patience);
        }
    }

    /// Waits until everything is written, and ends the thread.
    pub fn close(&self) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(Order::Close);
        }
        let thread = self.thread.lock();
        let thread = thread.unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the audit has failed");
        }
    }
}

struct Writer {
    lines: Lines,
    files: AuditFiles,
    clock: Clock,
    head: Head,
    lost: Arc<AtomicU64>,
    complained: bool,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut entries = Vec::new();
        let mut looked: Option<Instant> = None;
        let mut open = true;
        while open {
            let mut flushed = Vec::new();
            let mut take = |order| match order {
                Order::Write(at, entry) => entries.push((at, entry)),
                Order::Flush(done) => flushed.push(done),
                Order::Close => open = false,
            };
            match orders.recv_timeout(IDLE) {
                Ok(order) => {
                    take(order);
                    orders.try_iter().take(BATCH).for_each(take);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => open = false,
            }
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let entry = Entry::new(Event::Audit, Severity::Critical, "lost");
                let entry = entry.with("lost", lost);
                entries.push((self.clock.millis(), Box::new(entry)));
            }
            if !entries.is_empty() {
                match self.write(&entries) {
                    Ok(()) => {
                        entries.clear();
                        self.complained = false;
                    }
                    Err(error) => self.failed(&error, &mut entries),
                }
            }
            for done in flushed {
                let _ = done.send(());
            }
            if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                let oldest = self.clock.millis();
                let keep = u64::try_from(self.files.retention.as_millis()).unwrap_or(u64::MAX);
                read::forget(&self.files.path, oldest.saturating_sub(keep));
            }
        }
    }

    /// They are tried again, as long as there are not too many.
    fn failed(&mut self, error: &io::Error, entries: &mut Vec<(u64, Box<Entry>)>) {
        if !self.complained {
            self.complained = true;
            let path = self.files.path.display();
            tracing::error!(%error, %path, "the audit cannot be written");
        }
        let more = entries.len().saturating_sub(WAITING);
        if more > 0 {
            entries.truncate(WAITING);
            let more = u64::try_from(more).unwrap_or(u64::MAX);
            self.lost.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn write(&mut self, entries: &[(u64, Box<Entry>)]) -> io::Result<()> {
        let mut head = self.head;
        let path = self.files.path.clone();
        let size = self.lines.append(|news| {
            // What other processes have written comes before it; if it is not in this file, in the one before.
            let last = match &news {
                Some(news) => last_of(news),
                None => read::head(&path).ok().map(|newest| newest.head),
            };
            head = last.filter(|last| last.seq > head.seq).unwrap_or(head);
            let lines = entries
                .iter()
                .map(|(at, entry)| head.write(entry, *at) + "\n");
            lines.collect()
        })?;
        self.head = head;
        if size >= self.files.size
            && let Err(error) = self.rotate()
        {
            // The lines are written; it is tried again after the next ones.
            tracing::warn!(%error, "the file of the audit was not put aside");
        }
        Ok(())
    }

    /// Puts the full file aside, by the number of its first line.
    fn rotate(&mut self) -> io::Result<()> {
        let Some(first) = read::first(&self.files.path)? else {
            return Ok(());
        };
        self.lines.put_away(&numbered(&self.files.path, first))
    }
}

/// Where the chain is after some lines. One that does not read is passed over: verifying shows it.
fn last_of(news: &News) -> Option<Head> {
    let mut lines = news.lines.iter().rev();
    lines
        .find_map(|line| Line::read(line).ok())
        .map(|line| line.head)
}

/// The name of a file that was put aside.
fn numbered(path: &Path, first: u64) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy());
    let extension = extension.map_or_else(String::new, |extension| format!(".{extension}"));
    path.with_file_name(format!("{stem}-{first:012}{extension}"))
}

/// What verifying a chain of files has shown.
#[derive(Debug)]
pub struct Verified {
    /// The chain as far as it was read.
    pub verifier: Verifier,
    /// Bytes of a line at the very end that a crash has cut.
    pub cut: u64,
    /// What is wrong.
    pub wrong: Option<Wrong>,
}

/// A line that breaks the chain.
#[derive(Debug)]
pub struct Wrong {
    /// Its file.
    pub path: PathBuf,
    /// Its number in the file, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub error: crate::guard::audit::Broken,
}

#[cfg(test)]
mod tests;
