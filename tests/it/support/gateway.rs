//! The real binary in a directory of its own.

pub(crate) mod upgrade;

use super::client::{self, Call, Raw, Reply};
use super::provider::Provider;
use super::{LOOK, PATIENCE, eventually};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Instant;
use weir::money::Nanos;

/// The model of agents that name none: known to the price tables of both the gateway and the mock,
/// at the same price.
pub(crate) const MODEL: &str = "openai/gpt-4o-mini";

/// A model at one dollar per million input tokens and two per million output tokens, to the mock
/// and, after [`Setup::unit_prices`], to the gateway; at most a thousand output tokens.
pub(crate) const UNIT: &str = "test/unit";

/// An agent of a policy.
#[derive(Clone)]
pub(crate) struct Agent {
    name: String,
    lines: Vec<String>,
    tiers: Vec<(String, Vec<String>)>,
    untiered: bool,
}

impl Agent {
    /// An agent with a hard budget in dollars and, unless told otherwise, one tier with [`MODEL`].
    pub(crate) fn new(name: &str, total: &str) -> Self {
        Self {
            name: name.to_owned(),
            lines: vec![format!("budget_total: {total}")],
            tiers: Vec::new(),
            untiered: false,
        }
    }

    /// Goes on serving when the budget is spent.
    pub(crate) fn soft(self) -> Self {
        self.line("hard_cap: false")
    }

    /// Another line of the agent, such as `period: daily`.
    pub(crate) fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// A tier, in file order.
    pub(crate) fn tier(mut self, threshold: &str, models: &[&str]) -> Self {
        let models = models.iter().map(|&model| model.to_owned()).collect();
        self.tiers.push((threshold.to_owned(), models));
        self
    }

    /// No tiers: the client names the model.
    pub(crate) fn untiered(mut self) -> Self {
        self.untiered = true;
        self
    }

    /// One tier with [`UNIT`].
    pub(crate) fn unit(self) -> Self {
        self.tier("0.0", &[UNIT])
    }

    fn yaml(&self) -> String {
        let mut text = format!("    {}:\n", self.name);
        for line in &self.lines {
            let _ = writeln!(text, "      {line}");
        }
        if self.untiered {
            return text;
        }
        text += "      tiers:\n";
        let one = [("0.0".to_owned(), vec![MODEL.to_owned()])];
        let tiers = if self.tiers.is_empty() {
            &one[..]
        } else {
            &self.tiers
        };
        for (threshold, models) in tiers {
            let _ = writeln!(text, "        - threshold: {threshold}\n          models:");
            for model in models {
                let _ = writeln!(text, "            - \"{model}\"");
            }
        }
        text
    }
}

/// A gateway about to be started. Without agents it has one, `default`, with a thousand dollars.
#[derive(Clone)]
pub(crate) struct Setup {
    upstream: Vec<String>,
    routing: Vec<String>,
    agents: Vec<Agent>,
    keys: Vec<String>,
    settings: String,
    models: String,
    env: Vec<(String, String)>,
    wrapper: Option<String>,
    policy: Option<String>,
    upgrade: bool,
    bare: bool,
}

impl Setup {
    /// With this `base_url`.
    pub(crate) fn new(base_url: &str) -> Self {
        Self {
            upstream: vec![format!("base_url: \"{base_url}\"")],
            routing: Vec::new(),
            agents: Vec::new(),
            keys: Vec::new(),
            settings: String::new(),
            models: String::new(),
            env: Vec::new(),
            wrapper: None,
            policy: None,
            upgrade: false,
            bare: false,
        }
    }

    /// Adds an agent.
    pub(crate) fn agent(mut self, agent: Agent) -> Self {
        self.agents.push(agent);
        self
    }

    /// A line under `cost_routing.openrouter`, such as `timeout_seconds: 1`.
    pub(crate) fn upstream(mut self, line: &str) -> Self {
        self.upstream.push(line.to_owned());
        self
    }

    /// A line under `cost_routing`, such as `metadata: false`; further lines keep their indentation.
    pub(crate) fn routing(mut self, lines: &str) -> Self {
        self.routing.push(lines.to_owned());
        self
    }

    /// Makes [`UNIT`] known.
    pub(crate) fn unit_prices(self) -> Self {
        self.routing(&format!(
            "prices:\n  {UNIT}: {{input_usd_per_million: 1, output_usd_per_million: 2, max_output_tokens: 1000}}"
        ))
    }

    /// A key for `agent`; `more` are further fields, such as `expires: ..., agents: [..]`.
    pub(crate) fn key(mut self, id: &str, key: &str, agent: &str, more: &str) -> Self {
        let digest = weir::secret::KeyDigest::of(key.as_bytes()).to_hex();
        let comma = if more.is_empty() { "" } else { ", " };
        self.keys.push(format!(
            "{{id: {id}, sha256: \"{digest}\", agent: {agent}{comma}{more}}}"
        ));
        self
    }

    /// The text of `weir.yaml`.
    pub(crate) fn settings(mut self, yaml: &str) -> Self {
        self.settings += yaml;
        self.settings += "\n";
        self
    }

    /// Shares budgets through Redis; `lines` is the inside of `stores.redis`, on one line.
    pub(crate) fn redis(self, lines: &str) -> Self {
        self.settings(&format!("stores: {{redis: {{{lines}}}}}"))
    }

    /// The text of `models.yaml`.
    pub(crate) fn models(mut self, yaml: &str) -> Self {
        self.models += yaml;
        self.models += "\n";
        self
    }

    /// A variable of its environment, which is otherwise empty.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it by this shell command line, in which `"$@"` is the gateway.
    pub(crate) fn through(mut self, shell: &str) -> Self {
        self.wrapper = Some(shell.to_owned());
        self
    }

    /// No policy file and no flags: nothing but the environment, and the Model Gateway's file if models are given.
    pub(crate) fn bare() -> Self {
        Self {
            bare: true,
            ..Self::new("")
        }
    }

    /// This policy instead of one made of the other parts.
    pub(crate) fn policy(mut self, yaml: &str) -> Self {
        self.policy = Some(yaml.to_owned());
        self
    }

    /// Started to take over from a process that serves.
    pub(crate) fn upgrading(mut self) -> Self {
        self.upgrade = true;
        self
    }

    /// The text of `policy.yaml`.
    pub(crate) fn policy_text(&self, directory: &Path) -> String {
        if let Some(text) = &self.policy {
            return text.clone();
        }
        let log = directory.join("spend.jsonl");
        let mut text = format!(
            "cost_routing:\n  spend_log: \"{}\"\n  openrouter:\n",
            log.display()
        );
        for line in &self.upstream {
            let _ = writeln!(text, "    {line}");
        }
        if !self
            .routing
            .iter()
            .any(|lines| lines.starts_with("retries"))
        {
            // What a story is not about must not make it slow.
            text += "  retries: 0\n";
        }
        for lines in &self.routing {
            for line in lines.lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        text += "  agents:\n";
        let fallback = [Agent::new("default", "1000")];
        let agents = if self.agents.is_empty() {
            &fallback[..]
        } else {
            &self.agents
        };
        for agent in agents {
            text += &agent.yaml();
        }
        if !self.keys.is_empty() {
            text += "auth:\n  keys:\n";
            for key in &self.keys {
                let _ = writeln!(text, "    - {key}");
            }
        }
        text
    }

    /// Starts it in a new directory and waits until it answers.
    pub(crate) async fn start(self) -> Gateway {
        let directory = new_directory();
        self.start_in(directory).await
    }

    /// Starts it in a given directory.
    pub(crate) async fn start_in(self, directory: PathBuf) -> Gateway {
        self.write(&directory);
        for _ in 0..5 {
            let port = free_port();
            let (mut child, stderr) = self.spawn(&directory, port);
            match ready(&mut child, port).await {
                Ok(()) => {
                    return Gateway {
                        addr: SocketAddr::from(([127, 0, 0, 1], port)),
                        directory,
                        child: Some(child),
                        http: client::http(),
                        setup: self,
                        stderr,
                        keep: false,
                    };
                }
                Err(status) => {
                    let said = std::fs::read_to_string(&stderr).unwrap_or_default();
                    let taken = said.contains("cannot listen") || said.contains("in use");
                    assert!(taken, "the gateway ended with {status:?}:\n{said}");
                }
            }
        }
        panic!("no free port was found");
    }

    /// Starts it in a given directory and expects that it ends by itself; gives what it said.
    pub(crate) async fn fails_in(self, directory: &Path) -> String {
        self.write(directory);
        let (mut child, stderr) = self.spawn(directory, free_port());
        let status = eventually("the end of a gateway that cannot start", || {
            child.try_wait().expect("a child of ours")
        })
        .await;
        assert!(!status.success(), "it ended as if all was well");
        std::fs::read_to_string(stderr).expect("readable")
    }

    fn write(&self, directory: &Path) {
        let write = |name: &str, text: &str| {
            std::fs::write(directory.join(name), text).expect("a writable directory");
        };
        if self.bare {
            if !self.models.is_empty() {
                // Where the Model Gateway has it.
                std::fs::create_dir_all(directory.join("config")).expect("a writable directory");
                write("config/models.yaml", &self.models);
            }
            return;
        }
        write("policy.yaml", &self.policy_text(directory));
        write("weir.yaml", &self.settings);
        if !self.models.is_empty() {
            write("models.yaml", &self.models);
        }
    }

    fn files(&self) -> &'static [&'static str] {
        if self.bare {
            &[]
        } else {
            &["--policy", "policy.yaml", "--config", "weir.yaml"]
        }
    }

    fn spawn(&self, directory: &Path, port: u16) -> (Child, PathBuf) {
        static STARTS: AtomicU32 = AtomicU32::new(0);
        let number = STARTS.fetch_add(1, Ordering::Relaxed);
        let stderr = directory.join(format!("stderr-{number}.log"));
        let output = File::create(&stderr).expect("a writable directory");
        let binary = env!("CARGO_BIN_EXE_weir");
        let mut command = match &self.wrapper {
            None => Command::new(binary),
            Some(shell) => {
                let mut command = Command::new("sh");
                command.args(["-c", shell, "sh", binary]);
                command
            }
        };
        command
            .arg("serve")
            .args(self.files())
            .args((!self.bare && !self.models.is_empty()).then_some("--models=models.yaml"))
            .args(self.upgrade.then_some("--upgrade"))
            .current_dir(directory)
            .env_clear()
            .env("ADAPTER_HOST", "127.0.0.1")
            .env("ADAPTER_PORT", port.to_string())
            .env("XDG_RUNTIME_DIR", directory)
            .env("RUST_BACKTRACE", "1")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle"))
            .stderr(output);
        // A wrapper such as `sh` is looked up there.
        if self.wrapper.is_some() {
            command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        }
        let child = command.spawn().expect("the gateway's binary runs");
        (child, stderr)
    }
}

/// Waits until the gateway answers, or gives how it ended.
async fn ready(child: &mut Child, port: u16) -> Result<(), ExitStatus> {
    let client = client::http();
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return Err(status);
        }
        let health = client
            .get(format!("http://127.0.0.1:{port}/health"))
            .send()
            .await;
        if health.is_ok_and(|answer| answer.status() == 200) {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            // Nobody else will end it.
            let _ = child.kill();
            let _ = child.wait();
            panic!("the gateway never answered on port {port}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

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

    /// The spend log of the first process in a directory.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.directory.join("spend.jsonl")
    }

    /// Every record of every segment.
    pub(crate) fn log(&self) -> Vec<Value> {
        let path = self.log_path();
        let mut files: Vec<_> = std::fs::read_dir(path.parent().expect("in a directory"))
            .expect("readable")
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
            .collect();
        files.sort();
        let text: String = files
            .iter()
            .map(|file| std::fs::read_to_string(file).expect("readable"))
            .collect();
        text.lines()
            // The last line may be half written.
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The settlements of an agent: log records without an `event`.
    pub(crate) fn bills(&self, agent: &str) -> Vec<Value> {
        let mut records = self.log();
        records.retain(|record| record.get("event").is_none() && record["agent_id"] == agent);
        records
    }

    /// The records of one `event` kind.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let mut records = self.log();
        records.retain(|record| record["event"] == kind);
        records
    }

    /// What an agent was ever billed, exactly, by the log; resets and pushes are not looked at.
    pub(crate) fn spend(&self, agent: &str) -> Nanos {
        let nanos = self
            .bills(agent)
            .iter()
            .map(|bill| bill["nano_usd"].as_i64().expect("nano_usd"))
            .sum();
        Nanos(nanos)
    }

    /// The settlements of an agent, once there are `count`.
    pub(crate) async fn billed(&self, agent: &str, count: usize) -> Vec<Value> {
        eventually(&format!("bill {count} of {agent}"), || {
            Some(self.bills(agent)).filter(|bills| bills.len() >= count)
        })
        .await
    }

    /// The only settlement of an agent, once it is there.
    pub(crate) async fn bill(&self, agent: &str) -> Value {
        let mut bills = self.billed(agent, 1).await;
        assert_eq!(bills.len(), 1, "one bill of {agent}");
        bills.remove(0)
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
