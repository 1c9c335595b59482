//! Hostile requests, made from chance: bodies, heads, framing, whole connections.

use serde_json::json;

/// What a hostile client does after it has sent its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Says that nothing more will come, and reads what there is.
    HalfClose,
    /// Reads one answer and goes.
    Read,
    /// Goes at once.
    Leave,
}

/// Everything a hostile client sends on one connection.
#[derive(Debug)]
pub(super) struct Attack {
    /// Its kind, for the figures.
    pub(super) kind: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) then: Then,
}

/// Text that parsers have stumbled over.
const TOKENS: [&str; 24] = [
    "null",
    "true",
    "-0",
    "1e400",
    "-1",
    "0.5",
    "1e-400",
    "NaN",
    "18446744073709551616",
    "9223372036854775808",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\"\\",
    "\u{0}",
    "\u{feff}",
    "[]",
    "{}",
    "[[",
    "}}",
    ",",
    ":",
    "\"\"",
    "\"messages\"",
    "\r\n\r\n",
];

/// Header lines that proxies have been fooled with.
const HEADERS: [&[u8]; 30] = [
    b"Connection: x-agent-id, authorization, close",
    b"Connection: keep-alive, upgrade",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: \x0bchunked",
    b"Content-Length: +5",
    b"Content-Length: 5, 5",
    b"Content-Length: 0",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: -1",
    b"Content-Length : 4",
    b"Host: other",
    b"Host:",
    b"Expect: 100-continue",
    b"Expect: nonsense",
    b"Upgrade: websocket",
    b"HTTP2-Settings: AAMAAABkAAQAAP__",
    b"X-Agent-ID: \xff\xfe",
    b"X-Agent-ID: nobody",
    b"Authorization: Bearer",
    b"Authorization: Bearer \xc3\x28",
    b"Header Without Colon",
    b": no name",
    b" folded: line",
    b"Content-Encoding: gzip",
    b"Content-Type: text/plain",
    b"Proxy-Authorization: Basic eDp4",
    b"X-Request-ID: req_forged",
    b"Trailer: content-length",
    b"X-Nul: a\x00b",
];

/// A body that is valid, of some shape.
pub(super) fn valid_body(chance: &mut fastrand::Rng) -> Vec<u8> {
    let stream = chance.bool();
    let chunks = chance.u8(1..6);
    let mut body = json!({
        "model": "openai/gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "You hold the river back."},
            {"role": "user", "content": format!("[[chunks={chunks}]] wéir \u{1F30A} \"quoted\"")},
        ],
        "stream": stream,
    });
    if chance.bool() {
        body["max_tokens"] = chance.u32(1..5000).into();
    }
    if chance.u8(0..4) == 0 {
        body["tools"] = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
        body["temperature"] = json!(0.7);
    }
    if chance.u8(0..4) == 0 {
        body["n"] = chance.u8(1..4).into();
    }
    body.to_string().into_bytes()
}

/// Changes bytes here and there.
pub(super) fn mutate(bytes: &mut Vec<u8>, chance: &mut fastrand::Rng) {
    for _ in 0..chance.usize(1..4) {
        let at = chance.usize(0..=bytes.len());
        match chance.u8(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.u8(0..8),
            1 if at < bytes.len() => bytes[at] = chance.u8(..),
            2 => bytes.truncate(at),
            3 => {
                let end = bytes.len().min(at + chance.usize(0..20));
                bytes.drain(at..end);
            }
            4 => {
                let end = bytes.len().min(at + chance.usize(0..60));
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            5 => {
                bytes.splice(
                    at..at,
                    std::iter::repeat_n(chance.u8(..), chance.usize(1..200)),
                );
            }
            _ => {
                let token = TOKENS[chance.usize(0..TOKENS.len())];
                bytes.splice(at..at, token.bytes());
            }
        }
    }
}

pub(super) fn noise(chance: &mut fastrand::Rng, most: usize) -> Vec<u8> {
    let length = chance.usize(0..=most);
    (0..length).map(|_| chance.u8(..)).collect()
}

/// JSON that is meant to be expensive, ambiguous or out of range.
fn nasty_body(chance: &mut fastrand::Rng) -> Vec<u8> {
    let deep = chance.usize(1..2000);
    let token = TOKENS[chance.usize(0..TOKENS.len())];
    let message = r#""messages":[{"role":"user","content":"x"}]"#;
    let text = match chance.u8(0..9) {
        0 => format!(
            r#"{{{message},"x":{}{}}}"#,
            "[".repeat(deep),
            "]".repeat(deep)
        ),
        1 => format!(
            r#"{{{message},"x":{}1{}}}"#,
            r#"{"a":"#.repeat(deep),
            "}".repeat(deep)
        ),
        2 => format!(r#"{{{message},"max_tokens":{token}}}"#),
        3 => format!(r#"{{{message},"n":{token},"max_tokens":18446744073709551615}}"#),
        4 => format!(r#"{{{message},{message}}}"#),
        5 => format!(r#"{{{message},"stream":{token},"stream_options":{token}}}"#),
        6 => format!(r#"{{"messages":{token},"model":{token}}}"#),
        7 => format!(r#"{{"messages":[{{"role":"user","content":{token}}}],"model":{token}}}"#),
        _ => format!(r#"{{{message},"{}":1}}"#, "k".repeat(deep * 10)),
    };
    text.into_bytes()
}

fn head(method: &str, path: &str, length: usize, extra: &[&[u8]]) -> Vec<u8> {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: weir\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n"
    )
    .into_bytes();
    for line in extra {
        head.extend_from_slice(line);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn post(body: &[u8]) -> Vec<u8> {
    let mut request = head("POST", "/v1/chat/completions", body.len(), &[]);
    request.extend_from_slice(body);
    request
}

/// A body in chunks, some of them wrong.
fn chunked(body: &[u8], chance: &mut fastrand::Rng) -> Vec<u8> {
    let mut out = b"POST /v1/chat/completions HTTP/1.1\r\nHost: weir\r\nContent-Type: \
                    application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        .to_vec();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(chance.usize(1..=rest.len()));
        let size = match chance.u8(0..30) {
            0 => "ZZ".to_owned(),
            1 => "FFFFFFFFFFFFFFFFF".to_owned(),
            2 => format!("{:x}", chunk.len() + 3),
            3 => format!("-{:x}", chunk.len()),
            4 => format!("{:x};ext={}", chunk.len(), "e".repeat(300)),
            _ => format!("{:x}", chunk.len()),
        };
        out.extend_from_slice(size.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        rest = after;
    }
    match chance.u8(0..6) {
        0 => {}
        1 => out.extend_from_slice(b"0\r\nContent-Length: 5\r\nX: y\r\n\r\n"),
        _ => out.extend_from_slice(b"0\r\n\r\n"),
    }
    out
}

/// The next hostile connection.
pub(super) fn attack(chance: &mut fastrand::Rng) -> Attack {
    let mut body = valid_body(chance);
    let then = match chance.u8(0..10) {
        0 => Then::Leave,
        1 if chance.u8(0..4) == 0 => Then::Read,
        _ => Then::HalfClose,
    };
    let (kind, bytes, then) = match chance.u8(0..20) {
        0..5 => {
            mutate(&mut body, chance);
            ("mutated body", post(&body), Then::Read)
        }
        5..7 => ("nasty JSON", post(&nasty_body(chance)), Then::Read),
        7 => ("random body", post(&noise(chance, 3000)), Then::Read),
        8 | 9 => {
            let count = chance.usize(1..4);
            let extra: Vec<&[u8]> = (0..count).map(|_| HEADERS[chance.usize(0..30)]).collect();
            let mut bytes = head("POST", "/v1/chat/completions", body.len(), &extra);
            bytes.extend_from_slice(&body);
            ("hostile headers", bytes, Then::HalfClose)
        }
        10 => {
            let mut bytes = post(&body);
            let cut = chance.usize(0..bytes.len());
            bytes.truncate(cut);
            ("cut off", bytes, then)
        }
        11 => ("random bytes", noise(chance, 2000), Then::HalfClose),
        12 | 13 => {
            let mut bytes = post(&body);
            bytes.extend(noise(chance, 300));
            ("garbage behind", bytes, Then::HalfClose)
        }
        14 => {
            let bytes = [
                post(&body),
                post(&valid_body(chance)),
                post(&valid_body(chance)),
            ];
            ("pipelined", bytes.concat(), Then::HalfClose)
        }
        15 | 16 => ("chunked", chunked(&body, chance), Then::HalfClose),
        17 => {
            let mut bytes = post(&body);
            mutate(&mut bytes, chance);
            ("mutated request", bytes, Then::HalfClose)
        }
        18 => {
            let paths = [
                "/",
                "/v1/chat/completions/",
                "/v1//chat/completions",
                "/api/spend/%2e%2e",
                "/api/budget/default",
                "/api/reset/nobody",
                "/metrics?x=[[",
                "*",
                "http://x/api/health",
                "/api/\u{7f}",
                "/v1/chat/completions?status=500",
            ];
            let methods = [
                "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "TRACE", "X", "PRI",
            ];
            let path = paths[chance.usize(0..paths.len())];
            let method = methods[chance.usize(0..methods.len())];
            let mut bytes = head(method, path, body.len(), &[]);
            bytes.extend_from_slice(&body);
            ("other routes", bytes, Then::HalfClose)
        }
        _ => {
            let long = [b"X: ".to_vec(), vec![b'x'; chance.usize(1000..100_000)]].concat();
            let lines: Vec<&[u8]> = match chance.u8(0..2) {
                0 => vec![&long],
                _ => vec![b"X-Many: 1"; chance.usize(50..400)],
            };
            let mut bytes = head("POST", "/v1/chat/completions", body.len(), &lines);
            bytes.extend_from_slice(&body);
            ("large head", bytes, Then::HalfClose)
        }
    };
    Attack { kind, bytes, then }
}
