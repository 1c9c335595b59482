//! A scripted console: the documented protocol, written down a second time.
//!
//! It keeps what it stores as a database would, over restarts of its own, and counts each id once.

use super::eventually;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures_core::Stream;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;

/// What opens it.
pub(crate) const CONSOLE_KEY: &str = "jp-open-sesame";

/// What it does instead of answering as it should.
#[derive(Clone, Debug)]
pub(crate) enum Trick {
    /// Stores the next spend it is sent, and the answer is lost.
    LoseAnswer,
    /// Stores nothing and answers with this status.
    Status(u16),
    /// Stores nothing and answers 200 with this text.
    Say(String),
    /// Sends the gateway elsewhere.
    Redirect(String),
    /// Answers without end.
    Endless,
    /// Never answers.
    Silent,
}

/// What it knows.
#[derive(Default)]
struct Memory {
    /// Settlements by id.
    rows: BTreeMap<String, Value>,
    /// Rows that came again.
    again: usize,
    /// How far it is, by gateway.
    stored: BTreeMap<String, Value>,
    /// The budgets it wants.
    budgets: Vec<Value>,
    /// Every message that it answered or played a trick on.
    messages: Vec<Value>,
    /// The number of the first message that was answered with budgets.
    wanted: Option<usize>,
    tricks: VecDeque<Trick>,
    /// Calls without the right key.
    refused: usize,
}

/// A running console.
pub(crate) struct Console {
    addr: SocketAddr,
    memory: Arc<Mutex<Memory>>,
    /// Its connections end with it.
    server: Option<Runtime>,
}

impl Console {
    /// A console on a port of its own.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut console = Self {
            addr: listener.local_addr().expect("bound"),
            memory: Arc::default(),
            server: None,
        };
        console.serve(listener);
        console
    }

    fn serve(&mut self, listener: TcpListener) {
        let router = Router::new()
            .route("/api/v1/gateways/{gateway}/sync", post(sync))
            .with_state(Arc::clone(&self.memory));
        let server = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        listener.set_nonblocking(true).expect("a socket");
        server.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            axum::serve(listener, router).await.expect("it serves");
        });
        self.server = Some(server);
    }

    /// Goes away, connections and all; what it has stored stays.
    pub(crate) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }

    /// Comes back under the same address.
    pub(crate) async fn again(&mut self) {
        let addr = self.addr;
        let listener = eventually("the console's own port", || TcpListener::bind(addr).ok());
        self.serve(listener.await);
    }

    /// `http://` and its address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Lines of a policy that switch it on.
    pub(crate) fn lines(&self) -> String {
        format!(
            "console:\n  enabled: true\n  url: \"{}\"\n  sync_interval_seconds: 1\n  api_key: \"${{JETPATCH_API_KEY}}\"",
            self.url()
        )
    }

    fn look<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Is reached by TLS as well, under the name `localhost`; the port and the certificate.
    pub(crate) async fn with_tls(&self) -> (u16, String) {
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate and its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = listener.await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let inside = self.addr;
        self.server.as_ref().expect("it runs").spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let plain = tokio::net::TcpStream::connect(inside).await;
                    if let (Ok(mut outer), Ok(mut inner)) = (acceptor.accept(socket).await, plain) {
                        // Either side may end it.
                        let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
                    }
                });
            }
        });
        (port, made.cert.pem())
    }

    /// Wants these budgets from now on.
    pub(crate) fn want(&self, budgets: Value) {
        let Value::Array(budgets) = budgets else {
            panic!("a list of budgets")
        };
        self.look(|memory| memory.budgets = budgets);
    }

    /// Plays a trick on the next message, after those it was told before.
    pub(crate) fn trick(&self, trick: Trick) {
        self.look(|memory| memory.tricks.push_back(trick));
    }

    /// Waits until all tricks have been played.
    pub(crate) async fn played(&self) {
        eventually("the console's last trick", || {
            self.look(|memory| memory.tricks.is_empty()).then_some(())
        })
        .await;
    }

    /// Forgets what it has stored, as after a restore of nothing.
    pub(crate) fn forget(&self) {
        self.look(|memory| {
            memory.rows.clear();
            memory.stored.clear();
            memory.again = 0;
        });
    }

    /// Every settlement it has, by id.
    pub(crate) fn rows(&self) -> BTreeMap<String, Value> {
        self.look(|memory| memory.rows.clone())
    }

    /// How many rows came more than once.
    pub(crate) fn again_count(&self) -> usize {
        self.look(|memory| memory.again)
    }

    /// The settlements, once there are `count`.
    pub(crate) async fn received(&self, count: usize) -> BTreeMap<String, Value> {
        eventually(&format!("{count} settlements at the console"), || {
            Some(self.rows()).filter(|rows| rows.len() >= count)
        })
        .await
    }

    /// Every message so far.
    pub(crate) fn messages(&self) -> Vec<Value> {
        self.look(|memory| memory.messages.clone())
    }

    /// The number of the first message that was answered with budgets.
    pub(crate) fn first_wanted(&self) -> Option<usize> {
        self.look(|memory| memory.wanted)
    }

    /// How many calls came without its key.
    pub(crate) fn refused(&self) -> usize {
        self.look(|memory| memory.refused)
    }

    /// Waits for the answer to the first round that begins from now on, and for the next round: by
    /// then the answer has acted. A round begins with a message that has the state of accounts.
    pub(crate) async fn exchanged(&self) -> Value {
        let rounds = || {
            let mut messages = self.messages();
            messages.retain(|message| message["budgets"] != json!([]));
            messages
        };
        let before = rounds().len();
        eventually("two rounds with the console", || {
            rounds().get(before + 1).cloned()
        })
        .await
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The state of an account in a message.
pub(crate) fn told(message: &Value, account: &str) -> Value {
    let budgets = message["budgets"].as_array().expect("budgets");
    let found = budgets.iter().find(|state| state["account"] == account);
    found.cloned().unwrap_or_default()
}

async fn sync(
    State(memory): State<Arc<Mutex<Memory>>>,
    Path(gateway): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let key = headers
        .get(header::AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    let message: Value = serde_json::from_slice(&body).expect("the gateway sends JSON");
    assert_eq!(message["gateway_id"], gateway.as_str());
    let trick = {
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        if key != Some(format!("Bearer {CONSOLE_KEY}").as_bytes()) {
            memory.refused += 1;
            return StatusCode::UNAUTHORIZED.into_response();
        }
        memory.messages.push(message.clone());
        // There is nothing to lose of an answer to nothing.
        let wait = matches!(memory.tricks.front(), Some(Trick::LoseAnswer))
            && message["spend"] == json!([]);
        if wait {
            None
        } else {
            memory.tricks.pop_front()
        }
    };
    let answer = |memory: &Mutex<Memory>| {
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        store(&mut memory, &gateway, &message);
        let stored = memory.stored.get(&gateway).cloned();
        if !memory.budgets.is_empty() {
            let last = memory.messages.len() - 1;
            memory.wanted.get_or_insert(last);
        }
        json!({"acknowledged": stored.unwrap_or(json!({})), "budgets": memory.budgets})
    };
    match trick {
        None => axum::Json(answer(&memory)).into_response(),
        Some(Trick::LoseAnswer) => {
            answer(&memory);
            Body::from_stream(Odd::Cut).into_response()
        }
        Some(Trick::Status(status)) => StatusCode::from_u16(status)
            .expect("a status")
            .into_response(),
        Some(Trick::Say(text)) => text.into_response(),
        Some(Trick::Redirect(to)) => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
        }
        Some(Trick::Endless) => Body::from_stream(Odd::Endless).into_response(),
        Some(Trick::Silent) => std::future::pending::<Response>().await,
    }
}

/// What the protocol asks of a console: rows and position as one, only from where it stands, and each
/// id once.
fn store(memory: &mut Memory, gateway: &str, message: &Value) {
    let rows = message["spend"].as_array().expect("a list of spend");
    if message["cursor"].is_null() {
        let silent = rows.is_empty() && message["next"].is_null();
        assert!(silent, "a question says nothing");
        return;
    }
    let stored = memory.stored.get(gateway).cloned();
    let here = stored.unwrap_or(json!({})) == message["cursor"];
    for row in rows {
        let id = row["id"].as_str().expect("an id").to_owned();
        match memory.rows.get(&id) {
            Some(old) => {
                assert_eq!(old, row, "the same id is the same settlement");
                memory.again += 1;
            }
            None if here => {
                memory.rows.insert(id, row.clone());
            }
            None => {}
        }
    }
    if here {
        let next = message["next"].clone();
        memory.stored.insert(gateway.to_owned(), next);
    }
}

/// Bodies that no honest server sends.
enum Odd {
    Cut,
    Endless,
}

impl Stream for Odd {
    type Item = std::io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(Some(match *self {
            Self::Cut => Err(std::io::ErrorKind::ConnectionReset.into()),
            Self::Endless => Ok(Bytes::from_static(&[b' '; 1 << 14])),
        }))
    }
}
