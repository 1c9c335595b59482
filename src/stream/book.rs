//! What is known of an answer, document by document.
//!
//! Decides how a document is read, which is settled once by the dialect, and what of it stands when
//! it says something again. It does not decide which bytes go on; that is the framing's.

use super::meter::Reading;
use super::sse::Ended;
use super::tally::Tally;
use super::usage::{self, Stated};
use super::{chunk, gemini, messages};
use crate::json::Cursor;
use crate::wire::Dialect;

/// What is to be done with an event that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    /// Passed on.
    #[default]
    Pass,
    /// Passed on, though it cannot be read.
    Broken,
    /// Taken out.
    Remove,
    /// The end of the stream.
    Done,
}

/// What is known of an answer, and how it is read on.
pub(super) struct Book {
    pub(super) reading: Reading,
    tally: Tally,
    strip: bool,
    /// `[DONE]` was read: whatever follows is no part of the answer.
    over: bool,
    tongue: Tongue,
}

/// How documents are read.
pub(super) enum Tongue {
    /// As OpenAI's chat completions, legacy completions or responses.
    OpenAi,
    /// As answers that generate no text.
    Embeddings,
    Messages(Box<usage::messages::Counts>),
    Gemini,
}

impl Tongue {
    pub(super) fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Chat | Dialect::Completions | Dialect::Responses => Self::OpenAi,
            Dialect::Embeddings => Self::Embeddings,
            Dialect::Messages => Self::Messages(Box::default()),
            Dialect::Gemini => Self::Gemini,
        }
    }

    /// Whether a stream may have a chunk with the usage only, and an end that is marked.
    pub(super) const fn is_openai(&self) -> bool {
        matches!(self, Self::OpenAi)
    }

    /// Whether answers generate no text.
    pub(super) const fn is_mute(&self) -> bool {
        matches!(self, Self::Embeddings)
    }
}

impl Book {
    pub(super) fn new(tongue: Tongue, strip: bool, count: fn(&str) -> u64, keep: usize) -> Self {
        let mut tally = Tally::new(count);
        tally.keep(keep);
        Self {
            reading: Reading::default(),
            tally,
            strip,
            over: false,
            tongue,
        }
    }

    /// The end: counts what is left to count.
    pub(super) fn finish(&mut self) {
        self.tally.flush();
        self.update();
    }

    /// Reads what the stream's reader found.
    pub(super) fn event(&mut self, ended: Ended<'_>) -> Fate {
        let data = match ended {
            _ if self.over => return Fate::Pass,
            Ended::Nothing | Ended::LineFeed => return Fate::Pass,
            Ended::Oversize(bytes) => {
                self.unread(bytes);
                return Fate::Pass;
            }
            Ended::Data(data) => data.trim_ascii(),
        };
        if data.is_empty() {
            return Fate::Pass;
        }
        if data == b"[DONE]" {
            self.over = true;
            self.reading.done = true;
            return Fate::Done;
        }
        match self.document(data) {
            None => Fate::Broken,
            Some(Document {
                usage_only: true, ..
            }) if self.strip => Fate::Remove,
            Some(_) => Fate::Pass,
        }
    }

    /// Reads a whole answer.
    pub(super) fn answer(&mut self, body: &[u8]) -> Option<Document> {
        let document =
            if matches!(self.tongue, Tongue::Gemini) && body.trim_ascii().starts_with(b"[") {
                self.list(body)
            } else {
                self.document(body)
            }?;
        self.reading.done = true;
        Some(document)
    }

    /// Reads the chunks of an answer that Google sends as an array.
    fn list(&mut self, body: &[u8]) -> Option<Document> {
        let size = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX);
        let Ok(text) = std::str::from_utf8(body) else {
            self.unread(u64::try_from(body.len()).unwrap_or(u64::MAX));
            return None;
        };
        let mut read = 0;
        let mut cursor = Cursor::new(text);
        let whole = cursor.array(|one| {
            let raw = one.skip()?;
            read += size(raw);
            self.document(raw.as_bytes());
            Some(())
        });
        if whole.is_none() || !cursor.at_end() {
            self.unread(size(text).saturating_sub(read));
            return None;
        }
        Some(Document::default())
    }

    /// Whether `[DONE]` was read.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Counts bytes that nobody reads.
    pub(super) fn unread(&mut self, bytes: u64) {
        if !self.tongue.is_mute() {
            self.tally.add_bytes(bytes);
        }
    }

    fn document(&mut self, data: &[u8]) -> Option<Document> {
        let document = std::str::from_utf8(data)
            .ok()
            .and_then(|text| self.text(text));
        if document.is_none() {
            self.unread(u64::try_from(data.len()).unwrap_or(u64::MAX));
        }
        document
    }

    fn text(&mut self, text: &str) -> Option<Document> {
        let Self { reading, tally, .. } = self;
        match &mut self.tongue {
            Tongue::OpenAi | Tongue::Embeddings => {
                let seen = chunk::read(text, reading, tally)?;
                if let Some(raw) = seen.usage {
                    self.usage(usage::read(raw));
                }
                self.reading.done |= seen.terminal;
                Some(Document {
                    empty: seen.fields == 0,
                    usage_only: seen.choices == Some(0) && seen.usage.is_some() && !seen.extra,
                })
            }
            Tongue::Messages(counts) => {
                let terminal = messages::read(text, reading, tally, counts)?;
                reading.done |= terminal;
                Some(Document::default())
            }
            Tongue::Gemini => {
                let seen = gemini::read(text, reading, tally)?;
                if let Some(raw) = seen.usage {
                    self.usage(usage::gemini::read(raw));
                }
                self.reading.done |= seen.terminal;
                Some(Document::default())
            }
        }
    }

    fn usage(&mut self, stated: Result<Option<Stated>, ()>) {
        match stated {
            Ok(None) => {}
            Ok(Some(stated)) => {
                self.reading.usage = stated.usage;
                self.reading.total_tokens = stated.total;
                self.reading.cost = stated.cost;
                self.reading.upstream_cost = stated.upstream_cost;
                self.reading.is_byok = stated.byok;
            }
            Err(()) => self.reading.usage_invalid = true,
        }
    }

    /// The beginning of the text, where it was kept.
    pub(super) fn text_kept(&mut self) -> String {
        self.tally.take()
    }

    /// Brings the counts of the reading up to date.
    pub(super) fn update(&mut self) {
        self.reading.own_output = self.tally.tokens();
        self.reading.saw_content = self.tally.any();
    }
}

/// What a document is, once read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Document {
    /// An object without members.
    pub(super) empty: bool,
    /// A chunk that carries usage and nothing else.
    pub(super) usage_only: bool,
}
