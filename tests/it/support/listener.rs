//! A small HTTP server of a router, for what the gateway tells others.

use axum::Router;
use std::net::SocketAddr;
use tokio::task::JoinHandle;

/// A running server; it ends when this is dropped.
pub(crate) struct Listener {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Listener {
    /// Serves `router` on a port of its own.
    pub(crate) async fn start(router: Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self { address, serving }
    }

    /// `http://`, its address and this path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
