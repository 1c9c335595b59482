//! The real binary in a directory of its own.

mod agent;
mod log;
mod setup;
pub(crate) mod upgrade;

pub(crate) use agent::{Agent, MODEL, UNIT};
pub(crate) use setup::Setup;

use super::client::{self, Call, Raw, Reply};
use super::provider::Provider;
use super::{LOOK, PATIENCE, eventually};
use serde_json::Value;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Instant;

/// A port nobody listens on, outside the range that outgoing connections take theirs from.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 200).unwrap_or(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (process * 100 + step) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A new, empty directory.
pub(crate) fn new_directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-it-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        if std::fs::create_dir(&path).is_ok() {
            return path;
        }
    }
}

/// A running gateway. It is killed and its directory removed when this is dropped; after a failed
/// test its output is shown.
pub(crate) struct Gateway {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    /// Its directory: `policy.yaml`, `weir.yaml`, `spend.jsonl`.
    pub(crate) directory: PathBuf,
    child: Option<Child>,
    http: reqwest::Client,
    setup: Setup,
    stderr: PathBuf,
    keep: bool,
}

impl Gateway {
    /// A gateway in front of a mock provider.
    pub(crate) fn over(provider: &Provider) -> Setup {
        Setup::new(&provider.base_url())
    }

    /// A gateway in front of anything.
    pub(crate) fn at(base_url: &str) -> Setup {
        Setup::new(base_url)
    }

    /// `http://` and its address.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// A chat completion with one user message.
    pub(crate) fn chat(&self, prompt: &str) -> Call {
        Call::new(&self.http, &self.url(""), prompt)
    }

    /// A connection to write bytes on.
    pub(crate) async fn raw(&self) -> Raw {
        Raw::connect(self.addr).await
    }

    /// `GET` of any path.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        let response = self.http.get(self.url(path)).send().await;
        Reply::read(response.expect("an answer")).await
    }

    /// `POST` of JSON text to any path.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        let request = self.http.post(self.url(path)).body(body.to_owned());
        let request = request.header("content-type", "application/json");
        Reply::read(request.send().await.expect("an answer")).await
    }

    /// An admin call with this token; a `GET` without a body, else a `POST`.
    pub(crate) async fn admin(&self, token: &str, path: &str, body: Option<&str>) -> Reply {
        let request = match body {
            None => self.http.get(self.url(path)),
            Some(body) => self.http.post(self.url(path)).body(body.to_owned()),
        };
        let request = request
            .header("content-type", "application/json")
            .bearer_auth(token);
        Reply::read(request.send().await.expect("an answer")).await
    }

    /// `GET /api/spend/{agent}`.
    pub(crate) async fn account(&self, agent: &str) -> Value {
        let reply = self.get(&format!("/api/spend/{agent}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    /// Pushes a budget.
    pub(crate) async fn push(&self, agent: &str, body: &str) -> Reply {
        self.post(&format!("/api/budget/{agent}"), body).await
    }

    /// The sum of a metric over all its labels; 0 when it was never counted.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.text();
        text.lines()
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| series.split('{').next() == Some(name))
            .filter_map(|(_, value)| value.parse::<f64>().ok())
            .sum()
    }

    /// Waits until no request is in flight and no reservation open.
    pub(crate) async fn quiet(&self) {
        let start = Instant::now();
        // The request that asks is in flight itself.
        while self.metric("weir_requests_in_flight").await > 1.0
            || self.metric("weir_reservations_open").await > 0.0
        {
            assert!(start.elapsed() < PATIENCE, "requests never ended");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What it has written to standard output and error.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Writes another policy; it is read at the next reload.
    pub(crate) fn write_policy(&self, setup: &Setup) {
        let text = setup.policy_text(&self.directory);
        std::fs::write(self.directory.join("policy.yaml"), text).expect("writable");
    }

    /// Ends the process as a crash would.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child of ours");
            child.wait().expect("a child of ours");
        }
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.pid())])
            .status();
        assert!(status.expect("sh runs").success(), "it runs");
    }

    /// Waits for its end; its exit code, nothing when a signal ended it.
    pub(crate) async fn wait_exit(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        let status = eventually("the end of the gateway", || {
            child.try_wait().expect("a child of ours")
        })
        .await;
        status.code()
    }

    /// Whether it has left by itself, and well.
    pub(crate) fn has_left(&mut self) -> bool {
        let Some(child) = &mut self.child else {
            return true;
        };
        let status = child.try_wait().expect("a child of ours");
        assert!(status.is_none_or(|status| status.success()), "{status:?}");
        status.is_some()
    }

    /// Asks it to leave, and waits; its exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait_exit().await
    }

    /// Asks it to hand over and leave, and waits; its exit code.
    pub(crate) async fn quit(mut self) -> Option<i32> {
        self.signal("QUIT");
        self.wait_exit().await
    }

    /// Ends it as a crash would, and starts it again in the same directory.
    pub(crate) async fn restart(mut self) -> Gateway {
        self.kill9();
        self.again().await
    }

    /// Starts it again in the same directory, after it ended.
    pub(crate) async fn again(mut self) -> Gateway {
        assert!(self.child.is_none(), "it has ended");
        self.keep = true;
        self.setup.upgrade = false;
        self.setup.clone().start_in(self.directory.clone()).await
    }

    /// A second process in the same directory.
    pub(crate) async fn beside(&self) -> Gateway {
        let mut second = self.setup.clone().start_in(self.directory.clone()).await;
        second.keep = true;
        second
    }

    /// Leaves its directory to another one.
    pub(crate) fn keeping(mut self) -> Self {
        self.keep = true;
        self
    }

    /// How it was set up.
    pub(crate) fn setup(&self) -> Setup {
        self.setup.clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("--- what the gateway said\n{}---", self.output());
        }
        if !self.keep {
            // What is left of it is in nobody's way.
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
