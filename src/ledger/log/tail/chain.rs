//! One chain, file after file.
//!
//! Decides where the record after a given one is, and when a file goes on in another.

use super::{Kind, Mark, Sink, outside};
use crate::ledger::log::LogError;
use crate::ledger::log::line;
use crate::ledger::log::segment::{Family, Files};
use serde::Deserialize;
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// How far one chain is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    /// The last record read; `None` before the first.
    pub(super) mark: Option<Mark>,
    /// Where the next one is; `None` while that has to be looked for.
    place: Option<Place>,
    /// Where a line was no record, so that it is reported once.
    stuck: Option<Place>,
    /// Only what files hold that were written since then, resets included.
    since: Option<SystemTime>,
}

/// A place in a file. The file is known by its first record, because it is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Number of the file's first record; `None` while the file holds none.
    first: Option<u64>,
    /// In bytes.
    offset: u64,
    /// Whether the record before it was a footer, after which another file may go on.
    ended: bool,
}

/// A line, as far as every record is alike.
#[derive(Deserialize)]
struct Head<'a> {
    seq: u64,
    #[serde(borrow)]
    prev: Cow<'a, str>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
}

/// What happened to a chain as far as a round could read it.
enum Step {
    /// A line that was understood.
    Record,
    /// Nothing more for now.
    End,
    /// A line that is no record, or not the next one.
    Bad,
}

impl Chain {
    /// Goes on after a record.
    pub(super) fn after(mark: Mark) -> Self {
        Self {
            mark: Some(mark),
            ..Self::default()
        }
    }

    /// Begins with the first file that was written since then, and shows resets, too.
    pub(super) fn since(since: SystemTime) -> Self {
        Self {
            since: Some(since),
            ..Self::default()
        }
    }

    /// Whether there may be more to read, in other chains.
    pub(super) fn advance(
        &mut self,
        family: &Family,
        name: &str,
        files: &Files,
        sink: &mut Sink<'_>,
    ) -> Result<bool, LogError> {
        let shown: Arc<str> = outside(name).into();
        let mut searched = self.place.is_none();
        if searched {
            self.place = self.find(name, files)?;
        }
        while let Some(place) = self.place {
            let path = match place.first {
                Some(first) => Some(family.rotated(name, first)).filter(|path| path.exists()),
                None => None,
            };
            let path = path.unwrap_or_else(|| family.active(name));
            let Some(mut lines) = Lines::open(&path, place)? else {
                return Ok(true);
            };
            let mut wanted = true;
            let step = loop {
                if !wanted {
                    return Ok(false);
                }
                let step = self.step(&mut lines, &mut |seq, kind, line| {
                    wanted = sink(&shown, seq, kind, line);
                })?;
                if !matches!(step, Step::Record) {
                    break step;
                }
                self.stuck = None;
            };
            match step {
                Step::Bad if !searched && self.place == Some(place) => {
                    // It was rotated between the look and the read, or it is another log's file.
                    searched = true;
                    self.place = self.find(name, files)?;
                }
                Step::Bad => {
                    if self.stuck != self.place {
                        self.stuck = self.place;
                        let (path, at) = (path.display(), lines.place.offset);
                        tracing::warn!(%path, at, "a line is no record; this chain is read no further");
                    }
                    return Ok(true);
                }
                Step::End | Step::Record => match self.successor(family, name)? {
                    Some(next) => self.place = Some(next),
                    None => return Ok(true),
                },
            }
        }
        Ok(true)
    }

    /// Reads one record and shows it if it is the end of an attempt, or a reset where those are wanted.
    fn step(
        &mut self,
        lines: &mut Lines,
        sink: &mut dyn FnMut(u64, Kind, &[u8]),
    ) -> Result<Step, LogError> {
        // The rows of an Execwall OR Gate stand before everything else.
        let may_be_legacy = self.mark.is_none();
        let Some(line) = lines.next()? else {
            return Ok(Step::End);
        };
        if !line::sealed(line) {
            let blank = line.trim_ascii().is_empty();
            if may_be_legacy && (blank || line::legacy(line).is_ok()) {
                lines.accept();
                return Ok(Step::Record);
            }
            return Ok(Step::Bad);
        }
        let Ok(head) = serde_json::from_slice::<Head<'_>>(line) else {
            return Ok(Step::Bad);
        };
        let next = self
            .mark
            .is_none_or(|mark| head.seq == mark.seq + 1 && head.prev.as_bytes() == mark.link);
        if !next {
            return Ok(Step::Bad);
        }
        let footer = head.event.as_deref() == Some("footer");
        let seq = head.seq;
        match head.event.as_deref() {
            None => sink(seq, Kind::Settled, line),
            Some("void") => sink(seq, Kind::Voided, line),
            Some("reset") if self.since.is_some() => sink(seq, Kind::Reset, line),
            Some(_) => {}
        }
        self.mark = Some(Mark {
            seq,
            link: line::link(line),
        });
        lines.place.first.get_or_insert(seq);
        lines.place.ended = footer;
        lines.accept();
        self.place = Some(lines.place);
        Ok(Step::Record)
    }

    /// The file that goes on where a footer ended one.
    fn successor(&self, family: &Family, name: &str) -> Result<Option<Place>, LogError> {
        let (Some(mark), Some(place)) = (self.mark, self.place) else {
            return Ok(None);
        };
        if !place.ended {
            return Ok(None);
        }
        let next = mark.seq + 1;
        let there = family.rotated(name, next).exists()
            || first_record(&family.active(name))?.is_some_and(|head| head.seq == next);
        Ok(there.then_some(Place {
            first: Some(next),
            offset: 0,
            ended: false,
        }))
    }

    /// Where the record after the mark is. A mark that the files do not hold is forgotten.
    fn find(&mut self, name: &str, files: &Files) -> Result<Option<Place>, LogError> {
        let mut segments: Vec<(Option<Mark>, PathBuf)> = Vec::new();
        let mut paths = files.all();
        if let Some(since) = self.since {
            let old = paths.iter().take_while(|path| is_older(path, since));
            paths.drain(..old.count());
        }
        for path in paths {
            segments.push((first_record(&path)?, path));
        }
        let beginning = segments.first().map(|(first, _)| Place {
            first: first.map(|first| first.seq),
            offset: 0,
            ended: false,
        });
        let Some(mark) = self.mark else {
            return Ok(beginning);
        };
        // The record itself, or the one that follows it at the beginning of a file.
        for (first, path) in segments.iter().rev() {
            let Some(first) = first.filter(|first| first.seq <= mark.seq + 1) else {
                continue;
            };
            let place = Place {
                first: Some(first.seq),
                offset: 0,
                ended: false,
            };
            if first.seq == mark.seq + 1 {
                if first.link == mark.link {
                    return Ok(Some(place));
                }
                continue;
            }
            if let Some(place) = after(path, place, mark)? {
                return Ok(Some(place));
            }
            break;
        }
        let chain = outside(name);
        tracing::warn!(
            chain,
            seq = mark.seq,
            "the record last read is not in the spend log; reading begins with what is"
        );
        self.mark = None;
        Ok(beginning)
    }
}

/// Whether a file was last written before that.
fn is_older(path: &Path, since: SystemTime) -> bool {
    let written = std::fs::metadata(path).and_then(|found| found.modified());
    written.is_ok_and(|written| written < since)
}

/// The place after the record `mark` of a file, if it holds it.
fn after(path: &Path, place: Place, mark: Mark) -> Result<Option<Place>, LogError> {
    let Some(mut lines) = Lines::open(path, place)? else {
        return Ok(None);
    };
    while let Some(line) = lines.next()? {
        let sealed = line::sealed(line);
        let head = serde_json::from_slice::<Head<'_>>(line).ok();
        match head.filter(|_| sealed) {
            Some(head) if head.seq == mark.seq => {
                let found = line::link(line) == mark.link;
                lines.place.ended = head.event.as_deref() == Some("footer");
                lines.accept();
                return Ok(found.then_some(lines.place));
            }
            Some(head) if head.seq > mark.seq => break,
            _ => lines.accept(),
        }
    }
    Ok(None)
}

/// Number of a file's first record, and the link it carries to the one before.
fn first_record(path: &Path) -> Result<Option<Mark>, LogError> {
    let place = Place {
        first: None,
        offset: 0,
        ended: false,
    };
    let Some(mut lines) = Lines::open(path, place)? else {
        return Ok(None);
    };
    while let Some(line) = lines.next()? {
        if line::sealed(line) {
            let head = serde_json::from_slice::<Head<'_>>(line).ok();
            return Ok(head.and_then(|head| {
                let link = head.prev.as_bytes().try_into().ok()?;
                Some(Mark {
                    seq: head.seq,
                    link,
                })
            }));
        }
        lines.accept();
    }
    Ok(None)
}

/// Lines of a file that have their end.
struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    line: Vec<u8>,
    /// Before the line read last, until it is accepted.
    place: Place,
}

impl Lines {
    /// `None` when there is no such file.
    fn open(path: &Path, place: Place) -> Result<Option<Self>, LogError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LogError::io(path)(error)),
        };
        file.seek(SeekFrom::Start(place.offset))
            .map_err(LogError::io(path))?;
        Ok(Some(Self {
            reader: BufReader::with_capacity(64 << 10, file),
            path: path.to_owned(),
            line: Vec::new(),
            place,
        }))
    }

    /// The next line without its end; nothing when it has none yet.
    fn next(&mut self) -> Result<Option<&[u8]>, LogError> {
        self.line.clear();
        self.reader
            .read_until(b'\n', &mut self.line)
            .map_err(LogError::io(&self.path))?;
        Ok(self.line.strip_suffix(b"\n"))
    }

    /// Goes on after the line read last.
    fn accept(&mut self) {
        self.place.offset += u64::try_from(self.line.len()).unwrap_or(u64::MAX);
    }
}
