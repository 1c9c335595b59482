//! A port that leads to a server, to another one, or nowhere: what a virtual address, a broken cable and
//! a failover look like from a gateway.

use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A port of its own. Connections through it break when it is told to lead elsewhere.
pub(crate) struct Detour {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    leads: watch::Sender<Option<u16>>,
    task: tokio::task::JoinHandle<()>,
}

impl Detour {
    /// A way to this port of this machine.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let addr = listener.local_addr().expect("a port");
        let (leads, led) = watch::channel(Some(port));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, led.clone()));
            }
        });
        Self { addr, leads, task }
    }

    /// Leads to another port from now on.
    pub(crate) fn turn(&self, port: u16) {
        self.leads.send_replace(Some(port));
    }

    /// Leads nowhere from now on.
    pub(crate) fn cut(&self) {
        self.leads.send_replace(None);
    }
}

async fn forward(mut client: TcpStream, mut leads: watch::Receiver<Option<u16>>) {
    let Some(port) = *leads.borrow_and_update() else {
        return;
    };
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = leads.changed() => {}
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.task.abort();
    }
}
