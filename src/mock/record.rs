//! The exact record of what was asked and what was produced: what a bill is checked against.
//!
//! Every request gets a number when it was read in full, a `start` line before the first byte of
//! its answer and an `end` line when the last byte was handed to the socket or the exchange was
//! given up. A file keeps both lines even when the mock is killed: each is one write. In memory the
//! last few are kept.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderMap;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::announced::Announced;

/// One exchange, as far as it has come.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Record {
    /// The number of the request, from 1, in the order in which requests were read.
    pub seq: u64,
    /// When the request had been read, in milliseconds since 1970.
    pub at_millis: u64,
    /// The path, without the query.
    pub path: String,
    /// The interface: `chat`, `azure`, `completions`, `embeddings`, `responses`, `messages`,
    /// `count_tokens`, `gemini` or `gemini_count`.
    pub dialect: &'static str,
    /// The name of the header that carried the key.
    pub auth_header: Option<&'static str>,
    /// `http/1.0`, `http/1.1` or `h2`.
    pub protocol: &'static str,
    /// `x-request-id` as received.
    pub request_id: Option<String>,
    /// `x-weir-request-id` as received.
    pub weir_request_id: Option<String>,
    /// The `tag` key.
    pub tag: Option<String>,
    /// The `key` key.
    pub key: Option<String>,
    /// Which attempt of `key` this is, from 1; 0 without a key.
    pub attempt: u64,
    /// Length of the request body.
    pub body_bytes: u64,
    /// Whether an event stream was asked for.
    pub stream: bool,
    /// The `model` that was asked for.
    pub model_asked: Option<String>,
    /// The model that answered.
    pub model: String,
    /// What the mock counts for the prompt.
    pub prompt_tokens: u64,
    /// Why the request was refused as invalid.
    pub refused: Option<String>,
    /// The status that was answered; absent while nothing was.
    pub status: Option<u16>,
    /// Content chunks handed to the socket (events, when a recorded stream is replayed). Each is one
    /// completion token.
    pub produced: u64,
    /// What the prompt and the produced chunks cost by the mock's price table, whatever was
    /// announced; zero when nothing was produced.
    pub produced_cost_nanos: i64,
    /// The usage that was handed to the socket, if any was.
    pub announced: Option<Announced>,
    /// Whether the whole answer was handed to the socket.
    pub completed: bool,
    /// Whether the peer left before that. `produced` says how far the answer had come.
    pub peer_left: bool,
    /// Whether the exchange is over.
    pub ended: bool,
    /// How long the exchange took.
    pub millis: u64,
    /// The request itself, when the mock keeps requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Arc<Received>>,
}

/// A request as it arrived.
#[derive(Debug, Default)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The query string.
    pub query: Option<String>,
    /// The headers, repeated ones in their order.
    pub headers: HeaderMap,
    /// The body, without its transfer coding.
    pub body: Bytes,
}

impl Serialize for Received {
    /// The body as text; every header with all its values.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers: BTreeMap<&str, Vec<String>> = self
            .headers
            .keys()
            .map(|name| {
                let values = self.headers.get_all(name).iter();
                (
                    name.as_str(),
                    values.map(|value| text(value.as_bytes())).collect(),
                )
            })
            .collect();
        let mut fields = serializer.serialize_struct("Received", 4)?;
        fields.serialize_field("method", &self.method)?;
        fields.serialize_field("query", &self.query)?;
        fields.serialize_field("headers", &headers)?;
        fields.serialize_field("body", &text(&self.body))?;
        fields.end()
    }
}

/// Totals since the mock started.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) streams: AtomicU64,
    pub(super) open_streams: AtomicU64,
    pub(super) open_requests: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) open_connections: AtomicU64,
    pub(super) completed: AtomicU64,
    pub(super) peer_left: AtomicU64,
    pub(super) produced: AtomicU64,
    pub(super) announced_nanos: AtomicU64,
}

impl Counters {
    pub(super) fn json(&self) -> String {
        serde_json::json!({
            "requests": self.requests.load(Relaxed),
            "refused": self.refused.load(Relaxed),
            "streams": self.streams.load(Relaxed),
            "open_streams": self.open_streams.load(Relaxed),
            "open_requests": self.open_requests.load(Relaxed),
            "connections": self.connections.load(Relaxed),
            "open_connections": self.open_connections.load(Relaxed),
            "completed": self.completed.load(Relaxed),
            "peer_left": self.peer_left.load(Relaxed),
            "produced_chunks": self.produced.load(Relaxed),
            "announced_cost_nanos": self.announced_nanos.load(Relaxed),
        })
        .to_string()
    }
}

/// Keeps the records.
pub(super) struct Recorder {
    pub(super) counters: Counters,
    kept: Mutex<Kept>,
    keep: usize,
    file: Option<Mutex<File>>,
}

#[derive(Default)]
struct Kept {
    next: u64,
    /// The number of the first record in `records`; the others follow without gaps.
    first: u64,
    records: VecDeque<Record>,
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    #[serde(flatten)]
    record: &'a Record,
}

impl Recorder {
    pub(super) fn open(keep: usize, file: Option<&Path>) -> std::io::Result<Self> {
        let file = file
            .map(|path| File::options().create(true).append(true).open(path))
            .transpose()?;
        Ok(Self {
            counters: Counters::default(),
            kept: Mutex::new(Kept {
                next: 1,
                first: 1,
                records: VecDeque::new(),
            }),
            keep,
            file: file.map(Mutex::new),
        })
    }

    /// Numbers the request and records its start.
    pub(super) fn start(self: &Arc<Self>, mut record: Record) -> Exchange {
        self.counters.requests.fetch_add(1, Relaxed);
        self.counters.open_requests.fetch_add(1, Relaxed);
        if record.stream {
            self.counters.streams.fetch_add(1, Relaxed);
            self.counters.open_streams.fetch_add(1, Relaxed);
        }
        record.at_millis = millis(SystemTime::now());
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            record.seq = kept.next;
            kept.next += 1;
            if self.keep > 0 {
                if kept.records.len() == self.keep {
                    kept.records.pop_front();
                    kept.first += 1;
                }
                if kept.records.is_empty() {
                    kept.first = record.seq;
                }
                kept.records.push_back(record.clone());
            }
        }
        self.write("start", &record);
        Exchange {
            recorder: Arc::clone(self),
            record,
        }
    }

    /// The records kept, oldest first.
    pub(super) fn records(&self) -> Vec<Record> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.records.iter().cloned().collect()
    }

    /// Forgets the records of the exchanges that are over; the numbering and the totals go on.
    pub(super) fn clear(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.records.clear();
    }

    fn end(&self, record: &Record) {
        let counters = &self.counters;
        counters.open_requests.fetch_sub(1, Relaxed);
        if record.stream {
            counters.open_streams.fetch_sub(1, Relaxed);
        }
        counters
            .completed
            .fetch_add(u64::from(record.completed), Relaxed);
        counters
            .peer_left
            .fetch_add(u64::from(record.peer_left), Relaxed);
        counters
            .refused
            .fetch_add(u64::from(record.refused.is_some()), Relaxed);
        counters.produced.fetch_add(record.produced, Relaxed);
        let cost = record.announced.and_then(|says| says.cost_nanos);
        let cost = cost
            .and_then(|nanos| u64::try_from(nanos).ok())
            .unwrap_or(0);
        counters.announced_nanos.fetch_add(cost, Relaxed);
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let index = record.seq.checked_sub(kept.first);
            let index = index.and_then(|index| usize::try_from(index).ok());
            if let Some(slot) = index.and_then(|index| kept.records.get_mut(index)) {
                *slot = record.clone();
            }
        }
        self.write("end", record);
    }

    fn write(&self, event: &'static str, record: &Record) {
        let Some(file) = &self.file else { return };
        // Prompts and keys stay out of the file.
        let record = &Record {
            request: None,
            ..record.clone()
        };
        let Ok(mut line) = serde_json::to_vec(&Line { event, record }) else {
            return;
        };
        line.push(b'\n');
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&line) {
            tracing::error!(%error, "the record of a request could not be written");
        }
    }
}

/// A started exchange. However it ends, even by being dropped, its end is recorded.
pub(super) struct Exchange {
    recorder: Arc<Recorder>,
    pub(super) record: Record,
}

impl Exchange {
    /// Writes down that `produced` content chunks have been handed to the socket.
    pub(super) fn produced(&mut self, produced: u64) {
        let record = &mut self.record;
        record.produced = produced;
        if produced > 0 {
            let cost = super::price::cost(&record.model, record.prompt_tokens, produced);
            record.produced_cost_nanos = cost.0;
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.record.ended = true;
        self.record.millis = millis(SystemTime::now()).saturating_sub(self.record.at_millis);
        self.recorder.end(&self.record);
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_records_are_kept_and_each_gets_its_own_end() {
        let recorder = Arc::new(Recorder::open(2, None).unwrap());
        let first = recorder.start(Record::default());
        let second = recorder.start(Record::default());
        let mut third = recorder.start(Record::default());
        third.produced(7);
        drop(first);
        drop(third);
        let kept = recorder.records();
        assert_eq!(
            kept.iter().map(|r| (r.seq, r.ended)).collect::<Vec<_>>(),
            [(2, false), (3, true)]
        );
        assert_eq!(kept[1].produced, 7);
        recorder.clear();
        let fourth = recorder.start(Record::default());
        drop(second);
        drop(fourth);
        assert_eq!(recorder.records().len(), 1);
        assert_eq!(recorder.records()[0].seq, 4);
    }
}
