//! Clients: an ordinary one, and one that writes its own bytes.

use super::{PATIENCE, bounded};
use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Once;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An ordinary HTTP client that follows no redirects, uses no proxy and reuses connections.
pub(crate) fn http() -> reqwest::Client {
    builder().build().expect("a client")
}

/// The beginnings of one.
pub(crate) fn builder() -> reqwest::ClientBuilder {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        // Another test in this process may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE * 2)
}

/// A chat completion about to be asked for.
pub(crate) struct Call {
    client: reqwest::Client,
    url: String,
    headers: Vec<(String, String)>,
    body: Value,
    raw: Option<Bytes>,
}

impl Call {
    /// A request with one user message.
    pub(crate) fn new(client: &reqwest::Client, base: &str, prompt: &str) -> Self {
        Self {
            client: client.clone(),
            url: format!("{base}/v1/chat/completions"),
            headers: Vec::new(),
            body: json!({"messages": [{"role": "user", "content": prompt}]}),
            raw: None,
        }
    }

    /// Names the agent.
    pub(crate) fn agent(self, agent: &str) -> Self {
        self.header("x-agent-id", agent)
    }

    /// Presents a key.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a top-level field.
    pub(crate) fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body[name] = value.into();
        self
    }

    /// Asks for an event stream.
    pub(crate) fn stream(self) -> Self {
        self.field("stream", true)
    }

    /// Limits the output.
    pub(crate) fn max_tokens(self, tokens: u64) -> Self {
        self.field("max_tokens", tokens)
    }

    /// Sends these bytes instead of JSON of our making.
    pub(crate) fn raw(mut self, body: impl Into<Bytes>) -> Self {
        self.raw = Some(body.into());
        self
    }

    /// Sends it and reads the whole answer.
    pub(crate) async fn send(self) -> Reply {
        Reply::read(self.open().await).await
    }

    /// Sends it and gives the answer as soon as its head is there.
    pub(crate) async fn open(self) -> reqwest::Response {
        self.try_open().await.expect("an answer")
    }

    /// Sends it; the connection may break.
    pub(crate) async fn try_open(self) -> reqwest::Result<reqwest::Response> {
        let body = self
            .raw
            .unwrap_or_else(|| Bytes::from(self.body.to_string()));
        let mut request = self.client.post(&self.url).body(body);
        if !self.headers.iter().any(|(name, _)| name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.send().await
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: u16,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body, as far as it came.
    pub(crate) body: Bytes,
    /// Whether the body ended properly.
    pub(crate) complete: bool,
}

impl Reply {
    /// Reads an answer to its end, proper or not.
    pub(crate) async fn read(mut response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        let complete = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        Self {
            status,
            headers,
            body: body.into(),
            complete,
        }
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// `error.code` of a refusal.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        body["error"]["code"].as_str().unwrap_or("none").to_owned()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The JSON events of a stream, `[DONE]` and comments left out.
    pub(crate) fn events(&self) -> Vec<Value> {
        events(&self.text())
    }

    /// Whether a stream said that it is over.
    pub(crate) fn done(&self) -> bool {
        self.text().lines().any(|line| line == "data: [DONE]")
    }

    /// The metadata that Weir adds.
    pub(crate) fn metadata(&self) -> Option<Value> {
        let is_stream = self
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        let holder = if is_stream {
            self.events()
                .into_iter()
                .find(|event| event.get("_execwall").is_some())?
        } else {
            self.json()
        };
        holder.get("_execwall").cloned()
    }
}

/// The JSON events in the text of a stream.
pub(crate) fn events(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap_or_else(|_| panic!("no JSON event: {data}")))
        .collect()
}

/// What the members of an object are called.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    let members = value.as_object().expect("an object");
    members.keys().map(String::as_str).collect()
}

/// An HTTP/1.1 chat request as bytes, with the given header lines instead of the usual ones for the
/// body when there are any.
pub(crate) fn request(headers: &[&str], body: &str) -> Vec<u8> {
    let mut text = String::from("POST /v1/chat/completions HTTP/1.1\r\nHost: weir\r\n");
    if headers.is_empty() {
        text += &format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
    }
    for header in headers {
        text += header;
        text += "\r\n";
    }
    text += "\r\n";
    text += body;
    text.into_bytes()
}

/// The JSON of a chat request with one user message.
pub(crate) fn chat_body(prompt: &str, stream: bool) -> String {
    json!({"messages": [{"role": "user", "content": prompt}], "stream": stream}).to_string()
}

/// A connection whose bytes the test writes itself.
pub(crate) struct Raw {
    stream: TcpStream,
    /// Read but not yet used.
    buffer: Vec<u8>,
}

/// An answer read from a [`Raw`] connection.
#[derive(Debug)]
pub(crate) struct RawReply {
    /// Its status.
    pub(crate) status: u16,
    /// Its headers, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Its body without its transfer coding.
    pub(crate) body: Vec<u8>,
}

impl RawReply {
    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("no JSON ({error}): {}", String::from_utf8_lossy(&self.body))
        })
    }

    /// `error.code` of a refusal.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        body["error"]["code"].as_str().unwrap_or("none").to_owned()
    }

    /// Whether the connection ends after this answer.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Raw {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = bounded("a connection", TcpStream::connect(address)).await;
        Self {
            stream: stream.expect("the gateway listens"),
            buffer: Vec::new(),
        }
    }

    /// Writes bytes; whether the other end still takes them.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        bounded("a write", self.stream.write_all(bytes.as_ref()))
            .await
            .is_ok()
    }

    /// Reads more; `false` at the end.
    async fn more(&mut self) -> bool {
        let read = bounded("bytes", self.stream.read_buf(&mut self.buffer)).await;
        matches!(read, Ok(count) if count > 0)
    }

    /// Everything up to and including `needle`.
    ///
    /// # Panics
    /// When the connection ends before.
    pub(crate) async fn until(&mut self, needle: &str) -> String {
        let needle = needle.as_bytes();
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, needle) {
                let taken: Vec<u8> = self.buffer.drain(..at + needle.len()).collect();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            assert!(
                self.more().await,
                "the connection ended before {:?}; there was {:?}",
                String::from_utf8_lossy(needle),
                String::from_utf8_lossy(&self.buffer)
            );
        }
    }

    async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.more().await, "the connection ended inside a body");
        }
        self.buffer.drain(..count).collect()
    }

    /// The rest, up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Status and headers of the next answer.
    pub(crate) async fn head(&mut self) -> RawReply {
        let head = self.until("\r\n\r\n").await;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        RawReply {
            status: status
                .and_then(|status| status.parse().ok())
                .expect("a status line"),
            headers: lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect(),
            body: Vec::new(),
        }
    }

    /// The next whole answer.
    pub(crate) async fn reply(&mut self) -> RawReply {
        let mut reply = self.head().await;
        if reply.status < 200 {
            return reply;
        }
        let length = reply.header("content-length").and_then(|n| n.parse().ok());
        reply.body = match length {
            Some(length) => self.exactly(length).await,
            None if reply.header("transfer-encoding") == Some("chunked") => self.chunked().await,
            None => self.rest().await,
        };
        reply
    }

    async fn chunked(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.until("\r\n").await;
            let size = usize::from_str_radix(line.trim(), 16).expect("a chunk size");
            body.extend(self.exactly(size).await);
            self.exactly(2).await;
            if size == 0 {
                return body;
            }
        }
    }

    /// Whether the other end has closed the connection and there is nothing left to read.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more().await
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub(crate) async fn half_close(&mut self) {
        self.stream.shutdown().await.expect("still connected");
    }

    /// Breaks the connection with a reset.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().expect("an open socket");
    }
}
