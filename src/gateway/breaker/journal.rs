//! What the breaker was told from outside, beside the spend log: `spend.jsonl.breaker`.
//!
//! Decides that nothing of it is forgotten: what `/track` was told, limits set by hand, resets, and which level was
//! told last, each a line of JSON with a number. Processes of one log append to the same file, one at a time, and
//! read what others have appended. Lines that are not needed any more are left out when it has grown.

use crate::breaker::Level;
use crate::breaker::Spent;
use crate::breaker::tracker::Limits;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A file that is smaller is not rewritten.
const SMALL: u64 = 4 << 20;

/// How often somebody else may replace the file while it is opened.
const TRIES: usize = 8;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its number, from 1.
    pub(super) n: u64,
    /// When it was written, in Unix milliseconds.
    pub(super) at: i64,
    #[serde(flatten)]
    pub(super) what: What,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum What {
    /// Something was spent elsewhere.
    Track(Spent),
    /// All limits that are set by hand.
    Limits { limits: Limits },
    /// What was spent until then does not count.
    Reset { until: i64 },
    /// A level was told.
    Told { level: Level },
}

/// The file and how far it has been read.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Device and number of the file that was read, and how much of it.
    read: Option<((u64, u64), u64)>,
    /// The number of the last line read.
    last: u64,
    /// The size after it was rewritten last.
    packed: u64,
}

impl Journal {
    /// The journal beside the log at `log`, of which the lines up to number `last` are known.
    pub(super) fn beside(log: &Path, last: u64) -> Self {
        Self {
            path: beside(log, ".breaker"),
            read: None,
            last,
            packed: 0,
        }
    }

    /// The number of the last line read.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Lines that were not read yet.
    pub(super) fn news(&mut self) -> io::Result<Vec<Entry>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let size = file.metadata()?.len();
        let known = self.read.filter(|(id, _)| Some(*id) == identity(&file));
        if known.is_some_and(|(_, read)| read == size) {
            return Ok(Vec::new());
        }
        self.rest(&mut file)
    }

    /// Reads on in an open file.
    fn rest(&mut self, file: &mut File) -> io::Result<Vec<Entry>> {
        let id = identity(file);
        let known = self.read.filter(|(known, _)| Some(*known) == id);
        let from = known.map_or(0, |(_, read)| read);
        let size = file.metadata()?.len();
        // A file that became shorter is another one.
        let from = if from > size { 0 } else { from };
        file.seek(SeekFrom::Start(from))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let end = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let mut news = Vec::new();
        for line in text[..end].split(|byte| *byte == b'\n') {
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice::<Entry>(line) {
                Ok(entry) if entry.n > self.last => {
                    self.last = entry.n;
                    news.push(entry);
                }
                Ok(_) => {}
                // The end of what a process wrote that was killed meanwhile.
                Err(error) => tracing::warn!(%error, "a line of the breaker's file is not whole"),
            }
        }
        let read = from + u64::try_from(end).unwrap_or(0);
        self.read = id.map(|id| (id, read));
        Ok(news)
    }

    /// Appends what `decide` makes of the lines that were not read yet, while nobody else appends. Gives those
    /// lines and the new one.
    pub(super) fn append(
        &mut self,
        at: i64,
        decide: impl FnOnce(&[Entry]) -> Option<What>,
    ) -> io::Result<Vec<Entry>> {
        let mut file = self.locked()?;
        let mut news = self.rest(&mut file)?;
        let Some(what) = decide(&news) else {
            return Ok(news);
        };
        let n = self.last + 1;
        let entry = Entry { n, at, what };
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        let size = file.metadata()?.len();
        let read = self.read.map_or(0, |(_, read)| read);
        if read < size {
            // Somebody was killed while writing: the new line is one of its own.
            line.insert(0, b'\n');
        }
        file.write_all(&line)?;
        self.last = n;
        let end = size + u64::try_from(line.len()).unwrap_or(0);
        self.read = identity(&file).map(|id| (id, end));
        news.push(entry);
        Ok(news)
    }

    /// Leaves out what `keep` does not want, once the file has grown.
    pub(super) fn pack(&mut self, keep: impl Fn(&Entry) -> bool) -> io::Result<()> {
        let size = self.read.map_or(0, |(_, read)| read);
        if size < SMALL.max(self.packed.saturating_mul(2)) {
            return Ok(());
        }
        self.rewrite(keep)
    }

    fn rewrite(&mut self, keep: impl Fn(&Entry) -> bool) -> io::Result<()> {
        let mut file = self.locked()?;
        // Whatever has not been read yet stays.
        let known = self.last;
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut text)?;
        let mut lines: Vec<Entry> = Vec::new();
        for line in text.split(|byte| *byte == b'\n') {
            if let Ok(entry) = serde_json::from_slice::<Entry>(line) {
                lines.push(entry);
            }
        }
        let last = lines.last().map(|entry| entry.n);
        let newest = |wanted: fn(&What) -> bool| {
            let mut all = lines.iter().rev();
            all.find(|entry| wanted(&entry.what)).map(|entry| entry.n)
        };
        let always = [
            last,
            newest(|what| matches!(what, What::Limits { .. })),
            newest(|what| matches!(what, What::Reset { .. })),
            newest(|what| matches!(what, What::Told { .. })),
        ];
        let stays = |entry: &&Entry| {
            let track = matches!(entry.what, What::Track(_));
            entry.n > known || always.contains(&Some(entry.n)) || (track && keep(entry))
        };
        let mut new = Vec::new();
        for entry in lines.iter().filter(stays) {
            serde_json::to_writer(&mut new, entry)?;
            new.push(b'\n');
        }
        let beside = beside(&self.path, &format!(".{}", std::process::id()));
        let mut replacement = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&beside)?;
        replacement.write_all(&new)?;
        replacement.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        self.packed = u64::try_from(new.len()).unwrap_or(u64::MAX);
        // It is read from its beginning, and known lines are passed over by their numbers.
        self.read = None;
        Ok(())
    }

    /// The file, locked until it is dropped, and still the one with that name.
    fn locked(&self) -> io::Result<File> {
        for _ in 0..TRIES {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .read(true)
                .mode(0o600)
                .open(&self.path)?;
            file.lock()?;
            let named = std::fs::metadata(&self.path).ok();
            let named = named.map(|found| (found.dev(), found.ino()));
            if named == identity(&file) {
                return Ok(file);
            }
        }
        Err(io::Error::other("the file is replaced all the time"))
    }
}

fn identity(file: &File) -> Option<(u64, u64)> {
    let found = file.metadata().ok()?;
    Some((found.dev(), found.ino()))
}

/// A file beside another.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
