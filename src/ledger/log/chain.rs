//! Reading a chain: line after line, file after file, each record linked to the one before.
//!
//! Decides what is an invalid tail (nothing valid follows) and what is damage (something does).

use super::LogError;
use super::line::{self, Entry, Link};
use std::path::Path;
use std::sync::Arc;

/// Where in a chain a reader is.
#[derive(Clone, Debug)]
pub(in crate::ledger) struct Cursor {
    /// The chain.
    pub(in crate::ledger) chain: Arc<str>,
    /// The last record read and its link; `None` before the first one.
    pub(in crate::ledger) last: Option<(u64, Link)>,
}

/// What reading a file came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::ledger) struct Read {
    /// Records, those of the Execwall OR Gate included.
    pub(in crate::ledger) records: u64,
    /// Records of the Execwall OR Gate.
    pub(in crate::ledger) legacy: u64,
    /// Bytes up to the end of the last valid record.
    pub(in crate::ledger) valid: u64,
    /// Bytes of an invalid tail after it.
    pub(in crate::ledger) tail: u64,
    /// Whether the last record is one of the Execwall OR Gate's without its line end.
    pub(in crate::ledger) unterminated: bool,
}

/// A line that is no record, and what is wrong with it.
struct Bad {
    reason: &'static str,
    /// Whether the line itself is whole, so that its place in the chain is what is wrong.
    whole: bool,
}

impl Cursor {
    /// Before the first record of a chain, or before any record of it that one cares to read.
    pub(in crate::ledger) fn new(chain: &str) -> Self {
        Self {
            chain: chain.into(),
            last: None,
        }
    }

    /// Reads the records in `bytes`, which are `path` from byte `from` on.
    ///
    /// # Errors
    /// [`LogError::Damaged`] for an invalid line that a valid one follows, and for any invalid line
    /// when `may_end_torn` is false.
    pub(in crate::ledger) fn read(
        &mut self,
        path: &Path,
        from: u64,
        bytes: &[u8],
        may_end_torn: bool,
        sink: &mut dyn FnMut(Entry),
    ) -> Result<Read, LogError> {
        let mut read = Read::default();
        let mut legacy = from == 0;
        let mut at = 0;
        while at < bytes.len() {
            let end = memchr::memchr(b'\n', &bytes[at..]).map(|length| at + length);
            let line = &bytes[at..end.unwrap_or(bytes.len())];
            match self.line(line, end.is_some(), &mut legacy) {
                Ok(None) => {}
                Ok(Some(entry)) => {
                    read.records += 1;
                    read.legacy += u64::from(entry.seq == 0);
                    read.unterminated = end.is_none();
                    sink(entry);
                }
                Err(bad) => {
                    let rest = end.map_or(&bytes[bytes.len()..], |end| &bytes[end + 1..]);
                    if bad.whole || !may_end_torn || any_valid(rest, legacy) {
                        let at = from + offset(at);
                        return Err(LogError::Damaged {
                            path: path.to_owned(),
                            at,
                            reason: bad.reason,
                        });
                    }
                    read.tail = offset(bytes.len() - at);
                    break;
                }
            }
            at = end.map_or(bytes.len(), |end| end + 1);
            read.valid = offset(at);
        }
        Ok(read)
    }

    fn line(&mut self, line: &[u8], ended: bool, legacy: &mut bool) -> Result<Option<Entry>, Bad> {
        let broken = |reason| Bad {
            reason,
            whole: false,
        };
        if *legacy {
            if line.trim_ascii().is_empty() && ended {
                return Ok(None);
            }
            if !line::sealed(line) {
                return line::legacy(line).map(Some).map_err(broken);
            }
            *legacy = false;
        }
        if !ended {
            return Err(broken("no line end"));
        }
        let entry = line::ours(line, &self.chain).map_err(broken)?;
        if let Some((seq, link)) = self.last {
            if entry.seq != seq + 1 {
                return Err(Bad {
                    reason: "sequence number out of order",
                    whole: true,
                });
            }
            if entry.prev != link {
                return Err(Bad {
                    reason: "not linked to the record before",
                    whole: true,
                });
            }
        }
        self.last = Some((entry.seq, line::link(line)));
        Ok(Some(entry))
    }
}

/// Whether any whole line of `rest` is a valid record by itself.
fn any_valid(rest: &[u8], legacy: bool) -> bool {
    let mut lines = rest
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines.any(|line| line::sealed(line) || (legacy && line::legacy(line).is_ok()))
}

fn offset(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
