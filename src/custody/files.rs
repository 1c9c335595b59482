//! A file of lines that several processes append to: one at a time, whole lines only.
//!
//! Decides that whoever writes holds the file's lock, finds out first whether the file was replaced, and has
//! seen what others wrote before. A line that was cut by a crash never runs into the next one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The file, as far as this process has seen it.
pub(super) struct Lines {
    path: PathBuf,
    open: Option<Open>,
}

struct Open {
    file: File,
    identity: (u64, u64),
    /// Up to where it was read, or written here: always behind a line.
    seen: u64,
}

/// Lines that were not seen before.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Whole lines, without their ends.
    pub lines: Vec<String>,
    /// Whether they are the first ones of a file that was not known.
    pub anew: bool,
}

impl Lines {
    /// The file at `path`, which need not exist.
    pub(super) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            open: None,
        }
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whole lines that were not seen before; none where there is no file.
    pub(super) fn news(&mut self) -> io::Result<News> {
        let mut anew = false;
        if !self.is_current()? {
            self.open = None;
            if !self.path.exists() {
                return Ok(News::default());
            }
            self.open = Some(Open::at(&self.path, false)?);
            anew = true;
        }
        let lines = match &mut self.open {
            Some(open) => open.read()?,
            None => Vec::new(),
        };
        Ok(News { lines, anew })
    }

    /// Whether the open file is still the one with that name.
    fn is_current(&self) -> io::Result<bool> {
        let Some(open) = &self.open else {
            return Ok(false);
        };
        match std::fs::metadata(&self.path) {
            Ok(found) => {
                Ok((found.dev(), found.ino()) == open.identity && found.len() >= open.seen)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Appends what `write` makes of the lines that were not seen before, and puts it on the disk. Nobody else
    /// writes meanwhile. `write` gets `None` for them where the file is new.
    pub(super) fn append(&mut self, write: impl FnOnce(Option<News>) -> String) -> io::Result<u64> {
        let anew = self.lock()?;
        let Some(open) = &mut self.open else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let outcome = open.append(anew, write);
        // A lock that cannot be given back goes with the file.
        if open.file.unlock().is_err() || outcome.is_err() {
            self.open = None;
        }
        outcome
    }

    /// Puts a new file in the place of this one, with what `write` makes of the lines that were not seen before.
    pub(super) fn replace(&mut self, write: impl FnOnce(News) -> String) -> io::Result<()> {
        let anew = self.lock()?;
        let Some(mut old) = self.open.take() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let lines = old.read()?;
        let text = write(News { lines, anew });
        let beside = self.path.with_extension("new");
        let _ = std::fs::remove_file(&beside);
        let mut new = Open::at(&beside, true)?;
        new.file.write_all(text.as_bytes())?;
        new.file.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        sync_directory(&self.path)?;
        new.seen = new.file.metadata()?.len();
        self.open = Some(new);
        // The lock of the old file goes with it.
        Ok(())
    }

    /// Gives the file another name; the next line begins a new one.
    pub(super) fn put_away(&mut self, path: &Path) -> io::Result<()> {
        self.lock()?;
        std::fs::rename(&self.path, path)?;
        sync_directory(&self.path)?;
        self.open = None;
        Ok(())
    }

    /// Opens the file under its lock. `true` when nothing of it was seen.
    fn lock(&mut self) -> io::Result<bool> {
        let mut anew = false;
        loop {
            if !self.is_current()? {
                self.open = Some(Open::at(&self.path, true)?);
                anew = true;
            }
            let Some(open) = &self.open else {
                return Err(io::ErrorKind::NotFound.into());
            };
            open.file.lock()?;
            // Whoever had the lock before may have put another file there.
            if self.is_current()? {
                return Ok(anew);
            }
            self.open = None;
        }
    }
}

impl Open {
    /// Opens the file; a new one is for this user only.
    fn at(path: &Path, create: bool) -> io::Result<Self> {
        if create && let Some(directory) = path.parent().filter(|path| !path.as_os_str().is_empty())
        {
            std::fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new()
            .create(create)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(path)?;
        let found = file.metadata()?;
        Ok(Self {
            identity: (found.dev(), found.ino()),
            file,
            seen: 0,
        })
    }

    /// Whole lines from where it was seen on.
    fn read(&mut self) -> io::Result<Vec<String>> {
        self.file.seek(SeekFrom::Start(self.seen))?;
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        let Some(end) = whole else {
            return Ok(Vec::new());
        };
        bytes.truncate(end + 1);
        self.seen += length(bytes.len());
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn append(
        &mut self,
        anew: bool,
        write: impl FnOnce(Option<News>) -> String,
    ) -> io::Result<u64> {
        let lines = self.read()?;
        let size = self.file.metadata()?.len();
        if size > self.seen {
            // A crash has cut a line. Nobody is writing it: the lock is ours.
            self.file.set_len(self.seen)?;
        }
        let known = (self.seen > 0).then_some(News { lines, anew });
        let text = write(known);
        let before = self.seen;
        let written = self.file.write_all(text.as_bytes());
        let kept = written.and_then(|()| self.file.sync_data());
        if let Err(error) = kept {
            // What is there of it must not become part of the next line.
            let _ = self.file.set_len(before);
            return Err(error);
        }
        self.seen += length(text.len());
        Ok(self.seen)
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Puts a name on the disk.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
