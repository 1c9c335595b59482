//! A stand-in for a model provider, and the scripted provider of the tests.
//!
//! Answers as the real one does, streamed or not, does on request everything a provider may do
//! wrong, and keeps an exact record of what it produced, so that a bill can be compared with it. It
//! refuses with 400 what no gateway may send: both `Content-Length` and `Transfer-Encoding`, headers
//! of the hop before, duplicate fields and the like; and whatever the real provider would refuse of
//! a request, so that a wrong translation shows. It shares no price and no parser with the gateway's
//! own way of reading answers.
//!
//! The end of the path says which interface is spoken, after any prefix:
//!
//! | `POST` | spoken | besides |
//! |---|---|---|
//! | `/chat/completions` | OpenRouter, or OpenAI with `dialect=openai` | |
//! | `/openai/deployments/{deployment}/chat/completions` | Azure | wants `api-version` and the header `api-key` |
//! | `/completions`, `/embeddings` | the same two, also below a deployment | |
//! | `/responses` | OpenAI's Responses, also OpenRouter's | |
//! | `/messages`, `/messages/count_tokens` | Anthropic | wants `anthropic-version`, `model` and `max_tokens`, except at `/api/messages` |
//! | `/models/{model}:generateContent`, `:streamGenerateContent?alt=sse`, `:countTokens` | Gemini | wants the header `x-goog-api-key`, and no key in the query |
//!
//! Also: `GET /health`, `GET {any prefix}/models`, `GET /stats` (totals), `GET /requests` (the
//! records), `DELETE /requests` (forgets records and attempts).
//!
//! # Telling the mock what to do
//!
//! `key=value` pairs come from, each over the one before: the process's own defaults; the query
//! string; the header `x-mock: key=value key=value`; and `[[key=value key=value]]` in the first 8 KiB
//! of the body, for example in the prompt, which survives every gateway. An unknown key is answered
//! with 400. What an interface has no place for is passed over.
//!
//! | key | meaning |
//! |---|---|
//! | `chunks=64` | content chunks per choice; the limit of the request limits them, with its reason to stop |
//! | `delay_ms`, `lat_ms` | milliseconds before each content chunk, before the head |
//! | `coalesce=1` | one write for everything due at the same time; else one write per event |
//! | `split=N` | write the body in pieces of N bytes (the rest before a delay, fault or end is shorter) |
//! | `crlf=1`, `comment=1`, `gzip=1` | CR LF line ends; `: OPENROUTER PROCESSING`; compressed unasked |
//! | `done=on`, `off` | `[DONE]` or none, whatever the interface usually does |
//! | `pad=N`, `headers=N` | N bytes per chunk; N extra headers of a hundred bytes |
//! | `dialect=openrouter`, `openai` | OpenAI: no cost; in a stream of a chat, usage only when asked for; only its documented fields |
//! | `model=`, `fallback=1` | who says it answered; the second of `models` |
//! | `tokens_in`, `tokens_out`, `cached`, `reasoning` | announced token counts, each as its field says it: see below |
//! | `cache_write`, `cache_write_1h`, `tool_use` | the same: tokens written to the cache, for an hour, and of tool results |
//! | `cost=0.0015`, `off`, `wrong:TEXT` | announced cost; TEXT is sent as it is when it is JSON, else as a string; `wrong:raw:TEXT` always as it is; `wrong:negative` is -0.5 |
//! | `usage=on`, `off`, `null`, `negative`, `huge`, `zero`, `twice`, `early`, `string` | how usage is announced |
//! | `status=429`, `retry_after=`, `limit_source=` | an error answer and what it carries |
//! | `code=NAME` | its code, and the words that go with it: `context_length_exceeded`, `content_policy_violation`, `content_filter`, `insufficient_quota`; also of the error in a stream |
//! | `html=1`, `redirect=URL`, `echo=auth` | an HTML error page; a redirect; an error that repeats the key |
//! | `error_at=N`, `error_cost=` | an error event after N content chunks (0: the only event), the cost in it |
//! | `cut_at=N`, `cut=rst`, `fin`, `accept` | break the connection after N content chunks (0: after the head); `accept`: right after the request was read |
//! | `hang_at=N`, `hang=headers` | silence after N content chunks; no answer at all |
//! | `replay=NAME` | a file of the recorded folder, byte for byte; its events count as chunks |
//! | `key=NAME`, `fail_first=N` | only the first N attempts with this key fail, by the other keys or with 503 |
//! | `tag=TEXT` | copied into the record |
//! | `body_sha=1`, `messages` | the answer is the SHA-256 and length of the body, of the value of `messages`, `input`, `prompt` or `contents` |
//! | `text=one\|~two` | the answer is this text; a bar divides its chunks, a tilde is a blank |
//! | `tool=1`, `2` | a call of the first tool, or of the first two, their pieces interleaved where the interface allows it |
//!
//! For a JSON answer `cut_at` and `hang_at` count bytes of the body.
//!
//! # What it counts
//!
//! Output tokens are the number of content chunks of all choices, input tokens a quarter of the UTF-8
//! bytes of all texts (messages, system prompts and results of tools; not their declarations),
//! rounded up, at least one. The cost is announced tokens times a small table (`GET /v1/models` shows
//! it; other models cost 1 and 2 dollars per million), rounded up to a nano-dollar; it is announced
//! where OpenRouter is imitated: not by Azure, Anthropic (unless at `/api/v1/messages`) and Gemini.
//!
//! Anthropic's `input_tokens` leaves out what the cache read and wrote; elsewhere both are inside the
//! input. Gemini's thoughts and tool results come on top; elsewhere reasoning is inside the output.
//! [`Record::parts`] divides what was announced so that each token is in one part. An answer shows
//! thoughts when `reasoning` is not zero or the request asks for them; they are no content chunks.

mod announced;
mod answer;
mod api;
mod behaviour;
mod content;
mod dialect;
mod http1;
mod http2;
mod journal;
mod price;
mod record;
mod reply;
mod request;
mod server;
mod shape;
mod speak;
mod stream;
mod usage;
mod wire;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use announced::{Announced, Parts};
pub use behaviour::{Behaviour, Cost, Cut, Dialect, Digested, KeyError, UsageForm};
pub use record::{Received, Record};

/// How a mock is started.
#[derive(Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What is done unless a request says otherwise.
    pub behaviour: Behaviour,
    /// Answers 401 without this key in the header that the interface wants it in.
    pub require_key: Option<String>,
    /// Log of request bodies, appended to.
    pub log: Option<PathBuf>,
    /// File of records, one JSON object per line, appended to.
    pub record: Option<PathBuf>,
    /// Folder of recorded answers for `replay`.
    pub recorded: Option<PathBuf>,
    /// How many records are kept in memory.
    pub keep: usize,
    /// Whether records keep the request itself.
    pub keep_requests: bool,
    /// Serve TLS, with ALPN `h2` and `http/1.1`.
    pub tls: Option<Tls>,
    /// How long exchanges under way may go on after a shutdown was asked for.
    pub grace: Duration,
}

impl Default for Options {
    /// For tests in the same process: a free loopback port, no files, every request kept, no grace.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            behaviour: Behaviour::default(),
            require_key: None,
            log: None,
            record: None,
            recorded: None,
            keep: usize::MAX,
            keep_requests: true,
            tls: None,
            grace: Duration::ZERO,
        }
    }
}

/// A certificate chain and its private key, as PEM text.
#[derive(Clone)]
pub struct Tls {
    /// The chain, leaf first.
    pub certificate: Vec<u8>,
    /// The key of the leaf.
    pub key: Vec<u8>,
}

/// Why a mock could not be started.
#[derive(Debug, thiserror::Error)]
pub enum MockError {
    /// The address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// A log or record file cannot be appended to.
    #[error("cannot append to {0}")]
    File(PathBuf, #[source] std::io::Error),
    /// Certificate and key are of no use.
    #[error("cannot serve TLS: {0}")]
    Tls(String),
    /// The default behaviour makes no sense.
    #[error(transparent)]
    Behaviour(#[from] KeyError),
}

/// The mock provider.
pub struct Mock;

/// A running mock. It ends when this is dropped.
pub struct MockHandle {
    /// Where it listens.
    pub addr: SocketAddr,
    state: Arc<State>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Mock {
    /// Starts a mock on the current runtime; it listens when this returns.
    ///
    /// # Errors
    /// [`MockError`] when a file, the certificate or the address is of no use.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "options are made for one mock"
    )]
    pub fn start(options: Options) -> Result<MockHandle, MockError> {
        options.behaviour.check()?;
        let file = |path: &PathBuf| {
            let path = path.clone();
            move |error| MockError::File(path, error)
        };
        let journal = match &options.log {
            Some(path) => Some(journal::Journal::open(path).map_err(file(path))?),
            None => None,
        };
        let recorder = record::Recorder::open(options.keep, options.record.as_deref());
        let recorder = recorder.map_err(file(&options.record.clone().unwrap_or_default()))?;
        let tls = options.tls.as_ref().map(server::tls).transpose()?;
        let listener = || {
            let socket = match options.listen {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.set_reuseaddr(true)?;
            socket.bind(options.listen)?;
            let listener = socket.listen(4096)?;
            Ok((listener.local_addr()?, listener))
        };
        let (addr, listener) =
            listener().map_err(|error| MockError::Listen(options.listen, error))?;
        let state = Arc::new(State {
            behaviour: options.behaviour.clone(),
            require_key: options.require_key.clone(),
            recorder: Arc::new(recorder),
            journal,
            attempts: Mutex::default(),
            recorded: options.recorded.clone(),
            keep_requests: options.keep_requests,
        });
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(server::serve(
            listener,
            Arc::clone(&state),
            tls,
            stopped,
            options.grace,
        ));
        Ok(MockHandle {
            addr,
            state,
            stop,
            task,
        })
    }
}

impl MockHandle {
    /// The records kept so far, oldest first, those of exchanges under way included.
    pub fn records(&self) -> Vec<Record> {
        self.state.recorder.records()
    }

    /// The records with this `tag`.
    pub fn tagged(&self, tag: &str) -> Vec<Record> {
        let mut records = self.records();
        records.retain(|record| record.tag.as_deref() == Some(tag));
        records
    }

    /// Forgets records and attempts.
    pub fn forget(&self) {
        self.state.forget();
    }

    /// Stops listening, waits as long as the options allow, and ends what is left. Every record
    /// has its end afterwards.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        // The task does not panic; were it to, there would be nothing left to shut down.
        let _ = self.task.await;
    }
}

/// What all exchanges share.
struct State {
    behaviour: Behaviour,
    require_key: Option<String>,
    recorder: Arc<record::Recorder>,
    journal: Option<journal::Journal>,
    /// How often each `key` was seen.
    attempts: Mutex<HashMap<String, u64>>,
    recorded: Option<PathBuf>,
    keep_requests: bool,
}

impl State {
    fn forget(&self) {
        self.recorder.clear();
        self.attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

#[cfg(test)]
mod tests;
