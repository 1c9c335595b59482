//! HTTP/1.1 by hand: a client that can send what no library would and leave where it likes.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The most of an answer that is kept.
const LIMIT: usize = 64 << 20;

/// A connection to a server.
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer as far as it came.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Whether its framing came to an end.
    pub(super) whole: bool,
    /// Whether the connection can be used again.
    pub(super) reusable: bool,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `error.code` of a refusal.
    pub(super) fn code(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get("error")?.get("code")?.as_str()?.to_owned())
    }

    /// A stream that ended with its terminal event, or a JSON body that is whole.
    pub(super) fn has_its_end(&self) -> bool {
        let events = self
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        self.whole && (!events || self.body.ends_with(b"data: [DONE]\n\n"))
    }
}

fn ended(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

fn invalid(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// A chat request as bytes. `extra` are whole header lines.
pub(super) fn chat(agent: &str, extra: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: weir.test\r\nx-agent-id: {agent}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n{extra}\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

impl Wire {
    pub(super) async fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(4096),
        })
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Whether the server has closed a connection on which nothing is under way.
    pub(super) fn is_closed(&self) -> bool {
        let mut byte = [0];
        let read = self.stream.try_read(&mut byte);
        !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Says that nothing more will be sent.
    pub(super) async fn half_close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Leaves at once, with a reset when `rudely`.
    pub(super) fn leave(self, rudely: bool) {
        if rudely {
            // A connection that is gone already cannot be left any ruder.
            let _ = self.stream.set_zero_linger();
        }
    }

    async fn more(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.buffer).await
    }

    /// The next answer. `None` when the connection ended before any byte of it.
    pub(super) async fn answer(&mut self) -> io::Result<Option<Answer>> {
        self.answer_up_to(usize::MAX).await
    }

    /// The next answer, of whose body no more than about `enough` bytes are read.
    pub(super) async fn answer_up_to(&mut self, enough: usize) -> io::Result<Option<Answer>> {
        let mut answer = loop {
            let Some(answer) = self.head().await? else {
                return Ok(None);
            };
            if answer.status >= 200 {
                break answer;
            }
        };
        let outcome = self.body(&mut answer, enough).await;
        answer.whole = match outcome {
            Ok(whole) => whole,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
            Err(_) => false,
        };
        answer.reusable &= answer.whole;
        Ok(Some(answer))
    }

    async fn head(&mut self) -> io::Result<Option<Answer>> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 700];
            let mut response = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(length) =
                response.parse(&self.buffer).map_err(invalid)?
            {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let answer = Answer {
                    status: response.code.unwrap_or_default(),
                    headers: response
                        .headers
                        .iter()
                        .map(|header| (header.name.to_ascii_lowercase(), text(header.value)))
                        .collect(),
                    reusable: response.version == Some(1),
                    ..Answer::default()
                };
                self.buffer.drain(..length);
                return Ok(Some(answer));
            }
            if self.more().await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(ended("the connection ended within a head"));
            }
        }
    }

    async fn body(&mut self, answer: &mut Answer, enough: usize) -> io::Result<bool> {
        let says = |name, value: &str| {
            answer
                .header(name)
                .is_some_and(|text| text.eq_ignore_ascii_case(value))
        };
        let chunked = says("transfer-encoding", "chunked");
        let close = says("connection", "close");
        let length = answer
            .header("content-length")
            .map(|text| text.parse::<usize>().map_err(invalid))
            .transpose()?;
        answer.reusable &= !close;
        if matches!(answer.status, 204 | 304) {
            return Ok(true);
        }
        if chunked {
            return self.chunks(answer, enough).await;
        }
        if length.is_none() {
            answer.reusable = false;
        }
        loop {
            let wanted = length.unwrap_or(LIMIT) - answer.body.len();
            let taken = self.buffer.len().min(wanted);
            answer.body.extend(self.buffer.drain(..taken));
            if Some(answer.body.len()) == length {
                return Ok(true);
            }
            if answer.body.len() >= enough.min(LIMIT) {
                return Ok(false);
            }
            if self.more().await? == 0 {
                return Ok(length.is_none());
            }
        }
    }

    async fn chunks(&mut self, answer: &mut Answer, enough: usize) -> io::Result<bool> {
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(invalid)?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(true);
            }
            while self.buffer.len() < size + 2 {
                if answer.body.len() + self.buffer.len() >= enough.min(LIMIT) {
                    return Ok(false);
                }
                if self.more().await? == 0 {
                    return Err(ended("the connection ended within a chunk"));
                }
            }
            answer.body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
            if answer.body.len() >= enough.min(LIMIT) {
                return Ok(false);
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.more().await? == 0 {
                return Err(ended("the connection ended between two chunks"));
            }
        }
    }
}
