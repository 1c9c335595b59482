//! One process after another.

use super::setup::ready;
use super::{Gateway, Setup, client, eventually};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;

/// A process that waits to take over. It is killed when this is dropped.
pub(crate) struct Waiting {
    child: Option<Child>,
    setup: Setup,
    stderr: PathBuf,
}

impl Waiting {
    /// What it has written to standard output and error.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Waits for its end without having taken over; what it said.
    pub(crate) async fn gives_up(mut self) -> String {
        let mut child = self.child.take().expect("it runs");
        let status = eventually("the end of a process that waits", || {
            child.try_wait().expect("a child of ours")
        })
        .await;
        let said = self.output();
        assert!(!status.success(), "it ended as if all was well: {said}");
        said
    }

    /// The gateway that it has become, which answers.
    pub(crate) async fn serves(mut self, before: &Gateway) -> Gateway {
        let mut child = self.child.take().expect("it runs");
        let address = before.addr;
        if let Err(status) = ready(&mut child, address.port()).await {
            panic!("the new process ended with {status}: {}", self.output());
        }
        let pid = child.id();
        let named = eventually("that it says so", || {
            let named = server(&before.directory)?;
            (named == pid).then_some(named)
        });
        named.await;
        Gateway {
            addr: address,
            directory: before.directory.clone(),
            child: Some(child),
            http: client::http(),
            setup: self.setup.clone(),
            stderr: self.stderr.clone(),
            keep: before.keep,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The process that says it serves.
pub(crate) fn server(directory: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(directory.join("weir/upgrade.sock.pid")).ok()?;
    text.trim().parse().ok()
}

impl Gateway {
    /// Where listeners are handed over.
    pub(crate) fn upgrade_socket(&self) -> PathBuf {
        self.directory.join("weir/upgrade.sock")
    }

    /// Starts a process with `--upgrade` and this setup, on the same address.
    pub(crate) fn start_beside(&self, setup: &Setup) -> Waiting {
        let setup = setup.clone().upgrading();
        setup.write(&self.directory);
        let (child, stderr) = setup.spawn(&self.directory, self.addr.port());
        Waiting {
            child: Some(child),
            setup,
            stderr,
        }
    }

    /// A process that waits to take over.
    pub(crate) async fn successor(&self) -> Waiting {
        let socket = self.upgrade_socket();
        let mut waiting = self.start_beside(&self.setup.clone());
        eventually("the socket that listeners are handed over on", || {
            let child = waiting.child.as_mut().expect("it runs");
            let ended = child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "it ended: {}", waiting.output());
            // One that an earlier process left refuses.
            UnixStream::connect(&socket).ok()
        })
        .await;
        waiting
    }

    /// Hands over to a process that waits; this one may still have something to finish.
    pub(crate) async fn hand_over(&mut self, waiting: Waiting) -> Gateway {
        self.signal("QUIT");
        let successor = waiting.serves(self).await;
        self.keep = true;
        successor
    }

    /// Has a new process take its listeners over while it goes on answering; its own exit code, and
    /// the new one.
    pub(crate) async fn upgrade(mut self) -> (Option<i32>, Gateway) {
        let waiting = self.successor().await;
        let successor = self.hand_over(waiting).await;
        // Connections that wait for a request would be kept for a moment.
        self.http = client::http();
        (self.wait_exit().await, successor)
    }
}
