//! HTTP/1.0 and 1.1, by hand.
//!
//! A server library would hide what the mock is there to see and to do: both `Content-Length` and
//! `Transfer-Encoding` on one request, the moment the socket took the last byte, a reset after
//! exactly so many chunks. So this reads strictly, writes what it is told in as many writes as it is
//! told, and notices while it waits that the peer has left (also one that only closed its sending
//! side).

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::behaviour::Cut;
use super::request::Request;
use super::wire::{Gone, Head, Wire};

/// The longest request head.
const MAX_HEAD: usize = 64 * 1024;
/// The longest request body.
pub(super) const MAX_BODY: usize = 64 * 1024 * 1024;
const MAX_HEADERS: usize = 128;

/// A connection that can be reset.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes the close that follows a reset.
    fn reset_on_close(&self);
}

impl Socket for TcpStream {
    fn reset_on_close(&self) {
        let _ = self.set_zero_linger();
    }
}

impl Socket for TlsStream<TcpStream> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

/// One connection; as a [`Wire`], the exchange that is under way on it.
pub(super) struct Connection<S> {
    socket: S,
    /// Read and not yet used.
    input: BytesMut,
    output: Vec<u8>,
    framing: Framing,
    http_10: bool,
    keep_alive: bool,
    /// Nothing more can be read: the peer closed its side.
    peer_done: bool,
    cut: Option<Cut>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// As many bytes as the head says, or until the connection closes.
    Plain,
    Chunked,
}

/// Why no request could be read.
pub(super) enum Broken {
    /// The connection ended, or failed.
    Closed,
    /// The bytes are no HTTP.
    Garbage(&'static str),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

impl<S: Socket> Connection<S> {
    /// `input`: what was already read from the socket.
    pub(super) fn new(socket: S, input: BytesMut) -> Self {
        Self {
            socket,
            input,
            output: Vec::with_capacity(1024),
            framing: Framing::Plain,
            http_10: false,
            keep_alive: true,
            peer_done: false,
            cut: None,
        }
    }

    /// Whether another request may follow on this connection.
    pub(super) fn reusable(&self) -> bool {
        self.keep_alive && self.cut.is_none() && !self.peer_done
    }

    /// Reads the next request. Its framing may be faulty; then the body was not read, and the
    /// connection cannot be used again.
    pub(super) async fn request(&mut self) -> Result<Request, Broken> {
        let (mut request, framing) = loop {
            if let Some(parsed) = self.parse_head()? {
                break parsed;
            }
            if self.input.len() > MAX_HEAD {
                return Err(Broken::Garbage("the request head is too long"));
            }
            self.fill().await?;
        };
        match framing {
            Ok(framing) => {
                let expects = request.headers.get(header::EXPECT);
                if expects.is_some_and(|value| value == "100-continue") && self.input.is_empty() {
                    self.socket
                        .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                        .await?;
                }
                match self.body(framing).await {
                    Ok(body) => request.body = body,
                    Err(Broken::Garbage(problem)) => self.faulty(&mut request, problem),
                    Err(closed) => return Err(closed),
                }
            }
            Err(problem) => self.faulty(&mut request, problem),
        }
        Ok(request)
    }

    /// Answers what was no request.
    pub(super) async fn refuse(&mut self, reason: &str) {
        let body = format!("{{\"error\":{{\"code\":400,\"message\":\"{reason}\"}}}}");
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        self.keep_alive = false;
        let _ = self.socket.write_all(answer.as_bytes()).await;
    }

    /// Closes the connection, so that the peer can still read what was written; or breaks it.
    pub(super) async fn close(mut self) {
        match self.cut {
            Some(Cut::Reset) => self.socket.reset_on_close(),
            _ => {
                let _ = self.socket.shutdown().await;
                // Closing with unread bytes would reset the connection under the answer.
                let drain = async {
                    while !self.peer_done {
                        self.input.clear();
                        if self.fill().await.is_err() {
                            break;
                        }
                    }
                };
                let _ = tokio::time::timeout(std::time::Duration::from_secs(1), drain).await;
            }
        }
    }

    fn faulty(&mut self, request: &mut Request, problem: &'static str) {
        self.keep_alive = false;
        request.problem = Some(problem);
    }

    async fn fill(&mut self) -> Result<(), Broken> {
        if self.input.capacity() - self.input.len() < 4096 {
            self.input.reserve(16 * 1024);
        }
        if self.socket.read_buf(&mut self.input).await? == 0 {
            self.peer_done = true;
            return Err(Broken::Closed);
        }
        Ok(())
    }

    #[expect(
        clippy::type_complexity,
        reason = "a request, and how its body is framed or why not"
    )]
    fn parse_head(
        &mut self,
    ) -> Result<Option<(Request, Result<BodyFraming, &'static str>)>, Broken> {
        let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut slots);
        let length = match head.parse(&self.input) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Broken::Garbage("too many headers"));
            }
            Err(_) => return Err(Broken::Garbage("not an HTTP request")),
        };
        let mut headers = HeaderMap::with_capacity(head.headers.len());
        for field in head.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_bytes(field.value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(Broken::Garbage("a header is not valid"));
            };
            headers.append(name, value);
        }
        let method = head.method.unwrap_or_default().parse();
        let target = head.path.unwrap_or_default();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        self.http_10 = head.version == Some(0);
        let close = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|options| options.split(','))
            .any(|option| option.trim().eq_ignore_ascii_case("close"));
        self.keep_alive = !self.http_10 && !close;
        self.framing = Framing::Plain;
        let framing = body_framing(&headers, self.http_10);
        let request = Request {
            method: method.map_err(|_| Broken::Garbage("the method is not valid"))?,
            path: path.to_owned(),
            query: query.map(str::to_owned),
            has_host: self.http_10
                || headers
                    .get(header::HOST)
                    .is_some_and(|host| !host.is_empty()),
            headers,
            body: Bytes::new(),
            protocol: if self.http_10 { "http/1.0" } else { "http/1.1" },
            problem: None,
        };
        self.input.advance(length);
        Ok(Some((request, framing)))
    }

    async fn body(&mut self, framing: BodyFraming) -> Result<Bytes, Broken> {
        match framing {
            BodyFraming::Length(length) => {
                self.input.reserve(length.saturating_sub(self.input.len()));
                while self.input.len() < length {
                    self.fill().await?;
                }
                Ok(self.input.split_to(length).freeze())
            }
            BodyFraming::Chunked => {
                let mut body = BytesMut::new();
                loop {
                    let line = self.line().await?;
                    let digits = memchr::memchr(b';', &line).unwrap_or(line.len());
                    let size = std::str::from_utf8(&line[..digits])
                        .ok()
                        .filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))
                        .and_then(|text| usize::from_str_radix(text, 16).ok())
                        .ok_or(Broken::Garbage("a chunk size is not valid"))?;
                    if size == 0 {
                        while !self.line().await?.is_empty() {}
                        return Ok(body.freeze());
                    }
                    if body.len().saturating_add(size) > MAX_BODY {
                        return Err(Broken::Garbage("the body is longer than 64 MiB"));
                    }
                    while self.input.len() < size + 2 {
                        self.fill().await?;
                    }
                    body.extend_from_slice(&self.input.split_to(size));
                    if &self.input.split_to(2)[..] != b"\r\n" {
                        return Err(Broken::Garbage("a chunk is longer than its size says"));
                    }
                }
            }
        }
    }

    async fn line(&mut self) -> Result<BytesMut, Broken> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.input, b"\r\n") {
                let line = self.input.split_to(end);
                self.input.advance(2);
                return Ok(line);
            }
            if self.input.len() > 4096 {
                return Err(Broken::Garbage("a chunk line is too long"));
            }
            self.fill().await?;
        }
    }
}

enum BodyFraming {
    Length(usize),
    Chunked,
}

fn body_framing(headers: &HeaderMap, http_10: bool) -> Result<BodyFraming, &'static str> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if lengths.next().is_some() || codings.next().is_some() {
        return Err("more than one Content-Length or Transfer-Encoding");
    }
    match (length, coding) {
        (Some(_), Some(_)) => Err("both Content-Length and Transfer-Encoding"),
        (None, Some(coding)) if !http_10 && coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(BodyFraming::Chunked)
        }
        (None, Some(_)) => Err("a Transfer-Encoding other than chunked"),
        (Some(length), None) => {
            let length = length
                .to_str()
                .ok()
                .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            let length: usize = length
                .and_then(|text| text.parse().ok())
                .ok_or("Content-Length is no number")?;
            if length > MAX_BODY {
                return Err("the body is longer than 64 MiB");
            }
            Ok(BodyFraming::Length(length))
        }
        (None, None) => Ok(BodyFraming::Length(0)),
    }
}

impl<S: Socket> Wire for Connection<S> {
    fn head(&mut self, head: &Head) {
        use std::io::Write as _;
        let reason = http::StatusCode::from_u16(head.status).ok();
        let reason = reason
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Mock");
        let out = &mut self.output;
        out.clear();
        // Writing to a `Vec` cannot fail.
        let _ = write!(out, "HTTP/1.1 {} {reason}\r\n", head.status);
        for (name, value) in &head.headers {
            let _ = write!(out, "{name}: {value}\r\n");
        }
        self.framing = Framing::Plain;
        match head.length {
            Some(length) => {
                let _ = write!(out, "content-length: {length}\r\n");
            }
            None if self.http_10 => {}
            None => {
                self.framing = Framing::Chunked;
                out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            }
        }
        if !self.keep_alive {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    async fn write(&mut self, piece: &[u8], last: bool) -> Result<(), Gone> {
        if self.framing == Framing::Chunked {
            if !piece.is_empty() {
                use std::io::Write as _;
                let _ = write!(self.output, "{:x}\r\n", piece.len());
                self.output.extend_from_slice(piece);
                self.output.extend_from_slice(b"\r\n");
            }
            if last {
                self.output.extend_from_slice(b"0\r\n\r\n");
            }
        } else {
            self.output.extend_from_slice(piece);
        }
        let written = async {
            self.socket.write_all(&self.output).await?;
            self.socket.flush().await
        };
        let written = written.await;
        self.output.clear();
        written.map_err(|_| {
            self.keep_alive = false;
            Gone
        })
    }

    async fn gone(&mut self) {
        // What arrives meanwhile is the next request; beyond a buffer full of it, it may wait.
        while !self.peer_done {
            if self.input.len() > MAX_HEAD {
                std::future::pending::<()>().await;
            }
            if self.fill().await.is_err() {
                self.peer_done = true;
            }
        }
        self.keep_alive = false;
    }

    fn abort(&mut self, cut: Cut) {
        self.cut = Some(cut);
    }
}
