//! Watching by WebSocket.
//!
//! Decides when a connection ends: the client leaves, is too slow or does not answer a ping before the next one
//! (1013), or the gateway leaves (1001). What a client sends is read and dropped.

use super::{BATCH, GATHER, LOOK, Wish};
use crate::feed::{Feed, Watch};
use crate::gateway::Gateway;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, interval_at, sleep, timeout};

/// The largest message of a client, in bytes: there is nothing to say.
const LARGEST: usize = 4 << 10;

/// How long the end of a connection may take.
const CLOSING: Duration = Duration::from_secs(1);

/// Why a connection ends.
enum End {
    /// The client has left.
    Gone,
    /// It is too slow; so many events are known to be gone.
    Slow(u64),
    /// The gateway leaves.
    Leaving,
}

pub(super) fn answer(upgrade: WebSocketUpgrade, wish: Wish, gateway: &Arc<Gateway>) -> Response {
    let feed = Arc::clone(&gateway.feed);
    upgrade
        .max_message_size(LARGEST)
        .max_frame_size(LARGEST)
        .on_upgrade(move |socket| serve(socket, wish, feed))
}

async fn serve(mut socket: WebSocket, mut wish: Wish, feed: Arc<Feed>) {
    let close = match speak(&mut socket, &mut wish, &feed).await {
        End::Gone => return,
        End::Slow(lost) => {
            wish.too_slow(lost);
            CloseFrame {
                code: close_code::AGAIN,
                reason: "too slow: events were lost".into(),
            }
        }
        End::Leaving => CloseFrame {
            code: close_code::AWAY,
            reason: "this process leaves".into(),
        },
    };
    // Others may have the place and the memory from now on.
    drop(wish);
    let closing = async {
        if socket.send(Message::Close(Some(close))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    // Whoever does not answer has the connection closed all the same.
    let _ = timeout(CLOSING, closing).await;
}

async fn speak(socket: &mut WebSocket, wish: &mut Wish, feed: &Feed) -> End {
    let mut left = std::pin::pin!(feed.left());
    let mut pings = interval_at(Instant::now() + wish.ping, wish.ping);
    let mut awaited = false;
    let mut events = Vec::with_capacity(BATCH);
    loop {
        events.clear();
        let mut messages = Vec::new();
        let mut leaving = false;
        tokio::select! {
            lost = wish.watch.next(&mut events, BATCH) => {
                if lost > 0 {
                    return End::Slow(lost);
                }
            }
            message = socket.recv() => match message {
                Some(Ok(_)) => {
                    awaited = false;
                    continue;
                }
                Some(Err(_)) | None => return End::Gone,
            },
            _ = pings.tick() => {
                if awaited {
                    // It may read nothing any more, or not even be there.
                    return End::Slow(0);
                }
                awaited = true;
                messages.push(Message::Ping(Vec::new().into()));
            }
            () = left.as_mut() => {
                leaving = true;
                let lost = wish.watch.more(&mut events, usize::MAX);
                if lost > 0 {
                    return End::Slow(lost);
                }
            }
        }
        let full = events.len() >= BATCH;
        let wanted = events
            .iter()
            .filter(|event| wish.filter.passes(&event.kind));
        messages.extend(wanted.map(|event| Message::Text(event.json().into())));
        if let Err(end) = send(socket, messages, &wish.watch, wish.ping).await {
            return end;
        }
        if leaving {
            return End::Leaving;
        }
        if !full {
            sleep(GATHER).await;
        }
    }
}

/// Sends messages to a client that takes them.
async fn send(
    socket: &mut WebSocket,
    messages: Vec<Message>,
    watch: &Watch,
    patience: Duration,
) -> Result<(), End> {
    let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
    let sending = async {
        for message in messages {
            socket.send(message).await?;
        }
        Ok::<(), axum::Error>(())
    };
    let late = async {
        let since = Instant::now();
        while !watch.is_late() && since.elapsed() < patience {
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        biased;
        sent = sending => sent.map_err(|_| End::Gone),
        () = late => Err(End::Slow(count)),
    }
}
