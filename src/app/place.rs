//! Where processes of one gateway find each other: the directory of the upgrade socket.
//!
//! Decides who may be there (this user and nobody else: whoever can reach the socket gets the
//! listeners), which process serves, and which one waits to take over. Both are locks, so that they
//! end with their process:
//!
//! | file | held by |
//! |---|---|
//! | `upgrade.sock` | the process that waits: the socket itself |
//! | `upgrade.sock.wait` | the process that waits, from before it reads the spend log |
//! | `upgrade.sock.pid` | the process that serves, whose number is in it |

use anyhow::{Context as _, bail};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// How often a lock is tried that somebody may only be asking about.
const TRIES: usize = 50;

/// The names of one gateway's upgrade.
#[derive(Debug)]
pub(super) struct Place {
    socket: PathBuf,
    /// Held while this process serves.
    serving: Mutex<Option<File>>,
}

impl Place {
    /// The place of this socket.
    pub(super) fn of(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            serving: Mutex::default(),
        }
    }

    /// The socket over which listeners are handed on.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.socket.clone().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    }

    /// Makes the directory if it is missing, and makes sure that it is this user's alone.
    pub(super) fn private(&self) -> anyhow::Result<()> {
        let directory = match self.socket.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let place = || format!("upgrade.socket: the directory {}", directory.display());
        if !directory.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .with_context(place)?;
        }
        let found = std::fs::symlink_metadata(directory).with_context(place)?;
        if !found.is_dir() {
            bail!("{} is no directory", place());
        }
        if Some(found.uid()) != user() {
            bail!("{} belongs to another user", place());
        }
        if found.mode() & 0o077 != 0 {
            bail!(
                "{} is open to others; `chmod 700` makes it private",
                place()
            );
        }
        Ok(())
    }

    fn open(&self, suffix: &str) -> anyhow::Result<File> {
        let path = self.beside(suffix);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path);
        file.with_context(|| path.display().to_string())
    }

    /// Whether a process that serves holds the place.
    pub(super) fn is_served(&self) -> anyhow::Result<bool> {
        held(&self.open(".pid")?)
    }

    /// Whether a process waits to take over, or is about to.
    pub(super) fn is_awaited(&self) -> anyhow::Result<bool> {
        held(&self.open(".wait")?)
    }

    /// The process that serves, as far as it has said.
    pub(super) fn server(&self) -> String {
        let text = std::fs::read_to_string(self.beside(".pid")).unwrap_or_default();
        match text.trim() {
            "" => "the process that serves".to_owned(),
            pid => format!("process {pid}"),
        }
    }

    /// Notes that this process serves. `wait` waits for the one before it to stop saying so.
    pub(super) fn serve(&self, wait: bool) -> anyhow::Result<()> {
        let mut file = self.open(".pid")?;
        if wait {
            file.lock()?;
        } else if !locked(&file)? {
            bail!("{} serves there", self.server());
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        *self.lock() = Some(file);
        Ok(())
    }

    /// Another process serves from now on, or none.
    pub(super) fn leave(&self) {
        if let Some(file) = self.lock().take() {
            // What it says is of no use to anybody now; the lock is what counts.
            let _ = file.set_len(0);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<File>> {
        self.serving
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Notes that this process waits to take over.
    pub(super) fn wait(&self) -> anyhow::Result<Waiting> {
        let file = self.open(".wait")?;
        if !locked(&file)? {
            bail!(
                "another process waits to take over at {} already",
                self.socket.display()
            );
        }
        Ok(Waiting { _lock: file })
    }
}

/// The right to be the process that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    _lock: File,
}

impl Waiting {
    /// Listens for the process that hands over. A socket that an earlier process left is removed.
    pub(super) fn listen(&self, place: &Place) -> anyhow::Result<Bound> {
        let path = place.socket();
        let shown = || format!("upgrade.socket: {}", path.display());
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => bail!("{} is no socket", shown()),
            Ok(_) => std::fs::remove_file(path).with_context(shown)?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).with_context(shown)?;
        Ok(Bound {
            listener,
            path: path.to_owned(),
        })
    }
}

/// The socket, which is removed afterwards.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Bound {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Whoever waits next removes it otherwise.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The number of the user this process runs as.
pub(super) fn user() -> Option<u32> {
    std::fs::metadata("/proc/self")
        .ok()
        .map(|found| found.uid())
}

/// Takes a lock unless another process has it for longer than it takes to ask.
fn locked(file: &File) -> anyhow::Result<bool> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// Whether another process has locked a file.
fn held(file: &File) -> anyhow::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => {
            file.unlock()?;
            Ok(false)
        }
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn scratch(name: &str) -> PathBuf {
        let name = format!("weir-place-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_missing_directory_is_made_for_this_user_only() {
        let root = scratch("made");
        let place = Place::of(&root.join("run/upgrade.sock"));
        place.private().unwrap();
        let found = std::fs::metadata(root.join("run")).unwrap();
        assert_eq!(found.mode() & 0o777, 0o700);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let root = scratch("open");
        std::fs::create_dir(&root).unwrap();
        let place = Place::of(&root.join("upgrade.sock"));
        for open in [0o755, 0o710, 0o701, 0o777] {
            mode(&root, open);
            let error = place.private().unwrap_err().to_string();
            assert!(error.contains("open to others"), "{error}");
        }
        mode(&root, 0o700);
        place.private().unwrap();
        let link = scratch("link");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&root, &link).unwrap();
        let error = Place::of(&link.join("upgrade.sock")).private().unwrap_err();
        assert!(error.to_string().contains("is no directory"), "{error}");
        std::fs::remove_file(link).unwrap();
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn one_process_serves_and_one_waits() {
        let root = scratch("locks");
        let place = Place::of(&root.join("upgrade.sock"));
        place.private().unwrap();
        assert!(!place.is_served().unwrap() && !place.is_awaited().unwrap());
        place.serve(false).unwrap();
        assert!(place.is_served().unwrap());
        let other = Place::of(place.socket());
        let error = other.serve(false).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        place.leave();
        other.serve(true).unwrap();
        let waiting = place.wait().unwrap();
        assert!(place.is_awaited().unwrap() && other.wait().is_err());
        drop(waiting);
        assert!(!other.is_awaited().unwrap());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_stale_socket_is_replaced_and_any_other_file_is_not() {
        let root = scratch("stale");
        let place = Place::of(&root.join("upgrade.sock"));
        place.private().unwrap();
        let waiting = place.wait().unwrap();
        drop(UnixListener::bind(place.socket()).unwrap());
        assert!(place.socket().exists());
        drop(waiting.listen(&place).unwrap());
        assert!(!place.socket().exists());
        std::fs::write(place.socket(), "mine").unwrap();
        let error = waiting.listen(&place).unwrap_err().to_string();
        assert!(error.contains("is no socket"), "{error}");
        assert_eq!(std::fs::read(place.socket()).unwrap(), b"mine");
        std::fs::remove_dir_all(root).unwrap();
    }
}
