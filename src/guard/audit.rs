//! The audit: lines that cannot be changed afterwards without it being seen.
//!
//! Decides how a line looks and how it is tied to the one before: each has a number, the hash of the line
//! before it, and the SHA-256 of all that stands before its own hash. Whoever changes, takes away or adds a
//! line in the middle must write every later line anew; the newest hash, kept elsewhere, shows that too.
//!
//! A line says what happened and to whom, never what was found: callers are shown as the beginning of a
//! digest, and no text of a prompt or an answer is ever part of it.

use super::finding::{Finding, Severity};
use super::quarantine::Who;
use crate::identity::{AgentId, KeyId, RequestId};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The version of the fields.
const VERSION: u32 = 1;

/// What stands between a line and its hash.
const MARK: &str = ",\"hash\":\"";

/// The hexadecimal digits of a hash.
const DIGITS: usize = 64;

/// What an audit tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The texts of a caller were judged.
    InputValidation,
    /// An answer was judged.
    OutputFilter,
    /// An answer held the token of its session.
    CanaryTokenLeak,
    /// A caller was put into quarantine.
    Quarantine,
    /// A quarantine was lifted.
    QuarantineLifted,
    /// Somebody changed something through the admin API.
    AdminChange,
    /// The audit itself: lines that could not be written, a line that a crash has cut.
    Audit,
}

impl Event {
    /// Its name in lines and queries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InputValidation => "input_validation",
            Self::OutputFilter => "output_filter",
            Self::CanaryTokenLeak => "canary_token_leak",
            Self::Quarantine => "quarantine",
            Self::QuarantineLifted => "quarantine_lifted",
            Self::AdminChange => "admin_change",
            Self::Audit => "audit",
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What.
    pub event: Event,
    /// How bad it is.
    pub severity: Severity,
    /// What was done about it: `passed`, `sanitized`, `blocked`, `redacted`, `refused`, ...
    pub outcome: &'static str,
    /// The caller, where it is known.
    pub who: Option<Who>,
    /// The key's public id.
    pub key: Option<KeyId>,
    /// The agent.
    pub agent: Option<AgentId>,
    /// The request.
    pub request: Option<RequestId>,
    /// The session, as people are shown it.
    pub session: Option<String>,
    /// Rules that found something, by what they look for and their names, and how often.
    pub findings: Vec<Found>,
    /// What else there is to say.
    pub details: Map<String, Value>,
}

/// Something that a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What was looked for: `injection`, `secret`, ...
    pub kind: String,
    /// The rule.
    pub rule: String,
    /// How often.
    pub count: u32,
}

impl From<&Finding> for Found {
    fn from(finding: &Finding) -> Self {
        Self {
            kind: finding.control.name().to_owned(),
            rule: finding.rule.to_string(),
            count: finding.count,
        }
    }
}

impl Entry {
    /// Something that happened to nobody yet.
    pub fn new(event: Event, severity: Severity, outcome: &'static str) -> Self {
        Self {
            event,
            severity,
            outcome,
            who: None,
            key: None,
            agent: None,
            request: None,
            session: None,
            findings: Vec::new(),
            details: Map::new(),
        }
    }

    /// With one more thing to say.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    fn fields(&self, seq: u64, at: u64, prev: &Hash) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| {
            fields.insert(name.to_owned(), value);
        };
        let time = i64::try_from(at).ok();
        let time = time.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        put("v", VERSION.into());
        put("seq", seq.into());
        put("timestamp", time.map(|time| format!("{time:.3}")).into());
        put("at", at.into());
        put("event", self.event.name().into());
        put("severity", self.severity.name().into());
        put("outcome", self.outcome.into());
        if let Some(who) = self.who {
            put("caller", who.masked().into());
        }
        if let Some(key) = &self.key {
            put("key_id", key.as_str().into());
        }
        if let Some(agent) = &self.agent {
            put("agent_id", agent.as_str().into());
        }
        if let Some(request) = self.request {
            put("request_id", request.to_string().into());
        }
        if let Some(session) = &self.session {
            put("session", session.as_str().into());
        }
        if !self.findings.is_empty() {
            let findings = self.findings.iter();
            let findings = findings
                .map(|found| json!({"type": found.kind, "rule": found.rule, "count": found.count}));
            put("findings", findings.collect());
        }
        if !self.details.is_empty() {
            put("details", Value::Object(self.details.clone()));
        }
        put("prev", prev.to_string().into());
        fields
    }
}

/// The hash of a line.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Hash([u8; 32]);

impl Hash {
    fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    fn parse(text: &str) -> Option<Self> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != DIGITS || !text.bytes().all(digit) {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a chain has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The number of the last line; 0 before the first.
    pub seq: u64,
    /// Its hash; zeros before the first.
    pub hash: Hash,
}

impl Head {
    /// The next line, without its end. `at` is in Unix milliseconds.
    pub fn write(&mut self, entry: &Entry, at: u64) -> String {
        let seq = self.seq + 1;
        let fields = Value::Object(entry.fields(seq, at, &self.hash)).to_string();
        // Without the bracket that ends it, which comes after the hash.
        let mut line = fields;
        line.pop();
        let hash = Hash::of(&line);
        line.push_str(MARK);
        line.push_str(&hash.to_string());
        line.push_str("\"}");
        *self = Self { seq, hash };
        line
    }
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It is no line of an audit at all.
    #[error("it is no line of an audit")]
    Unreadable,
    /// Its hash is not that of what stands there.
    #[error("it was changed: its hash is not that of its text")]
    Changed,
    /// It does not follow the line before it.
    #[error("it does not follow the line before it: a line was taken away, added or moved")]
    Torn,
}

/// A line that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Where the chain has come to with it.
    pub head: Head,
    /// The hash of the line before it.
    pub prev: Hash,
    /// When it was written, in Unix milliseconds.
    pub at: u64,
    /// All its fields.
    pub fields: Value,
}

impl Line {
    /// Reads a line and makes sure that its hash is that of its text.
    ///
    /// # Errors
    /// [`Broken::Unreadable`] or [`Broken::Changed`].
    pub fn read(text: &str) -> Result<Self, Broken> {
        let at = text.rfind(MARK).ok_or(Broken::Unreadable)?;
        let (body, rest) = text.split_at(at);
        let hash = rest
            .strip_prefix(MARK)
            .and_then(|rest| rest.strip_suffix("\"}"));
        let hash = hash.and_then(Hash::parse).ok_or(Broken::Unreadable)?;
        if Hash::of(body) != hash {
            return Err(Broken::Changed);
        }
        let fields: Value = serde_json::from_str(text).map_err(|_| Broken::Unreadable)?;
        let number = |name: &str| fields.get(name).and_then(Value::as_u64);
        let prev = fields.get("prev").and_then(Value::as_str);
        let (Some(seq), Some(at), Some(prev)) =
            (number("seq"), number("at"), prev.and_then(Hash::parse))
        else {
            return Err(Broken::Unreadable);
        };
        Ok(Self {
            head: Head { seq, hash },
            prev,
            at,
            fields,
        })
    }

    /// Whether it follows a line.
    pub fn follows(&self, before: &Head) -> bool {
        self.prev == before.hash && self.head.seq == before.seq + 1
    }
}

/// Reads a chain line by line.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    head: Option<Head>,
    first: u64,
    lines: u64,
}

impl Verifier {
    /// The next line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn line(&mut self, text: &str) -> Result<Line, Broken> {
        let line = Line::read(text)?;
        match self.head {
            // The first of a file may follow one that is not kept any more, but not nothing.
            None if line.head.seq == 1 && !line.follows(&Head::default()) => {
                return Err(Broken::Torn);
            }
            Some(head) if !line.follows(&head) => return Err(Broken::Torn),
            None => self.first = line.head.seq,
            Some(_) => {}
        }
        self.head = Some(line.head);
        self.lines += 1;
        Ok(line)
    }

    /// Where the chain has come to.
    pub fn head(&self) -> Head {
        self.head.unwrap_or_default()
    }

    /// The number of the first line that was read; 0 for none.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Lines that were read.
    pub fn lines(&self) -> u64 {
        self.lines
    }
}

#[cfg(test)]
mod tests;
