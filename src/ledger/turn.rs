//! Whose turn it is to grant money, while several processes write one log.
//!
//! Decides that holds under hard limits are granted by one process at a time. The turn is a lock on a
//! file beside the log. Whoever grants has it, knows by then what every other process has recorded,
//! and gives it on only after its own INTENT is with the operating system: so every grant sees every
//! other, and two processes never grant the same money.
//!
//! A process that is alone keeps the turn and pays nothing for it. One that finds the turn taken
//! *knocks*: the file grows by a byte, and whoever keeps the turn gives it up and takes it for each
//! grant from then on, until the others are quiet.

use super::log::LogError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedRwLockReadGuard, RwLock};

/// How long another process may have the turn for a grant before it is taken to keep it.
const SOON: Duration = Duration::from_millis(2);

/// How often is knocked while nobody opens.
const AGAIN: Duration = Duration::from_millis(500);

/// The length of a file that was never looked at.
const UNKNOWN: u64 = u64::MAX;

/// The turn, as one process sees it.
#[derive(Debug)]
pub(super) struct Turns {
    path: PathBuf,
    file: Arc<File>,
    /// The turn, while this process keeps it. Read while a hold is granted and recorded.
    kept: Arc<RwLock<Option<Locked>>>,
    /// Held by whoever of this process has the turn, or waits for it.
    queue: Arc<Mutex<()>>,
    /// Length of the file when the other chains were last looked for; it grows with every newcomer.
    seen: AtomicU64,
    /// Whether others know that this process grants.
    registered: AtomicBool,
    /// Grants since the last look, and whether another process has granted something since.
    used: AtomicBool,
    heard: AtomicBool,
}

/// The turn in the hands of one grant.
#[derive(Debug)]
pub(super) enum Turn {
    /// This process keeps it, and knows everything.
    Kept(#[expect(dead_code, reason = "held, not read")] OwnedRwLockReadGuard<Option<Locked>>),
    /// Taken for this grant: others may have recorded something since the last one.
    Taken(#[expect(dead_code, reason = "held, not read")] Taken),
}

impl Turn {
    /// Whether no other process waits for it.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }
}

/// The lock first, then the place in the queue: dropped in this order.
#[derive(Debug)]
pub(super) struct Taken {
    _locked: Locked,
    _queued: OwnedMutexGuard<()>,
}

/// The lock itself.
#[derive(Debug)]
pub(super) struct Locked(Arc<File>);

impl Drop for Locked {
    fn drop(&mut self) {
        // It ends with the file at the latest.
        let _ = self.0.unlock();
    }
}

impl Turns {
    /// The turn of the log whose own path is `log`.
    pub(super) fn of(log: &Path) -> Result<Self, LogError> {
        let mut path = log.to_owned().into_os_string();
        path.push(".turn");
        let path = PathBuf::from(path);
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path);
        let file = file.map_err(LogError::io(&path))?;
        Ok(Self {
            path,
            file: Arc::new(file),
            kept: Arc::default(),
            queue: Arc::default(),
            seen: AtomicU64::new(UNKNOWN),
            registered: AtomicBool::new(false),
            used: AtomicBool::new(false),
            heard: AtomicBool::new(false),
        })
    }

    /// The turn without waiting: where this process keeps it, or nobody has it.
    pub(super) fn at_once(&self) -> Result<Option<Turn>, LogError> {
        if let Some(turn) = self.kept_turn() {
            return Ok(Some(turn));
        }
        let Ok(queued) = Arc::clone(&self.queue).try_lock_owned() else {
            return Ok(None);
        };
        // While it is being given up it is nobody's; once it is, it stays so for whoever is first in
        // the queue.
        match Arc::clone(&self.kept).try_read_owned() {
            Ok(kept) if kept.is_some() => return Ok(Some(Turn::Kept(kept))),
            Ok(_) => {}
            Err(_) => return Ok(None),
        }
        let Some(locked) = self.try_lock()? else {
            return Ok(None);
        };
        self.taken(locked, queued).map(Some)
    }

    fn kept_turn(&self) -> Option<Turn> {
        let kept = Arc::clone(&self.kept).try_read_owned().ok()?;
        kept.is_some().then(|| Turn::Kept(kept))
    }

    /// Waits for the turn. Dropped before, it is not taken.
    pub(super) async fn take(&self) -> Result<Turn, LogError> {
        let queued = Arc::clone(&self.queue).lock_owned().await;
        let kept = Arc::clone(&self.kept).read_owned().await;
        if kept.is_some() {
            return Ok(Turn::Kept(kept));
        }
        drop(kept);
        let (locked, queued) = match self.try_lock()? {
            Some(locked) => (locked, queued),
            None => self.wait(queued).await?,
        };
        self.taken(locked, queued)
    }

    /// The turn for one grant; the first time, the others are told that there is one more.
    fn taken(&self, locked: Locked, queued: OwnedMutexGuard<()>) -> Result<Turn, LogError> {
        self.used.store(true, Ordering::Relaxed);
        if !self.registered.swap(true, Ordering::Relaxed) {
            self.knock()?;
        }
        Ok(Turn::Taken(Taken {
            _locked: locked,
            _queued: queued,
        }))
    }

    fn try_lock(&self) -> Result<Option<Locked>, LogError> {
        match self.file.try_lock() {
            Ok(()) => Ok(Some(Locked(Arc::clone(&self.file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(LogError::io(&self.path)(source)),
        }
    }

    /// Waits on a thread of its own, so that the kernel wakes it, and knocks every now and then.
    async fn wait(
        &self,
        queued: OwnedMutexGuard<()>,
    ) -> Result<(Locked, OwnedMutexGuard<()>), LogError> {
        let file = Arc::clone(&self.file);
        // Nobody else of this process waits meanwhile, also when this request gives up.
        let mut waiting = tokio::task::spawn_blocking(move || {
            file.lock()?;
            Ok::<_, std::io::Error>((Locked(file), queued))
        });
        let mut pause = SOON;
        loop {
            match tokio::time::timeout(pause, &mut waiting).await {
                Ok(Ok(taken)) => return taken.map_err(LogError::io(&self.path)),
                Ok(Err(_)) => {
                    let source = std::io::Error::other("the wait for the turn was cancelled");
                    return Err(LogError::io(&self.path)(source));
                }
                Err(_) => self.knock()?,
            }
            pause = AGAIN;
        }
    }

    /// Makes the file longer, which whoever has the turn notices.
    fn knock(&self) -> Result<(), LogError> {
        let wrote = (&*self.file).write_all(b".");
        wrote.map_err(LogError::io(&self.path))
    }

    fn length(&self) -> Result<u64, LogError> {
        let found = self.file.metadata().map_err(LogError::io(&self.path))?;
        Ok(found.len())
    }

    /// Whether somebody has come or knocked since [`Turns::looked`]. The length to tell it.
    pub(super) fn news(&self) -> Result<Option<u64>, LogError> {
        let length = self.length()?;
        Ok((length != self.seen.load(Ordering::Relaxed)).then_some(length))
    }

    /// The other chains were looked for after the file had this length.
    pub(super) fn looked(&self, length: u64) {
        self.seen.store(length, Ordering::Relaxed);
    }

    /// Another process has granted something.
    pub(super) fn heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Whether this process has granted something since the last time, and no other has.
    pub(super) fn wanted(&self) -> bool {
        let heard = self.heard.swap(false, Ordering::Relaxed);
        self.used.swap(false, Ordering::Relaxed) && !heard
    }

    /// Whether this process keeps the turn; not known while that changes.
    pub(super) fn is_kept(&self) -> bool {
        self.kept.try_read().is_ok_and(|kept| kept.is_some())
    }

    /// Keeps the turn from now on, if it is free. `look` makes everything known that others have
    /// recorded, and says whether any of them lives.
    pub(super) fn keep(
        &self,
        look: impl FnOnce() -> Result<bool, LogError>,
    ) -> Result<(), LogError> {
        let Ok(_queued) = self.queue.try_lock() else {
            return Ok(());
        };
        if self.is_kept() {
            return Ok(());
        }
        let Some(locked) = self.try_lock()? else {
            return Ok(());
        };
        self.registered.store(true, Ordering::Relaxed);
        self.knock()?;
        let length = self.length()?;
        let company = look()?;
        self.looked(length);
        if !company {
            // Nobody is left who remembers a length.
            self.file.set_len(0).map_err(LogError::io(&self.path))?;
            self.looked(0);
        }
        if let Ok(mut kept) = self.kept.try_write() {
            *kept = Some(locked);
        }
        Ok(())
    }

    /// Gives the turn up. `record` sees to it that every hold granted so far is with the operating
    /// system. Not for tasks.
    pub(super) fn give_up(&self, record: impl FnOnce()) {
        let mut kept = self.kept.blocking_write();
        if kept.is_some() {
            record();
            *kept = None;
        }
    }
}
