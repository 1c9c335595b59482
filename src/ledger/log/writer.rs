//! Appending: group commit, syncs, rotation, and what a failure means.
//!
//! A record gets its number, its link and its checksum when it is appended to a buffer, under a short
//! lock. Whoever needs a record to be with the operating system, and finds it is not yet, writes the
//! whole buffer with one write: one caller leads, the others find their bytes written. Syncs to the
//! disk are made by [`Log::sync`], which a thread of [`super::super::Book`] calls.
//!
//! A write or a sync that fails is never tried again: what the file holds then is unknown, and a later
//! success would hide a hole. The log is poisoned instead and takes no more records.

use super::line::{Link, NO_LINK, link};
use super::record::natural;
use super::segment::{self, Claim, Family};
use super::{LogError, LogOptions};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use tokio::sync::watch;

/// An open log.
#[derive(Debug)]
pub(in crate::ledger) struct Log {
    family: Family,
    chain: Arc<str>,
    segment_size: u64,
    tail: Mutex<Tail>,
    writer: Mutex<Writer>,
    /// Held around a sync, so that what is announced as synced only grows.
    syncing: Mutex<()>,
    /// The last record that is with the operating system.
    written: AtomicU64,
    /// The last record that is on the disk. Changes when the log is poisoned, too.
    synced: watch::Sender<u64>,
    poisoned: AtomicBool,
    /// Whether something is written that is not synced.
    dirty: AtomicBool,
    bytes: AtomicU64,
    /// Woken when there is something to sync.
    syncer: OnceLock<Thread>,
    /// Keeps the log's own path ours while the process lives.
    _guard: Option<File>,
}

#[derive(Debug)]
struct Tail {
    buffer: Vec<u8>,
    seq: u64,
    prev: Link,
}

#[derive(Debug)]
struct Writer {
    file: Arc<File>,
    path: PathBuf,
    /// The other buffer, empty while nobody writes.
    spare: Vec<u8>,
    /// Bytes in the active segment.
    size: u64,
    /// First record of the active segment.
    first: u64,
    /// Rotated segments that are not synced yet.
    retired: Vec<Arc<File>>,
}

/// No more records can be taken.
#[derive(Clone, Copy, Debug)]
pub(in crate::ledger) struct Poisoned;

impl From<Poisoned> for LogError {
    fn from(_: Poisoned) -> Self {
        Self::Poisoned
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// A log that goes on after record `last` in the claimed segment, which holds `size` bytes and
    /// began with record `first`.
    pub(in crate::ledger) fn new(
        options: &LogOptions,
        family: Family,
        claim: Claim,
        last: Option<(u64, Link)>,
        first: u64,
        size: u64,
    ) -> Self {
        let (seq, prev) = last.unwrap_or((0, NO_LINK));
        Self {
            family,
            chain: claim.chain.into(),
            segment_size: options.segment_size,
            tail: Mutex::new(Tail {
                buffer: Vec::with_capacity(1 << 16),
                seq,
                prev,
            }),
            writer: Mutex::new(Writer {
                file: Arc::new(claim.file),
                path: claim.path,
                spare: Vec::with_capacity(1 << 16),
                size,
                first,
                retired: Vec::new(),
            }),
            syncing: Mutex::new(()),
            written: AtomicU64::new(seq),
            synced: watch::Sender::new(seq),
            poisoned: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            bytes: AtomicU64::new(size),
            syncer: OnceLock::new(),
            _guard: claim.guard,
        }
    }

    /// The name of this process's chain.
    pub(in crate::ledger) fn chain(&self) -> &Arc<str> {
        &self.chain
    }

    /// The names of the log's files.
    pub(in crate::ledger) fn family(&self) -> &Family {
        &self.family
    }

    /// Whether a write or a sync has failed.
    pub(in crate::ledger) fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Bytes written to all segments of this process.
    pub(in crate::ledger) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Names the thread that calls [`Log::sync`].
    pub(in crate::ledger) fn wake(&self, syncer: Thread) {
        self.syncer.get_or_init(|| syncer);
    }

    /// Appends a record to the buffer and says which number it got. `body` is its fields.
    pub(in crate::ledger) fn append(&self, body: &[u8]) -> Result<u64, Poisoned> {
        if self.poisoned() {
            return Err(Poisoned);
        }
        Ok(lock(&self.tail).push(body))
    }

    /// Sees to it that record `seq` is with the operating system.
    pub(in crate::ledger) fn write(&self, seq: u64) -> Result<(), Poisoned> {
        if self.written.load(Ordering::Acquire) < seq {
            let mut writer = lock(&self.writer);
            if self.written.load(Ordering::Acquire) < seq {
                self.drain(&mut writer)?;
            }
        }
        if self.poisoned() {
            Err(Poisoned)
        } else {
            Ok(())
        }
    }

    /// Sees to it that everything appended is with the operating system.
    pub(in crate::ledger) fn write_all(&self) -> Result<(), Poisoned> {
        let seq = lock(&self.tail).seq;
        self.write(seq)
    }

    /// Appends and writes.
    pub(in crate::ledger) fn put(&self, body: &[u8]) -> Result<(), Poisoned> {
        self.append(body).and_then(|seq| self.write(seq))
    }

    /// Waits until record `seq` is on the disk.
    pub(in crate::ledger) async fn durable(&self, seq: u64) -> Result<(), Poisoned> {
        let mut synced = self.synced.subscribe();
        let reached = synced
            .wait_for(|synced| *synced >= seq || self.poisoned())
            .await;
        if reached.is_err() || self.poisoned() {
            Err(Poisoned)
        } else {
            Ok(())
        }
    }

    /// Whether there is something to sync.
    pub(in crate::ledger) fn dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// Whether the active segment is due for rotation.
    pub(in crate::ledger) fn full(&self) -> bool {
        !self.poisoned() && lock(&self.writer).size >= self.segment_size
    }

    /// Writes what is appended and syncs everything written to the disk.
    pub(in crate::ledger) fn sync(&self) -> Result<(), LogError> {
        let _turn = lock(&self.syncing);
        let (files, path, written) = {
            let mut writer = lock(&self.writer);
            self.drain(&mut writer)?;
            self.dirty.store(false, Ordering::Release);
            let mut files = std::mem::take(&mut writer.retired);
            files.push(Arc::clone(&writer.file));
            (
                files,
                writer.path.clone(),
                self.written.load(Ordering::Acquire),
            )
        };
        for file in files {
            if let Err(source) = file.sync_data() {
                self.poison(&source);
                return Err(LogError::Io { path, source });
            }
        }
        self.synced.send_replace(written);
        Ok(())
    }

    /// Ends the active segment with `footer` and begins a new one with `header`, both bodies of
    /// records. The caller sees to it that nothing is appended meanwhile.
    pub(in crate::ledger) fn rotate(&self, footer: &[u8], header: &[u8]) -> Result<(), LogError> {
        if self.poisoned() {
            return Err(LogError::Poisoned);
        }
        let mut writer = lock(&self.writer);
        let footer = lock(&self.tail).push(footer);
        self.drain(&mut writer)?;
        let rotated = self.family.rotated(&self.chain, writer.first);
        let begun = std::fs::rename(&writer.path, &rotated)
            .map_err(LogError::io(&rotated))
            .and_then(|()| segment::create(&writer.path));
        match begun {
            Ok(file) => {
                let old = std::mem::replace(&mut writer.file, Arc::new(file));
                writer.retired.push(old);
                writer.size = 0;
                writer.first = footer + 1;
                lock(&self.tail).push(header);
                self.drain(&mut writer)?;
                // The new name reaches the disk with its directory; losing it costs nothing that the
                // rotated segment does not hold.
                if let Ok(directory) = File::open(self.family.directory()) {
                    let _ = directory.sync_all();
                }
                Ok(())
            }
            Err(error) => {
                self.poison(&error);
                Err(error)
            }
        }
    }

    /// Writes the buffer in one go. The caller holds the writer.
    fn drain(&self, writer: &mut Writer) -> Result<(), Poisoned> {
        if self.poisoned() {
            return Err(Poisoned);
        }
        let seq = {
            let mut tail = lock(&self.tail);
            std::mem::swap(&mut tail.buffer, &mut writer.spare);
            tail.seq
        };
        if writer.spare.is_empty() {
            return Ok(());
        }
        let outcome = loop {
            match (&*writer.file).write(&writer.spare) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(count) if count < writer.spare.len() => break Err(ErrorKind::WriteZero.into()),
                outcome => break outcome,
            }
        };
        let length = u64::try_from(writer.spare.len()).unwrap_or(u64::MAX);
        writer.spare.clear();
        if let Err(error) = outcome {
            self.poison(&error);
            return Err(Poisoned);
        }
        writer.size += length;
        self.bytes.fetch_add(length, Ordering::Relaxed);
        self.written.store(seq, Ordering::Release);
        if !self.dirty.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.syncer.get()
        {
            thread.unpark();
        }
        Ok(())
    }

    fn poison(&self, error: &dyn std::fmt::Display) {
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, "the spend log failed; hard budgets are refused from now on");
        }
        self.synced.send_modify(|_| {});
    }

    /// Makes every later write fail, as a full disk does.
    #[cfg(test)]
    pub(in crate::ledger) fn fill_disk(&self) {
        let full = std::fs::OpenOptions::new()
            .append(true)
            .open("/dev/full")
            .unwrap();
        lock(&self.writer).file = Arc::new(full);
    }
}

impl Tail {
    fn push(&mut self, body: &[u8]) -> u64 {
        self.seq += 1;
        let start = self.buffer.len();
        self.buffer.extend_from_slice(b"{\"seq\":");
        natural(&mut self.buffer, self.seq);
        self.buffer.extend_from_slice(b",\"prev\":\"");
        self.buffer.extend_from_slice(&self.prev);
        self.buffer.extend_from_slice(b"\",");
        self.buffer.extend_from_slice(body);
        let crc = crc32fast::hash(&self.buffer[start..]);
        self.buffer.extend_from_slice(b",\"crc\":\"");
        for shift in (0..8).rev() {
            let digit = (crc >> (shift * 4)) & 15;
            self.buffer
                .push(b"0123456789abcdef"[usize::try_from(digit).unwrap_or(0)]);
        }
        self.buffer.extend_from_slice(b"\"}");
        self.prev = link(&self.buffer[start..]);
        self.buffer.push(b'\n');
        self.seq
    }
}
