//! Prompts and answers on their way to their rows.
//!
//! Decides what of a request is kept and how much: the messages as they came and the text of the
//! answer, 64 KiB of each. They are in no log, so they wait in memory, bounded, until the record of
//! their attempt has become a row; what does not fit or waits too long is lost, and counted.

use super::record::clean;
use super::write::Text;
use crate::guard::stored::Stored;
use crate::identity::AttemptId;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most of a prompt, and of an answer, that is kept, in bytes.
pub const LONGEST: usize = 64 << 10;

/// The most that waits, in bytes, and the most texts.
const ROOM: usize = 64 << 20;
const PLACES: usize = 20_000;

/// How long a text waits for its row, as long as the store can be reached.
const PATIENCE: Duration = Duration::from_secs(600);

/// What was said in one attempt.
pub struct Said {
    /// Which attempt.
    pub attempt: AttemptId,
    /// The request as the client sent it.
    pub request: Bytes,
    /// The text of the answer.
    pub answer: String,
}

impl Said {
    fn size(&self) -> usize {
        self.request.len() + self.answer.len()
    }
}

/// Texts that wait for the worker.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    lost: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    said: VecDeque<Said>,
    bytes: usize,
}

impl Queue {
    /// Takes a text in, unless there is no room.
    pub(super) fn push(&self, said: Said) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = waiting.bytes.saturating_add(said.size());
        if bytes > ROOM || waiting.said.len() >= PLACES {
            drop(waiting);
            self.lose(1);
            return;
        }
        waiting.bytes = bytes;
        waiting.said.push_back(said);
    }

    fn pop(&self) -> Option<Said> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let said = waiting.said.pop_front()?;
        waiting.bytes = waiting.bytes.saturating_sub(said.size());
        Some(said)
    }

    pub(super) fn lose(&self, texts: usize) {
        let texts = u64::try_from(texts).unwrap_or(u64::MAX);
        self.lost.fetch_add(texts, Ordering::Relaxed);
    }

    /// Texts that no row will have.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Texts of which the rows are not there yet.
#[derive(Default)]
pub(super) struct Pending {
    texts: HashMap<String, (Text, Instant)>,
    bytes: usize,
}

impl Pending {
    /// Takes over what waits.
    pub(super) fn gather(&mut self, queue: &Queue, redacts: bool) {
        while let Some(said) = queue.pop() {
            let text = prepared(&said, redacts);
            let bytes = size(&text);
            if self.bytes + bytes > ROOM || self.texts.len() >= PLACES {
                queue.lose(1);
                continue;
            }
            self.bytes += bytes;
            self.texts
                .insert(text.attempt_id.clone(), (text, Instant::now()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// At most `most` of them.
    pub(super) fn some(&self, most: usize) -> Vec<Text> {
        let texts = self.texts.values().take(most);
        texts.map(|(text, _)| text.clone()).collect()
    }

    /// Those of `ids`, at most `most`.
    pub(super) fn of<'a>(&self, ids: impl Iterator<Item = &'a str>, most: usize) -> Vec<Text> {
        let texts = ids.filter_map(|id| self.texts.get(id));
        texts.take(most).map(|(text, _)| text.clone()).collect()
    }

    /// These are written.
    pub(super) fn done(&mut self, ids: &HashSet<String>) {
        for id in ids {
            self.drop_one(id);
        }
    }

    /// Gives up those that have waited too long.
    pub(super) fn expire(&mut self, queue: &Queue) {
        let old = |(_, since): &&(Text, Instant)| since.elapsed() > PATIENCE;
        let ids: Vec<String> = self
            .texts
            .values()
            .filter(old)
            .map(|(text, _)| text.attempt_id.clone())
            .collect();
        queue.lose(ids.len());
        for id in &ids {
            self.drop_one(id);
        }
    }

    pub(super) fn drop_one(&mut self, id: &str) {
        if let Some((text, _)) = self.texts.remove(id) {
            self.bytes = self.bytes.saturating_sub(size(&text));
        }
    }
}

fn size(text: &Text) -> usize {
    let messages = text.messages.as_ref().map_or(0, |raw| raw.get().len());
    messages + text.response_text.as_ref().map_or(0, String::len) + 256
}

/// A request, as far as it is kept: every dialect has its own word for the prompt.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    contents: Option<&'a RawValue>,
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    max_output_tokens: Option<i64>,
    #[serde(borrow, rename = "generationConfig")]
    generation: Option<Generation<'a>>,
}

#[derive(Deserialize)]
struct Generation<'a> {
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(rename = "maxOutputTokens")]
    max_output_tokens: Option<i64>,
}

fn prepared(said: &Said, redacts: bool) -> Text {
    let mut stored = redacts.then(Stored::default);
    let asked: Option<Asked<'_>> = serde_json::from_slice(&said.request).ok();
    let asked = asked.as_ref();
    let prompt = asked.and_then(|asked| {
        let own = asked.messages.or(asked.input);
        own.or(asked.prompt).or(asked.contents)
    });
    let generation = asked.and_then(|asked| asked.generation.as_ref());
    let is_number = |raw: &&RawValue| {
        raw.get()
            .starts_with(|c: char| c == '-' || c.is_ascii_digit())
    };
    let temperature = asked
        .and_then(|asked| asked.temperature)
        .or_else(|| generation.and_then(|generation| generation.temperature));
    let max_tokens = asked.and_then(|asked| {
        let most = asked.max_completion_tokens.or(asked.max_tokens);
        most.or(asked.max_output_tokens)
    });
    Text {
        attempt_id: said.attempt.to_string(),
        messages: prompt.and_then(|raw| match &mut stored {
            // What cannot be searched is not kept.
            Some(stored) => kept(&stored.json(raw.get())?),
            None => kept(raw.get()),
        }),
        response_text: (!said.answer.is_empty()).then(|| match &mut stored {
            Some(stored) => clean(&stored.text(&said.answer), LONGEST),
            None => clean(&said.answer, LONGEST),
        }),
        temperature: temperature.filter(is_number).map(ToOwned::to_owned),
        max_tokens: max_tokens
            .or_else(|| generation.and_then(|generation| generation.max_output_tokens)),
    }
}

/// A prompt as JSON that a database takes. One that is too long is its beginning, as text.
fn kept(raw: &str) -> Option<Box<RawValue>> {
    if raw.len() <= LONGEST
        && let Ok(whole) = RawValue::from_string(without_zeros(raw))
    {
        return Some(whole);
    }
    let text = serde_json::to_string(&clean(raw, LONGEST)).ok()?;
    RawValue::from_string(without_zeros(&text)).ok()
}

/// JSON text in which no string has a zero character: PostgreSQL takes none, not even escaped.
fn without_zeros(raw: &str) -> String {
    if !raw.contains("\\u0000") {
        return raw.to_owned();
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = escape.strip_prefix("\\u0000") {
            out.push_str("\\ufffd");
            rest = after;
            continue;
        }
        let length = escape.chars().take(2).map(char::len_utf8).sum();
        out.push_str(&escape[..length]);
        rest = &escape[length..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(request: &str, answer: &str) -> Said {
        Said {
            attempt: "req_94bc3b72001cf0d82bbe72907a-1".parse().unwrap(),
            request: Bytes::copy_from_slice(request.as_bytes()),
            answer: answer.into(),
        }
    }

    #[test]
    fn every_dialect_has_its_prompt_and_its_limits() {
        for (request, messages, temperature, most) in [
            (
                r#"{"messages":[{"role":"user"}],"temperature":0.7,"max_tokens":9}"#,
                r#"[{"role":"user"}]"#,
                Some("0.7"),
                Some(9),
            ),
            (
                r#"{"input":"hi","max_output_tokens":3,"temperature":null}"#,
                r#""hi""#,
                None,
                Some(3),
            ),
            (
                r#"{"prompt":["a"],"max_completion_tokens":4,"max_tokens":5}"#,
                r#"["a"]"#,
                None,
                Some(4),
            ),
            (
                r#"{"contents":[],"generationConfig":{"temperature":1,"maxOutputTokens":2}}"#,
                "[]",
                Some("1"),
                Some(2),
            ),
        ] {
            let text = prepared(&said(request, ""), false);
            assert_eq!(text.messages.unwrap().get(), messages);
            assert_eq!(
                text.temperature.as_deref().map(RawValue::get),
                temperature,
                "{request}"
            );
            assert_eq!((text.max_tokens, text.response_text), (most, None));
        }
        let text = prepared(&said("no JSON", "a\0b"), false);
        assert!(text.messages.is_none());
        assert_eq!(text.response_text.unwrap(), "a\u{fffd}b");
        let text = prepared(
            &said(
                r#"{"input":"ask ann@example.org"}"#,
                "she is ann@example.org",
            ),
            true,
        );
        assert_eq!(text.messages.unwrap().get(), "\"ask [REDACTED_EMAIL_1]\"");
        assert_eq!(text.response_text.unwrap(), "she is [REDACTED_EMAIL_1]");
    }

    #[test]
    fn a_prompt_that_is_too_long_is_kept_as_its_beginning() {
        let long = format!(r#"{{"messages":["{}"]}}"#, "ä".repeat(LONGEST));
        let text = prepared(&said(&long, &"x".repeat(2 * LONGEST)), false);
        let kept: String = serde_json::from_str(text.messages.unwrap().get()).unwrap();
        assert!(kept.len() <= LONGEST && kept.starts_with("[\"ää"));
        assert_eq!(text.response_text.unwrap().len(), LONGEST);
    }

    #[test]
    fn what_has_no_room_or_no_row_is_counted_as_lost() {
        let queue = Queue::default();
        for _ in 0..3 {
            queue.push(said("{}", &"x".repeat(30 << 20)));
        }
        assert_eq!(queue.lost(), 1);
        let mut pending = Pending::default();
        pending.gather(&queue, false);
        assert_eq!(pending.some(9).len(), 1, "one attempt, said twice");
        let id = "req_94bc3b72001cf0d82bbe72907a-1";
        assert_eq!(pending.of([id, "other"].into_iter(), 9).len(), 1);
        pending.expire(&queue);
        assert!(!pending.is_empty());
        pending.done(&HashSet::from([id.to_owned()]));
        assert!(pending.is_empty());
        queue.push(said("{}", "x"));
        assert_eq!(queue.lost(), 1, "there is room again");
    }

    proptest! {
        #[test]
        fn zeros_go_and_everything_else_stays(text in "[\\x00\\\\\"u0a]{0,40}") {
            let raw = serde_json::to_string(&text).unwrap();
            let out: String = serde_json::from_str(&without_zeros(&raw)).unwrap();
            prop_assert_eq!(out, text.replace('\0', "\u{fffd}"));
        }
    }
}
