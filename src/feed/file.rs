//! Events as a file: one JSON object a line.
//!
//! Decides when a new file begins (the old ones are `.1`, `.2` and so on, the last of them goes), and that a line
//! is whole or was never begun anew: what a full disk cut off is ended by a line break. Processes of one gateway
//! append to the same file, and look before each batch whether it is still the one with that name.

use super::sink::{self, Failed, Write};
use super::{Feed, Sink, Watch};
use crate::event::Event;
use crate::settings::EventFile;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file of events.
pub struct Lines {
    settings: EventFile,
    /// Away while a batch is written.
    open: Option<Open>,
}

/// The file while it is open.
struct Open {
    file: File,
    /// Its device and its number there.
    identity: (u64, u64),
    /// Whether its last line was cut off.
    torn: bool,
}

impl Lines {
    /// The file that `settings` name. It is opened with the first event.
    pub fn new(settings: EventFile) -> Self {
        Self {
            settings,
            open: None,
        }
    }

    /// Writes what `watch` sees, until [`Feed::close`].
    pub async fn run(self, feed: Arc<Feed>, watch: Watch) {
        sink::run(&feed, Sink::File, watch, self).await;
    }
}

impl Write for Lines {
    async fn prepare(&mut self) -> Result<(), String> {
        let path = self.settings.path.clone();
        let opened = tokio::task::spawn_blocking(move || Open::at(&path)).await;
        let failed =
            |error: &dyn std::fmt::Display| format!("{}: {error}", self.settings.path.display());
        match opened {
            Ok(Ok(open)) => {
                self.open = Some(open);
                Ok(())
            }
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn write(&mut self, events: &mut Vec<Arc<Event>>) -> Result<(), Failed> {
        let (settings, open) = (self.settings.clone(), self.open.take());
        let mut batch = std::mem::take(events);
        let written = tokio::task::spawn_blocking(move || {
            let mut open = open;
            let outcome = append(&settings, &mut open, &mut batch);
            (open, batch, outcome)
        });
        let Ok((open, left, outcome)) = written.await else {
            return Err(Failed {
                lost: 0,
                why: "writing broke off".to_owned(),
            });
        };
        self.open = open;
        *events = left;
        outcome.map_err(|error| {
            // Whatever is wrong with it may not be wrong with a new one.
            self.open = None;
            let path = self.settings.path.display();
            Failed {
                lost: 0,
                why: format!("{path}: {error}"),
            }
        })
    }
}

/// Appends events one by one to what is written at once, and takes away those that are written.
fn append(
    settings: &EventFile,
    open: &mut Option<Open>,
    events: &mut Vec<Arc<Event>>,
) -> io::Result<()> {
    while !events.is_empty() {
        let current = match open.take() {
            Some(current) if current.is_at(&settings.path) => open.insert(current),
            _ => open.insert(Open::at(&settings.path)?),
        };
        let size = current.file.metadata()?.len();
        let mut text = Vec::new();
        if current.torn {
            text.push(b'\n');
        }
        let mut ends = Vec::new();
        for event in events.iter() {
            let line = event.json();
            let grown = size.saturating_add(length(text.len() + line.len() + 1));
            // One event at least: it may be larger than any file should be.
            if grown > settings.size && !(size == 0 && ends.is_empty()) {
                break;
            }
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
            ends.push(text.len());
        }
        if ends.is_empty() {
            rotate(settings, current)?;
            *open = None;
            continue;
        }
        let (written, outcome) = write(&mut current.file, &text);
        let whole = ends.iter().filter(|end| **end <= written).count();
        events.drain(..whole);
        let at_end = written == 0 || text[..written].ends_with(b"\n");
        current.torn = if written == 0 { current.torn } else { !at_end };
        outcome?;
    }
    Ok(())
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Writes as much as can be; gives how much that was.
fn write(file: &mut File, text: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < text.len() {
        match file.write(&text[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

impl Open {
    /// Opens the file; a new one is for this user only.
    fn at(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent().filter(|path| !path.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory)?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(path)?;
        let found = file.metadata()?;
        let torn = found.len() > 0 && {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            last != *b"\n"
        };
        Ok(Self {
            identity: (found.dev(), found.ino()),
            file,
            torn,
        })
    }

    /// Whether it is still the file with that name.
    fn is_at(&self, path: &Path) -> bool {
        let found = std::fs::metadata(path);
        found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity)
    }
}

/// Gives every file the next name; the last one goes.
fn rotate(settings: &EventFile, current: &Open) -> io::Result<()> {
    // Only one process at a time, and only if no other one was faster.
    current.file.lock()?;
    if !current.is_at(&settings.path) {
        return Ok(());
    }
    for number in (1..settings.keep).rev() {
        let moved = std::fs::rename(
            numbered(&settings.path, number),
            numbered(&settings.path, number + 1),
        );
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match settings.keep {
        0 => std::fs::remove_file(&settings.path),
        _ => std::fs::rename(&settings.path, numbered(&settings.path, 1)),
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}
