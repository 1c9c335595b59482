//! Whoever is told by the webhook, scripted.

use crate::support::eventually;
use crate::support::listener::Listener;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

/// A message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    headers: HeaderMap,
    body: Bytes,
    taken: bool,
}

impl Message {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// As the documentation says.
    pub(super) fn is_signed_with(&self, secret: &str) -> bool {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(self.header("x-weir-timestamp").as_bytes());
        mac.update(b".");
        mac.update(&self.body);
        let mut expected = "v1=".to_owned();
        for byte in mac.finalize().into_bytes() {
            let _ = write!(expected, "{byte:02x}");
        }
        self.header("x-weir-signature") == expected
    }
}

#[derive(Default)]
struct Memory {
    messages: Vec<Message>,
    answers: VecDeque<u16>,
}

type Shared = Arc<Mutex<Memory>>;

/// A running receiver; it ends when this is dropped.
pub(super) struct Receiver {
    listener: Listener,
    memory: Shared,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let memory = Shared::default();
        let router = Router::new()
            .route("/hook", post(take))
            .with_state(Arc::clone(&memory));
        let listener = Listener::start(router).await;
        Self { listener, memory }
    }

    pub(super) fn url(&self) -> String {
        self.listener.url("/hook")
    }

    /// What it says to the next messages; 200 afterwards.
    pub(super) fn answers(&self, statuses: &[u16]) {
        self.memory.lock().unwrap().answers.extend(statuses);
    }

    /// Every try.
    pub(super) fn all(&self) -> Vec<Message> {
        self.memory.lock().unwrap().messages.clone()
    }

    /// The messages it took, once they are so many.
    pub(super) async fn taken(&self, count: usize) -> Vec<Message> {
        let messages = eventually(&format!("{count} messages"), || {
            let mut all = self.all();
            all.retain(|message| message.taken);
            (all.len() >= count).then_some(all)
        })
        .await;
        assert_eq!(messages.len(), count);
        messages
    }
}

async fn take(State(memory): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mut memory = memory.lock().unwrap();
    let status = memory.answers.pop_front().unwrap_or(200);
    memory.messages.push(Message {
        headers,
        body,
        taken: status == 200,
    });
    let status = StatusCode::from_u16(status).unwrap();
    // A redirect to itself would be seen as another message.
    (status, [("location", "/hook")]).into_response()
}
