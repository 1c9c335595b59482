//! HTTP/2, over TLS or with prior knowledge.
//!
//! Framing faults are refused by the protocol library; a broken exchange is a stream reset, since
//! the connection carries other exchanges.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderName, HeaderValue, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::behaviour::Cut;
use super::http1::MAX_BODY;
use super::request::Request;
use super::wire::{Gone, Head, Wire};

/// Begins HTTP/2 on a socket, from the preface on.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
) -> Result<Connection<S, Bytes>, h2::Error> {
    h2::server::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 24)
        .max_concurrent_streams(10_000)
        .handshake(socket)
        .await
}

/// Reads a request in full.
pub(super) async fn request(request: http::Request<RecvStream>) -> Result<Request, h2::Error> {
    let (parts, mut stream) = request.into_parts();
    let mut body = BytesMut::new();
    let mut problem = None;
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        if body.len() + piece.len() > MAX_BODY {
            problem = Some("the body is longer than 64 MiB");
            break;
        }
        body.extend_from_slice(&piece);
    }
    Ok(Request {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        has_host: parts.uri.authority().is_some() || parts.headers.contains_key(http::header::HOST),
        headers: parts.headers,
        body: body.freeze(),
        protocol: "h2",
        problem,
    })
}

/// The answering side of one stream.
pub(super) struct Exchange {
    respond: SendResponse<Bytes>,
    head: Option<Response<()>>,
    stream: Option<SendStream<Bytes>>,
}

impl Exchange {
    pub(super) fn new(respond: SendResponse<Bytes>) -> Self {
        Self {
            respond,
            head: None,
            stream: None,
        }
    }
}

impl Wire for Exchange {
    fn head(&mut self, head: &Head) {
        let mut response = Response::new(());
        *response.status_mut() =
            http::StatusCode::from_u16(head.status).unwrap_or(http::StatusCode::OK);
        for (name, value) in &head.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
                response.headers_mut().append(name, value);
            }
        }
        if let Some(length) = head.length {
            response
                .headers_mut()
                .insert(http::header::CONTENT_LENGTH, length.into());
        }
        self.head = Some(response);
    }

    async fn write(&mut self, piece: &[u8], last: bool) -> Result<(), Gone> {
        if let Some(head) = self.head.take() {
            self.stream = Some(self.respond.send_response(head, false).map_err(|_| Gone)?);
        }
        let stream = self.stream.as_mut().ok_or(Gone)?;
        let mut rest = Bytes::copy_from_slice(piece);
        while !rest.is_empty() {
            stream.reserve_capacity(rest.len());
            let granted = poll_fn(|cx| stream.poll_capacity(cx)).await;
            let Some(Ok(granted)) = granted else {
                return Err(Gone);
            };
            let part = rest.split_to(granted.min(rest.len()));
            stream
                .send_data(part, last && rest.is_empty())
                .map_err(|_| Gone)?;
        }
        if last && piece.is_empty() {
            stream.send_data(Bytes::new(), true).map_err(|_| Gone)?;
        }
        // The connection writes when it gets its turn.
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn gone(&mut self) {
        let _ = match &mut self.stream {
            Some(stream) => poll_fn(|cx| stream.poll_reset(cx)).await,
            None => poll_fn(|cx| self.respond.poll_reset(cx)).await,
        };
    }

    fn abort(&mut self, cut: Cut) {
        let reason = if cut == Cut::Close {
            Reason::CANCEL
        } else {
            Reason::INTERNAL_ERROR
        };
        match &mut self.stream {
            Some(stream) => stream.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }
}
