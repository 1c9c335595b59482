//! Whoever watches events: by WebSocket, and by an answer that does not end.

use super::{PATIENCE, bounded};
use futures_core::Stream;
use serde_json::Value;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Somebody at a WebSocket.
pub(crate) struct Watcher {
    socket: WebSocketStream<TcpStream>,
}

/// What a watcher is told next.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    /// An event.
    Event(Value),
    /// The connection ends, with this code.
    Closed(Option<u16>),
}

impl Watcher {
    /// Connects to `/events` with this query, which may be empty.
    pub(crate) async fn at(address: SocketAddr, query: &str) -> Self {
        let connected = Self::try_at(address, query, &[]).await;
        connected.unwrap_or_else(|status| panic!("no WebSocket: {status}"))
    }

    /// The same with further headers.
    ///
    /// # Errors
    /// The status of a refusal.
    pub(crate) async fn try_at(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let stream = TcpStream::connect(address).await.expect("it listens");
        Self::over(stream, query, headers).await
    }

    /// The same on a connection that is there.
    ///
    /// # Errors
    /// The status of a refusal.
    pub(crate) async fn over(
        stream: TcpStream,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let address = stream.peer_addr().expect("connected");
        let url = format!("ws://{address}/events{query}");
        let mut request = url.into_client_request().expect("a URL");
        for (name, value) in headers {
            let value = value.parse().expect("a header");
            request.headers_mut().insert(*name, value);
        }
        match bounded("a WebSocket", client_async(request, stream)).await {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("no WebSocket: {error}"),
        }
    }

    /// What comes next.
    pub(crate) async fn next(&mut self) -> Heard {
        loop {
            let message = poll_fn(|cx| Pin::new(&mut self.socket).poll_next(cx));
            match bounded("a message", message).await {
                Some(Ok(Message::Text(text))) => {
                    return Heard::Event(serde_json::from_str(&text).expect("JSON"));
                }
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map(|frame| CloseCode::into(frame.code));
                    return Heard::Closed(code);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Closed(None),
            }
        }
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Value {
        match self.next().await {
            Heard::Event(event) => event,
            Heard::Closed(code) => panic!("closed with {code:?}"),
        }
    }

    /// The events up to and including the first of this type.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut events = vec![self.event().await];
        while events.last().expect("one")["type"] != kind {
            events.push(self.event().await);
        }
        events
    }
}

/// An answer that does not end, read line by line.
pub(crate) struct Lines {
    response: reqwest::Response,
    text: String,
}

impl Lines {
    /// Asks for `url`.
    ///
    /// # Errors
    /// The status of a refusal.
    pub(crate) async fn at(url: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let client = super::client::builder().timeout(PATIENCE * 4);
        let client = client.build().expect("a client");
        let mut request = client.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        if response.status() != 200 {
            return Err(response.status().as_u16());
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut lines = Self {
            response,
            text: String::new(),
        };
        assert_eq!(lines.line().await.as_deref(), Some("retry: 2000"));
        assert_eq!(lines.line().await.as_deref(), Some(": events follow"));
        Ok(lines)
    }

    /// A header of the answer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next line that is not empty; nothing at the end.
    pub(crate) async fn line(&mut self) -> Option<String> {
        loop {
            while let Some((line, rest)) = self.text.split_once('\n') {
                let (line, rest) = (line.to_owned(), rest.to_owned());
                self.text = rest;
                if !line.is_empty() {
                    return Some(line);
                }
            }
            let piece = bounded("more of an answer", self.response.chunk()).await;
            let piece = piece.ok().flatten()?;
            self.text
                .push_str(std::str::from_utf8(&piece).expect("text"));
        }
    }

    /// The next event; nothing at the end.
    pub(crate) async fn event(&mut self) -> Option<Value> {
        loop {
            let line = self.line().await?;
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).expect("JSON"));
            }
            assert!(line.starts_with(':'), "{line}");
        }
    }
}
