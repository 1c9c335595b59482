//! Listening, choosing the protocol of each connection, and ending.
//!
//! A plain connection speaks HTTP/2 when it begins with its preface, else HTTP/1; a TLS connection
//! what ALPN agreed on.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use http::Method;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::answer;
use super::api::Place;
use super::behaviour::Behaviour;
use super::http1::{self, Broken, Socket};
use super::http2;
use super::reply;
use super::request::Request;
use super::wire::{Head, Wire};
use super::{MockError, State, Tls};

/// How an HTTP/2 connection with prior knowledge begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Reads a certificate and its key.
pub(super) fn tls(tls: &Tls) -> Result<TlsAcceptor, MockError> {
    let text = |error: &dyn std::fmt::Display| MockError::Tls(error.to_string());
    let chain = CertificateDer::pem_slice_iter(&tls.certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| text(&error))?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key).map_err(|error| text(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| text(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until `stop` says so or its sender is gone, then lets exchanges under way go on for
/// `grace` and ends those that are left.
pub(super) async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    tls: Option<TlsAcceptor>,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let mut connections = JoinSet::new();
    let stopping = stop.clone();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(connection(socket, Arc::clone(&state), tls.clone(), stopping.clone()));
                }
                // Out of descriptors: some will be free again.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(grace, all).await;
    connections.shutdown().await;
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that the handle of the mock is gone, which is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Counts something as open while it lives.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

async fn connection(
    socket: TcpStream,
    state: Arc<State>,
    tls: Option<TlsAcceptor>,
    stop: watch::Receiver<bool>,
) {
    let counters = &state.recorder.counters;
    counters.connections.fetch_add(1, Relaxed);
    let _open = Open::new(&counters.open_connections);
    let _ = socket.set_nodelay(true);
    match tls {
        None => plain(socket, &state, stop).await,
        Some(acceptor) => {
            let Ok(socket) = acceptor.accept(socket).await else {
                return;
            };
            if socket.get_ref().1.alpn_protocol() == Some(b"h2") {
                http2_connection(socket, &state, stop).await;
            } else {
                http1_connection(socket, BytesMut::new(), &state, stop).await;
            }
        }
    }
}

async fn plain(mut socket: TcpStream, state: &Arc<State>, mut stop: watch::Receiver<bool>) {
    let mut input = BytesMut::with_capacity(16 * 1024);
    while input.len() < PREFACE.len() && PREFACE.starts_with(&input) {
        tokio::select! {
            read = socket.read_buf(&mut input) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
            }
            () = stopped(&mut stop) => return,
        }
    }
    if input.starts_with(PREFACE) {
        let (reader, writer) = socket.into_split();
        let reader = Cursor::new(input).chain(reader);
        http2_connection(tokio::io::join(reader, writer), state, stop).await;
    } else {
        http1_connection(socket, input, state, stop).await;
    }
}

async fn http1_connection<S: Socket>(
    socket: S,
    input: BytesMut,
    state: &State,
    mut stop: watch::Receiver<bool>,
) {
    let mut connection = http1::Connection::new(socket, input);
    while connection.reusable() {
        let request = tokio::select! {
            request = connection.request() => request,
            () = stopped(&mut stop) => return,
        };
        match request {
            Ok(request) => exchange(state, &request, &mut connection).await,
            Err(Broken::Garbage(reason)) => {
                connection.refuse(reason).await;
                break;
            }
            Err(Broken::Closed) => return,
        }
    }
    connection.close().await;
}

async fn http2_connection<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    state: &Arc<State>,
    mut stop: watch::Receiver<bool>,
) {
    let Ok(mut connection) = http2::accept(socket).await else {
        return;
    };
    let mut streams = JoinSet::new();
    let mut stopping = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { break };
                let state = Arc::clone(state);
                streams.spawn(async move {
                    if let Ok(request) = http2::request(request).await {
                        exchange(&state, &request, &mut http2::Exchange::new(respond)).await;
                    }
                });
            }
            Some(_) = streams.join_next(), if !streams.is_empty() => {}
            () = stopped(&mut stop), if !stopping => {
                stopping = true;
                connection.graceful_shutdown();
            }
        }
    }
    drop(connection);
    // Those that are left find out by themselves that the peer is gone.
    while streams.join_next().await.is_some() {}
}

async fn exchange<W: Wire>(state: &State, request: &Request, wire: &mut W) {
    let path = request.path.as_str();
    if request.method == Method::POST
        && let Some(place) = Place::of(path)
    {
        return answer::exchange(state, request, &place, wire).await;
    }
    let (status, body) = match (&request.method, path) {
        (&Method::GET, "/health") => (200, r#"{"status":"ok"}"#.to_owned()),
        (&Method::GET, "/stats") => (200, state.recorder.counters.json()),
        (&Method::GET, path) if path.ends_with("/models") => (200, models()),
        (&Method::GET, "/requests") => {
            let records = serde_json::to_string(&state.recorder.records());
            (200, records.unwrap_or_default())
        }
        (&Method::DELETE, "/requests") => {
            state.forget();
            (200, r#"{"status":"ok"}"#.to_owned())
        }
        _ => (
            404,
            r#"{"error":{"code":404,"message":"Not Found"}}"#.to_owned(),
        ),
    };
    let headers = vec![("content-type".into(), "application/json".into())];
    let head = Head {
        status,
        headers,
        length: None,
    };
    // Nobody waits for these answers so much that their loss matters.
    let _ = reply::whole(body.into_bytes(), head, &Behaviour::default(), wire).await;
}

/// The models with a price of their own, as OpenRouter lists them.
fn models() -> String {
    let price = |picos: u64| format!("0.{picos:012}");
    let data: Vec<serde_json::Value> = super::price::TABLE
        .iter()
        .map(|(id, input, output)| {
            serde_json::json!({
                "id": id,
                "object": "model",
                "name": id,
                "context_length": 128_000,
                "pricing": {"prompt": price(*input), "completion": price(*output)},
            })
        })
        .collect();
    serde_json::json!({"object": "list", "data": data}).to_string()
}
