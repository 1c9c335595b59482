//! The mock over real loopback sockets, key by key.

mod gemini;
mod keys;
mod messages;
mod openai;
mod protocols;
mod raw;
mod records;
mod responses;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Mock, MockHandle, Options, Record};

fn start() -> MockHandle {
    Mock::start(Options::default()).unwrap()
}

fn client() -> reqwest::Client {
    // Every test tries; the first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// A request whose prompt is this directive.
fn asking(directive: &str, stream: bool) -> Value {
    json!({
        "model": "openai/gpt-4o",
        "stream": stream,
        "messages": [{"role": "user", "content": format!("Hello [[{directive}]]")}],
    })
}

async fn post(mock: &MockHandle, body: &Value) -> reqwest::Response {
    let url = format!("http://{}/v1/chat/completions", mock.addr);
    client().post(url).json(body).send().await.unwrap()
}

/// Posts to any place, with one more header.
async fn put(mock: &MockHandle, path: &str, header: [&str; 2], body: &Value) -> (u16, String) {
    let url = format!("http://{}{path}", mock.addr);
    let request = client().post(url).header(header[0], header[1]);
    let response = request.json(body).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// The names and data of events; those without a name have an empty one.
fn named(text: &str) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    for event in text.split("\n\n").filter(|event| !event.is_empty()) {
        let mut name = String::new();
        for line in event.lines() {
            if let Some(said) = line.strip_prefix("event: ") {
                name = said.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]")
            {
                events.push((name.clone(), serde_json::from_str(data).unwrap()));
            }
        }
    }
    events
}

async fn answer(mock: &MockHandle, directive: &str) -> Value {
    post(mock, &asking(directive, false))
        .await
        .json()
        .await
        .unwrap()
}

async fn events(mock: &MockHandle, directive: &str) -> Vec<Value> {
    let text = post(mock, &asking(directive, true))
        .await
        .text()
        .await
        .unwrap();
    parse(&text)
}

fn parse(text: &str) -> Vec<Value> {
    text.split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// All content of the first choice.
fn content(events: &[Value]) -> String {
    let deltas = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    deltas.collect()
}

/// A request as bytes, with these extra header lines.
fn request(headers: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends these bytes on a new connection.
async fn connect(mock: &MockHandle, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(mock.addr).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    socket
}

/// Reads until the connection ends; how it ended is the second part.
async fn read(socket: &mut TcpStream) -> (Vec<u8>, std::io::Result<()>) {
    let mut read = Vec::new();
    let ended = socket.read_to_end(&mut read).await.map(|_| ());
    (read, ended)
}

/// Reads until this text has come.
async fn read_to(socket: &mut TcpStream, text: &str) -> Vec<u8> {
    let mut read = Vec::new();
    while memchr::memmem::find(&read, text.as_bytes()).is_none() {
        assert!(
            socket.read_buf(&mut read).await.unwrap() > 0,
            "ended before {text:?}"
        );
    }
    read
}

/// The only record with this tag, once its exchange is over.
async fn ended(mock: &MockHandle, tag: &str) -> Record {
    loop {
        let mut records = mock.tagged(tag);
        assert!(records.len() < 2, "{tag} is there twice");
        if let Some(record) = records.pop().filter(|record| record.ended) {
            return record;
        }
        tokio::task::yield_now().await;
    }
}
