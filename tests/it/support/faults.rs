//! What a well-behaved mock cannot do: an upstream scripted byte by byte, and damaged files.

use super::bounded;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An upstream that does what a closure does with each accepted connection.
pub(crate) struct Scripted {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Scripted {
    /// Starts one; `script` is given the connection's number, from 0, and the connection.
    pub(crate) async fn start<F, R>(script: F) -> Self
    where
        F: Fn(usize, Peer) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(number, Peer::new(stream)));
            }
        });
        Self {
            addr,
            accepted,
            task,
        }
    }

    /// What a policy calls `base_url`.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One accepted connection of a [`Scripted`] upstream.
pub(crate) struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A request as a [`Peer`] read it.
#[derive(Debug)]
pub(crate) struct Request {
    /// Its first line and headers.
    pub(crate) head: String,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The next request; nothing when the other end closed.
    pub(crate) async fn request(&mut self) -> Option<Request> {
        let head = loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..at + 4).collect();
                break String::from_utf8_lossy(&head).into_owned();
            }
            if !self.more().await {
                return None;
            }
        };
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0);
        while self.buffer.len() < length {
            if !self.more().await {
                return None;
            }
        }
        let body = self.buffer.drain(..length).collect();
        Some(Request { head, body })
    }

    async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(count) if count > 0)
    }

    /// Writes bytes, at once.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        // The gateway may have left, which is its right.
        let _ = bounded("a write", self.stream.write_all(bytes.as_ref())).await;
        let _ = self.stream.flush().await;
    }

    /// A whole answer with this status line, these header lines and this body.
    pub(crate) async fn answer(&mut self, status: &str, headers: &[&str], body: &str) {
        let mut text = format!("HTTP/1.1 {status}\r\n");
        for header in headers {
            text += header;
            text += "\r\n";
        }
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        self.write(text).await;
    }

    /// Waits until the other end closes.
    pub(crate) async fn closed(&mut self) {
        while self.more().await {
            self.buffer.clear();
        }
    }

    /// Breaks the connection with a reset.
    pub(crate) fn reset(self) {
        // A socket that is gone already needs none.
        let _ = self.stream.set_zero_linger();
    }
}

/// Cuts a file off, as a crash in the middle of a write does.
pub(crate) fn cut_tail(file: &Path, bytes: usize) {
    let text = std::fs::read(file).expect("readable");
    std::fs::write(file, &text[..text.len() - bytes]).expect("writable");
}

/// Appends to a file.
pub(crate) fn append(file: &Path, bytes: &[u8]) {
    let mut text = std::fs::read(file).expect("readable");
    text.extend_from_slice(bytes);
    std::fs::write(file, text).expect("writable");
}

/// Changes one byte inside line `line` (from 0) and gives the offset at which that line begins.
pub(crate) fn damage_line(file: &Path, line: usize) -> usize {
    let mut text = std::fs::read(file).expect("readable");
    let start = match line {
        0 => 0,
        _ => {
            memchr::memchr_iter(b'\n', &text)
                .nth(line - 1)
                .expect("that many lines")
                + 1
        }
    };
    text[start + 20] ^= 1;
    std::fs::write(file, text).expect("writable");
    start
}
