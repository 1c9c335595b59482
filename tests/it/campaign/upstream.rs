//! A provider from hell: what it answers is made from chance, request by request.

use super::chance;
use super::mutation::{mutate, noise};
use crate::support::{Peer, Scripted};
use std::time::Duration;

/// What only a second answer, sent unasked behind the first, contains. No client may ever see it.
pub(super) const POISON: &str = "poison-from-another-answer";

/// What every deliberate error status of this provider has in its body.
pub(super) const DELIBERATE: &str = "deliberate";

const EVENTS: &str = concat!(
    "data: {\"id\":\"gen-1\",\"model\":\"openai/gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":",
    "{\"role\":\"assistant\",\"content\":\"The\"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"gen-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" weir\"},",
    "\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"id\":\"gen-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,",
    "\"total_tokens\":11,\"cost\":0.0000026}}\n\n",
    "data: [DONE]\n\n",
);

const JSON: &str = concat!(
    "{\"id\":\"gen-1\",\"model\":\"openai/gpt-4o-mini\",\"choices\":[{\"index\":0,\"message\":",
    "{\"role\":\"assistant\",\"content\":\"The weir\"},\"finish_reason\":\"stop\"}],\"usage\":",
    "{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11,\"cost\":0.0000026}}",
);

/// What happens to the connection after an answer.
enum Next {
    Keep,
    Close,
    Reset,
    /// Silence, until the other end has enough of it.
    Hang,
}

pub(super) async fn start(seed: u64) -> Scripted {
    Scripted::start(move |number, peer| serve(seed, number, peer)).await
}

async fn serve(seed: u64, number: usize, mut peer: Peer) {
    let mut chance = chance(seed, u64::try_from(number).unwrap_or(0) | 1 << 40);
    while let Some(request) = peer.request().await {
        let calm = request.body.windows(4).any(|four| four == b"calm");
        let stream = request
            .body
            .windows(13)
            .any(|text| text == b"\"stream\":true");
        let next = if calm {
            peer.write(whole(stream)).await;
            Next::Keep
        } else {
            answer(&mut chance, stream, &mut peer).await
        };
        match next {
            Next::Keep => {}
            Next::Close => return,
            Next::Reset => return peer.reset(),
            Next::Hang => return peer.closed().await,
        }
    }
}

/// A good answer.
fn whole(stream: bool) -> Vec<u8> {
    if stream {
        chunked(&[EVENTS.as_bytes()])
    } else {
        sized("200 OK", JSON.as_bytes())
    }
}

fn sized(status: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

/// What begins a stream in chunks.
pub(super) const EVENT_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// One chunk.
pub(super) fn chunk(data: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", data.len()).into_bytes();
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    out
}

fn chunked(pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = EVENT_HEAD.to_vec();
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        out.extend(chunk(piece));
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// A stream with one event more in front.
fn with_event(event: &[u8]) -> Vec<u8> {
    chunked(&[b"data: ", event, b"\n\n", EVENTS.as_bytes()])
}

const STATUS_LINES: [&str; 12] = [
    "HTTP/1.1 999 Odd",
    "HTTP/1.1 0 Zero",
    "HTTP/9.9 200 OK",
    "ICY 200 OK",
    "HTTP/1.1 20",
    "HTTP/1.1 200",
    "HTTP/1.1 -200 OK",
    "HTTP/1.1  200  OK",
    "200 OK",
    "HTTP/1.1 OK",
    "",
    "HTTP/1.0 200 OK",
];

const NUMBERS: [&str; 10] = [
    "-1",
    "1e308",
    "1e400",
    "\"9\"",
    "null",
    "[]",
    "0.1",
    "99999999999999999999999",
    "{}",
    "-1e-9",
];

async fn answer(chance: &mut fastrand::Rng, stream: bool, peer: &mut Peer) -> Next {
    let mut body = if stream { EVENTS } else { JSON }.as_bytes().to_vec();
    let bytes = match chance.u8(0..30) {
        // Well-formed HTTP around nonsense.
        0..4 => {
            mutate(&mut body, chance);
            if stream {
                chunked(&[&body])
            } else {
                sized("200 OK", &body)
            }
        }
        4 => chunked(&[&noise(chance, 4000)]),
        5 => sized("200 OK", &noise(chance, 4000)),
        6 => with_event(&vec![b'x'; chance.usize(100_000..2_000_000)]),
        7 => {
            let number = NUMBERS[chance.usize(0..NUMBERS.len())];
            let usage = format!(
                "{{\"choices\":[],\"usage\":{{\"prompt_tokens\":{number},\"completion_tokens\":{number},\
                 \"cost\":{number}}}}}"
            );
            with_event(usage.as_bytes())
        }
        8 => with_event("[".repeat(chance.usize(1..5000)).as_bytes()),
        9 => chunked(&[
            ": comment\n\n".repeat(chance.usize(1..2000)).as_bytes(),
            &body,
        ]),
        10 => chunked(&[b"event: x\ndata\ndata:\nid: \xff\nretry: -1\n\n", &body]),
        // Broken HTTP.
        11 => {
            peer.write([EVENT_HEAD, format!("{:x}\r\n", 5000).as_bytes(), &body].concat())
                .await;
            return Next::Close;
        }
        12 => {
            let sizes = ["ZZ", "-5", "FFFFFFFFFFFFFFFFFF", "", "5 5", "0x10"];
            let size = sizes[chance.usize(0..sizes.len())];
            peer.write([EVENT_HEAD, &chunk(&body), size.as_bytes(), b"\r\n", &body].concat())
                .await;
            return Next::Close;
        }
        13 | 14 => {
            let line = STATUS_LINES[chance.usize(0..STATUS_LINES.len())];
            let rest = format!("{line}\r\nContent-Length: {}\r\n\r\n", body.len());
            peer.write([rest.as_bytes(), &body].concat()).await;
            return Next::Close;
        }
        15 => {
            let line = format!("X-Bomb: {}\r\n", "b".repeat(chance.usize(10..2000)));
            let lines = line.repeat(chance.usize(1..600));
            let head = format!(
                "HTTP/1.1 200 OK\r\n{lines}Content-Length: {}\r\n\r\n",
                body.len()
            );
            peer.write([head.as_bytes(), &body].concat()).await;
            return Next::Close;
        }
        16 => {
            let lengths = [
                "+5",
                "-1",
                "5, 6",
                "99999999999999999999",
                "x",
                "3\r\nContent-Length: 4",
            ];
            let length = lengths[chance.usize(0..lengths.len())];
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            peer.write([head.as_bytes(), &body].concat()).await;
            return Next::Close;
        }
        17 => {
            let head =
                "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n";
            peer.write([head.as_bytes(), &chunk(&body), b"0\r\n\r\n"].concat())
                .await;
            return Next::Close;
        }
        18 => {
            peer.write(noise(chance, 3000)).await;
            return Next::Close;
        }
        19 => {
            let mut bytes = whole(stream);
            bytes.truncate(chance.usize(0..bytes.len()));
            peer.write(bytes).await;
            return if chance.bool() {
                Next::Reset
            } else {
                Next::Close
            };
        }
        20 => {
            let more = "HTTP/1.1 100 Continue\r\n\r\n".repeat(chance.usize(1..200));
            peer.write(more).await;
            whole(stream)
        }
        21 => b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
            .to_vec(),
        22 => {
            let statuses = [
                "204 None",
                "304 Same",
                "301 Moved",
                "307 There",
                "205 Reset",
            ];
            let status = statuses[chance.usize(0..statuses.len())];
            let body = if chance.bool() { &body[..] } else { b"" };
            let head = format!(
                "HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            peer.write([head.as_bytes(), body].concat()).await;
            return Next::Close;
        }
        23 => {
            let statuses = [
                "400 Bad", "401 No", "429 Slow", "500 Oh", "502 Bad", "503 Busy", "529 Full",
            ];
            let status = statuses[chance.usize(0..statuses.len())];
            sized(
                status,
                format!("{{\"error\":{{\"message\":\"{DELIBERATE}\"}}}}").as_bytes(),
            )
        }
        24 => {
            let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n";
            [head.as_bytes(), &[0x1f; 20]].concat()
        }
        // One answer too many: it must not become somebody else's.
        25 | 26 => [whole(stream), sized("200 OK", POISON.as_bytes())].concat(),
        27 => {
            let trailers = "0\r\nX-Trailer: 1\r\nContent-Length: 3\r\n\r\n";
            [EVENT_HEAD, &chunk(&body), trailers.as_bytes()].concat()
        }
        28 if chance.u8(0..20) == 0 => {
            let cut = chance.usize(0..body.len());
            peer.write([EVENT_HEAD, &chunk(&body[..cut.max(1)])].concat())
                .await;
            return Next::Hang;
        }
        28 => {
            return if chance.bool() {
                Next::Reset
            } else {
                Next::Close
            };
        }
        _ => {
            // In small pieces, with a breath in between.
            for piece in whole(stream).chunks(chance.usize(20..200)) {
                peer.write(piece).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            return Next::Keep;
        }
    };
    peer.write(bytes).await;
    Next::Keep
}
