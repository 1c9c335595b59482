//! How a gateway is set up and started.

use super::agent::{Agent, UNIT};
use super::{Gateway, free_port, new_directory};
use crate::support::{LOOK, PATIENCE, client, eventually};
use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

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
    /// Whether it takes over from a process that serves.
    pub(super) upgrade: bool,
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

    /// Writes its files.
    pub(super) fn write(&self, directory: &Path) {
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

    /// Starts the process; gives where its output goes, too.
    pub(super) fn spawn(&self, directory: &Path, port: u16) -> (Child, PathBuf) {
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
pub(super) async fn ready(child: &mut Child, port: u16) -> Result<(), ExitStatus> {
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
