//! Files of the log: their names, their locks, and which of them belong together.
//!
//! Decides who may write which file and whether the writer of a file is alive. A lock is advisory and
//! belongs to an open file, so it follows a file through a rename and ends with its process.

use super::LogError;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The names that a log's files have.
#[derive(Clone, Debug)]
pub(in crate::ledger) struct Family {
    directory: PathBuf,
    stem: String,
    /// With its dot; empty for none.
    extension: String,
}

/// The files of one chain, oldest first.
#[derive(Clone, Debug, Default)]
pub(in crate::ledger) struct Files {
    /// Rotated segments by their first record.
    pub(in crate::ledger) rotated: Vec<(u64, PathBuf)>,
    /// The segment being written.
    pub(in crate::ledger) active: Option<PathBuf>,
}

impl Files {
    /// Every file, oldest first.
    pub(in crate::ledger) fn all(&self) -> Vec<PathBuf> {
        let rotated = self.rotated.iter().map(|(_, path)| path);
        rotated.chain(&self.active).cloned().collect()
    }

    /// Whether a process holds the chain. Around a rotation it is the newest rotated segment that
    /// is still locked.
    pub(in crate::ledger) fn live(&self) -> Result<bool, LogError> {
        let newest = self.rotated.last().map(|(_, path)| path);
        for path in self.active.iter().chain(newest) {
            if locked(path)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The segment that this process writes.
#[derive(Debug)]
pub(in crate::ledger) struct Claim {
    /// Empty for the log's own path, else the name of a chain of this process.
    pub(in crate::ledger) chain: String,
    /// The active segment.
    pub(in crate::ledger) path: PathBuf,
    /// Open for appending, and locked.
    pub(in crate::ledger) file: File,
    /// Keeps the log's own path ours; `None` for a chain beside it.
    pub(in crate::ledger) guard: Option<File>,
}

impl Family {
    /// The names of the log at `path`.
    pub(in crate::ledger) fn of(path: &Path) -> Self {
        let text = |part: Option<&std::ffi::OsStr>| {
            part.map(|part| part.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        let extension = text(path.extension());
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        Self {
            directory: parent.map_or_else(|| PathBuf::from("."), Path::to_owned),
            stem: text(path.file_stem()),
            extension: if extension.is_empty() {
                extension
            } else {
                format!(".{extension}")
            },
        }
    }

    /// The directory of all of them.
    pub(in crate::ledger) fn directory(&self) -> &Path {
        &self.directory
    }

    fn base(&self, chain: &str) -> String {
        let dot = if chain.is_empty() { "" } else { "." };
        format!("{}{dot}{chain}", self.stem)
    }

    /// The segment of a chain that is being written.
    pub(in crate::ledger) fn active(&self, chain: &str) -> PathBuf {
        self.directory
            .join(format!("{}{}", self.base(chain), self.extension))
    }

    /// A segment of a chain that was rotated away, by its first record.
    pub(in crate::ledger) fn rotated(&self, chain: &str, first: u64) -> PathBuf {
        self.directory.join(format!(
            "{}-{first:012}{}",
            self.base(chain),
            self.extension
        ))
    }

    /// Every file of the log, by chain.
    pub(in crate::ledger) fn list(&self) -> Result<BTreeMap<String, Files>, LogError> {
        let mut chains = BTreeMap::<String, Files>::new();
        let entries = std::fs::read_dir(&self.directory).map_err(LogError::io(&self.directory))?;
        for entry in entries {
            let entry = entry.map_err(LogError::io(&self.directory))?;
            let name = entry.file_name();
            if let Some((chain, first)) = name.to_str().and_then(|name| self.read_name(name)) {
                let files = chains.entry(chain).or_default();
                match first {
                    Some(first) => files.rotated.push((first, entry.path())),
                    None => files.active = Some(entry.path()),
                }
            }
        }
        for files in chains.values_mut() {
            files.rotated.sort_unstable();
        }
        Ok(chains)
    }

    /// Chain and, for a rotated segment, first record of a file by its name.
    fn read_name(&self, name: &str) -> Option<(String, Option<u64>)> {
        let middle = name
            .strip_prefix(&self.stem)?
            .strip_suffix(&self.extension)?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let (chain, first) = match middle.rsplit_once('-') {
            Some((chain, first)) if first.len() >= 12 && digits(first) => {
                // `.4711-1700000000000` has a long number too, but no chain before the dash.
                let whole = chain.strip_prefix('.').is_some_and(digits);
                if whole {
                    (middle, None)
                } else {
                    (chain, Some(first.parse().ok()?))
                }
            }
            _ => (middle, None),
        };
        if chain.is_empty() {
            return Some((String::new(), first));
        }
        let chain = chain.strip_prefix('.')?;
        let (pid, millis) = chain.split_once('-')?;
        (digits(pid) && digits(millis)).then(|| (chain.to_owned(), first))
    }

    /// Takes the log's own path if no live process has it, else a new chain of this process.
    pub(in crate::ledger) fn claim(&self, now_millis: u64) -> Result<Claim, LogError> {
        std::fs::create_dir_all(&self.directory).map_err(LogError::io(&self.directory))?;
        let path = self.active("");
        let mut lock_path = path.clone().into_os_string();
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        let guard = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&lock_path);
        let guard = guard.map_err(LogError::io(&lock_path))?;
        if try_lock(&guard, &lock_path)? {
            let file = append_to(&path, true)?;
            if try_lock_patiently(&file, &path)? {
                let chain = String::new();
                return Ok(Claim {
                    chain,
                    path,
                    file,
                    guard: Some(guard),
                });
            }
        }
        for attempt in 0..1000 {
            let chain = format!("{}-{:013}", std::process::id(), now_millis + attempt);
            let path = self.active(&chain);
            match OpenOptions::new().create_new(true).append(true).open(&path) {
                Ok(file) if try_lock_patiently(&file, &path)? => {
                    return Ok(Claim {
                        chain,
                        path,
                        file,
                        guard: None,
                    });
                }
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(LogError::Io {
                        path,
                        source: error,
                    });
                }
                _ => {}
            }
        }
        let source = std::io::ErrorKind::AlreadyExists.into();
        Err(LogError::Io { path, source })
    }
}

/// Opens a segment for appending.
fn append_to(path: &Path, create: bool) -> Result<File, LogError> {
    let file = OpenOptions::new().create(create).append(true).open(path);
    file.map_err(LogError::io(path))
}

/// A new segment under a name that must be free, locked.
pub(in crate::ledger) fn create(path: &Path) -> Result<File, LogError> {
    let file = OpenOptions::new().create_new(true).append(true).open(path);
    let file = file.map_err(LogError::io(path))?;
    try_lock_patiently(&file, path)?;
    Ok(file)
}

fn try_lock(file: &File, path: &Path) -> Result<bool, LogError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(LogError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Locks a file that somebody may be asking about at this moment: asking holds the lock too, for
/// microseconds.
fn try_lock_patiently(file: &File, path: &Path) -> Result<bool, LogError> {
    for _ in 0..50 {
        if try_lock(file, path)? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(false)
}

/// Whether somebody writes the file. Asks with a shared lock, so that two who ask do not see each
/// other.
fn locked(path: &Path) -> Result<bool, LogError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(source) => {
            return Err(LogError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(LogError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_chain_and_first_record() {
        let family = Family::of(Path::new("/var/spend.jsonl"));
        for (chain, first) in [
            ("", None),
            ("", Some(7)),
            ("", Some(1_000_000_000_000)),
            ("4711-1700000000000", None),
            ("4711-1700000000000", Some(12)),
        ] {
            let path = first.map_or_else(|| family.active(chain), |n| family.rotated(chain, n));
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(
                family.read_name(name),
                Some((chain.to_owned(), first)),
                "{name}"
            );
        }
        for other in [
            "spend.jsonl.lock",
            "spends.jsonl",
            "spend-12.jsonl",
            "spend.x-1.jsonl",
            "a",
        ] {
            assert_eq!(family.read_name(other), None, "{other}");
        }
        assert_eq!(
            family.rotated("", 7),
            Path::new("/var/spend-000000000007.jsonl")
        );
        assert_eq!(Family::of(Path::new("log")).directory(), Path::new("."));
    }
}
