//! Watching by an answer that does not end (server-sent events).
//!
//! Decides its form: each event is one `data:` line of JSON, and comments show that the connection lives. It ends
//! when the client leaves or is too slow, or when the gateway leaves; browsers then ask anew by themselves.

use super::door::Cut;
use super::{BATCH, GATHER, LOOK, Wish};
use crate::feed::Feed;
use crate::gateway::Gateway;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_core::Stream;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// The longest silence.
const SILENCE: Duration = Duration::from_secs(15);

/// What stands in the extensions of an answer that does not end.
#[derive(Clone, Copy, Debug)]
pub(in crate::admin) struct Endless;

/// The pieces of such an answer.
struct Pieces(mpsc::Receiver<Bytes>);

impl Stream for Pieces {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|piece| piece.map(Ok))
    }
}

pub(super) fn answer(wish: Wish, gateway: &Arc<Gateway>, cut: Option<Cut>) -> Response {
    let (to, pieces) = mpsc::channel(1);
    let feed = Arc::clone(&gateway.feed);
    tokio::spawn(async move {
        let mut wish = wish;
        if let Err(Slow(lost)) = speak(to, &mut wish, &feed).await {
            wish.too_slow(lost);
            if let Some(cut) = cut {
                // What waits to be written to it would wait for ever.
                cut.cut();
            }
        }
    });
    let mut response = Response::new(Body::from_stream(Pieces(pieces)));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    let fresh = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, fresh);
    // Some proxies would gather what should be seen at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.extensions_mut().insert(Endless);
    response
}

/// The client is too slow; so many events are known to be gone.
struct Slow(u64);

async fn speak(to: mpsc::Sender<Bytes>, wish: &mut Wish, feed: &Feed) -> Result<(), Slow> {
    let mut left = std::pin::pin!(feed.left());
    let mut events = Vec::with_capacity(BATCH);
    let silence = wish.ping.min(SILENCE);
    let mut text = String::from("retry: 2000\n: events follow\n\n");
    let mut leaving = false;
    loop {
        if !send(&to, Bytes::from(std::mem::take(&mut text)), wish).await? || leaving {
            return Ok(());
        }
        if events.len() < BATCH {
            sleep(GATHER).await;
        }
        events.clear();
        let mut lost = 0;
        tokio::select! {
            more = wish.watch.next(&mut events, BATCH) => lost = more,
            () = sleep(silence) => text.push_str(": still there\n\n"),
            () = to.closed() => return Ok(()),
            () = left.as_mut() => {
                leaving = true;
                lost = wish.watch.more(&mut events, usize::MAX);
            }
        }
        if lost > 0 {
            return Err(Slow(lost));
        }
        let wanted = events
            .iter()
            .filter(|event| wish.filter.passes(&event.kind));
        for event in wanted {
            text.push_str("data: ");
            text.push_str(&event.json());
            text.push_str("\n\n");
        }
    }
}

/// Sends a piece to a client that takes it; `false` when the client is gone.
async fn send(to: &mpsc::Sender<Bytes>, piece: Bytes, wish: &Wish) -> Result<bool, Slow> {
    if piece.is_empty() {
        return Ok(true);
    }
    let late = async {
        let since = Instant::now();
        while !wish.watch.is_late() && since.elapsed() < wish.ping {
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        biased;
        sent = to.send(piece) => Ok(sent.is_ok()),
        () = late => Err(Slow(0)),
    }
}
