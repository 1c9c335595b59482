//! A very fast OpenAI-compatible upstream: one thread, HTTP/1.1, fixed answers.
//!
//! `fastmock LISTEN`. POST to any path ending in `chat/completions` answers a fixed JSON of about 650
//! bytes; with `"stream": true` it answers N event chunks, each its own write, then a usage chunk and
//! `[DONE]`. Usage carries a cost, as OpenRouter's does. `GET /stats` counts requests and open streams.
//!
//! Behaviour comes from a directive inside the prompt, because a prompt survives every gateway:
//! `[[chunks=64 delay_ms=100 lat_ms=20]]`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use memchr::memmem;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

static REQUESTS: AtomicU64 = AtomicU64::new(0);
static OPEN_STREAMS: AtomicU64 = AtomicU64::new(0);

const ANSWER: &[u8] = br#"{"id":"gen-bench-0123456789abcdefghij","object":"chat.completion","created":1760000000,"model":"openai/gpt-4o-mini","system_fingerprint":"fp_bench","choices":[{"index":0,"message":{"role":"assistant","content":"The quick brown fox jumps over the lazy dog while the gateway under test forwards this fixed answer without looking at more of it than it has to."},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":42,"completion_tokens":30,"total_tokens":72,"cost":0.0000243,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}"#;

macro_rules! chunk {
    ($rest:literal) => {
        concat!(
            r#"data: {"id":"gen-bench-0123456789abcdefghij","object":"chat.completion.chunk","created":1760000000,"#,
            r#""model":"openai/gpt-4o-mini","system_fingerprint":"fp_bench","choices":["#,
            $rest,
            "}\n\n"
        )
        .as_bytes()
    };
}
const FIRST: &[u8] = chunk!(
    r#"{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]"#
);
const TOKEN: &[u8] =
    chunk!(r#"{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}]"#);
const STOP: &[u8] = chunk!(r#"{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]"#);
const USAGE: &[u8] = chunk!(
    r#"],"usage":{"prompt_tokens":42,"completion_tokens":64,"total_tokens":106,"cost":0.0000447}"#
);
const DONE: &[u8] = b"data: [DONE]\n\n";

#[derive(Clone, Copy)]
struct Behaviour {
    chunks: u64,
    delay: Duration,
    latency: Duration,
}

impl Behaviour {
    fn of(body: &[u8]) -> Self {
        let mut behaviour = Self {
            chunks: 64,
            delay: Duration::ZERO,
            latency: Duration::ZERO,
        };
        let head = &body[..body.len().min(8192)];
        let Some(directive) = memmem::find(head, b"[[")
            .map(|at| &head[at + 2..])
            .and_then(|rest| memmem::find(rest, b"]]").map(|end| &rest[..end]))
            .and_then(|text| std::str::from_utf8(text).ok())
        else {
            return behaviour;
        };
        for (name, value) in directive.split(' ').filter_map(|pair| pair.split_once('=')) {
            let Ok(number) = value.parse() else { continue };
            match name {
                "chunks" => behaviour.chunks = number,
                "delay_ms" => behaviour.delay = Duration::from_millis(number),
                "lat_ms" => behaviour.latency = Duration::from_millis(number),
                _ => {}
            }
        }
        behaviour
    }
}

fn wants_stream(body: &[u8]) -> bool {
    const KEY: &[u8] = b"\"stream\"";
    memmem::find_iter(body, KEY).any(|at| {
        let rest = &body[at + KEY.len()..];
        let value = rest.iter().position(|byte| !matches!(byte, b' ' | b':'));
        value.is_some_and(|start| rest[start..].starts_with(b"true"))
    })
}

/// The body of one streamed answer.
struct Events {
    next: u64,
    behaviour: Behaviour,
    yielded: bool,
    due: Instant,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Events {
    fn new(behaviour: Behaviour) -> Self {
        OPEN_STREAMS.fetch_add(1, Relaxed);
        Self {
            next: 0,
            behaviour,
            yielded: false,
            due: Instant::now(),
            pause: None,
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        OPEN_STREAMS.fetch_sub(1, Relaxed);
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // 0 is the role, 1..=chunks the tokens, then stop, usage and the end mark.
        let chunks = self.behaviour.chunks;
        if self.next > chunks + 3 {
            return Poll::Ready(None);
        }
        let token = self.next > 0 && self.next <= chunks;
        if token && !self.behaviour.delay.is_zero() {
            if self.pause.is_none() {
                let due = self.due + self.behaviour.delay;
                self.due = due;
                self.pause = Some(Box::pin(sleep_until(due)));
            }
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
            }
            self.pause = None;
        } else if self.next > 0 && self.next < chunks + 3 && !self.yielded {
            // Pending once between chunks makes hyper flush, so that each chunk is its own write.
            self.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.yielded = false;
        let event = match self.next {
            0 => FIRST,
            n if n <= chunks => TOKEN,
            n if n == chunks + 1 => STOP,
            n if n == chunks + 2 => USAGE,
            _ => DONE,
        };
        self.next += 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(event)))))
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

fn answer(content_type: &'static str, body: BoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert("content-type", content_type.parse().expect("a valid value"));
    headers.insert("x-request-id", "req_bench".parse().expect("a valid value"));
    answer
}

async fn handle(request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    if !request.uri().path().ends_with("chat/completions") {
        let stats = serde_json::json!({
            "requests": REQUESTS.load(Relaxed),
            "open_streams": OPEN_STREAMS.load(Relaxed),
        });
        let body = Full::new(Bytes::from(stats.to_string())).boxed();
        return Ok(answer("application/json", body));
    }
    let body = request.into_body().collect().await?.to_bytes();
    let behaviour = Behaviour::of(&body);
    REQUESTS.fetch_add(1, Relaxed);
    if !behaviour.latency.is_zero() {
        sleep(behaviour.latency).await;
    }
    if wants_stream(&body) {
        let events = Events::new(behaviour).boxed();
        return Ok(answer("text/event-stream; charset=utf-8", events));
    }
    let body = Full::new(Bytes::from_static(ANSWER)).boxed();
    Ok(answer("application/json", body))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let listen = std::env::args().nth(1).unwrap_or("127.0.0.1:9100".into());
    let listen: SocketAddr = listen.parse().map_err(std::io::Error::other)?;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    socket.listen(4096)?;
    let listener = tokio::net::TcpListener::from_std(socket.into())?;
    loop {
        let Ok((connection, _)) = listener.accept().await else {
            continue;
        };
        connection.set_nodelay(true)?;
        tokio::spawn(async move {
            // A connection that breaks off is the load generator's to report.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(connection), service_fn(handle))
                .await;
        });
    }
}
