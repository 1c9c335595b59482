//! What comes along for putting it into service: the container's process 1, and the files of Docker and
//! systemd.

use crate::support::client::{Call, http};
use crate::support::gateway::upgrade::server;
use crate::support::gateway::{free_port, new_directory};
use crate::support::{LOOK, PATIENCE, Provider, Reply, eventually};
use serde_yaml::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("conf/deploy")
        .join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(deploy(file)).unwrap()
}

/// The container's process 1 with the AI Firewall's variables, in a directory of its own. It and
/// everything it started are killed when this is dropped.
struct Container {
    child: Child,
    directory: PathBuf,
    port: u16,
    upstream: String,
}

const KEY: &str = "a-long-random-text-for-clients";

impl Container {
    fn command(&self, arguments: &[&str]) -> Command {
        command(&self.directory, self.port, &self.upstream, arguments)
    }

    async fn start(provider: &Provider) -> Self {
        let (directory, port) = (new_directory(), free_port());
        let output = std::fs::File::create(directory.join("said.log")).unwrap();
        let upstream = provider.base_url().replace("/v1", "");
        let child = command(&directory, port, &upstream, &[])
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let container = Self {
            child,
            directory,
            port,
            upstream,
        };
        let start = Instant::now();
        while !container.healthy() {
            let waited = start.elapsed() < PATIENCE;
            assert!(waited, "never healthy: {}", container.said());
            tokio::time::sleep(LOOK).await;
        }
        container
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.directory.join("said.log")).unwrap_or_default()
    }

    /// What the health check of the image says.
    fn healthy(&self) -> bool {
        let mut check = self.command(&["health"]);
        let check = check.stdout(Stdio::null()).stderr(Stdio::null());
        check.status().unwrap().success()
    }

    fn chat(&self, prompt: &str) -> Call {
        let base = format!("http://127.0.0.1:{}", self.port);
        Call::new(&http(), &base, prompt)
            .key(KEY)
            .field("model", "openai/gpt-4o-mini")
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.unwrap().success());
    }

    async fn serving(&self) -> u32 {
        eventually("a gateway that serves", || server(&self.directory)).await
    }
}

fn command(directory: &Path, port: u16, upstream: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(deploy("entrypoint"));
    command
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("WEIR", env!("CARGO_BIN_EXE_weir"))
        .env("XDG_RUNTIME_DIR", directory)
        .env("ADAPTER_PORT", port.to_string())
        .env("ADAPTER_HOST", "127.0.0.1")
        .env("INTERNAL_API_KEY", KEY)
        .env("UPSTREAM_BASE_URL", upstream)
        .env("UPSTREAM_API_KEY", "sk-test")
        .stdin(Stdio::null());
    command
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what the container said\n{}---", self.said());
        }
        // The gateways are its children, and do not outlive the story.
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in children.split_whitespace() {
            let _ = Command::new("sh")
                .args(["-c", &format!("kill -KILL {pid}")])
                .status();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_1_stays_while_one_gateway_follows_another() {
    let provider = Provider::start().await;
    let mut container = Container::start(&provider).await;
    let mut serving = container.serving().await;
    for _ in 0..2 {
        let call = container.chat("[[chunks=150 delay_ms=10]]").stream();
        let mut open = call.open().await;
        assert!(open.chunk().await.unwrap().is_some());
        container.signal("USR2");
        serving = eventually("another gateway that serves", || {
            server(&container.directory).filter(|pid| *pid != serving)
        })
        .await;
        assert!(container.healthy());
        assert_eq!(container.chat("x").send().await.status, 200);
        let reply = Reply::read(open).await;
        assert!(reply.complete && reply.done(), "{}", reply.text());
        assert!(container.child.try_wait().unwrap().is_none());
    }
    // One that cannot start changes nothing.
    std::fs::write(container.directory.join(".env"), "WEIR_LOG=nonsense\n").unwrap();
    container.signal("USR2");
    eventually("that it says so", || {
        container
            .said()
            .contains("the new gateway has ended")
            .then_some(())
    })
    .await;
    assert_eq!(container.serving().await, serving);
    std::fs::remove_file(container.directory.join(".env")).unwrap();
    // Told to end, it finishes what is in flight, and so does process 1.
    let call = container.chat("[[chunks=150 delay_ms=10]]").stream();
    let mut open = call.open().await;
    assert!(open.chunk().await.unwrap().is_some());
    container.signal("TERM");
    let reply = Reply::read(open).await;
    assert!(reply.complete && reply.done(), "{}", reply.text());
    let status = eventually("the end of process 1", || {
        container.child.try_wait().unwrap()
    });
    assert_eq!(status.await.code(), Some(0));
    assert!(!container.healthy());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_1_ends_with_the_gateway_and_with_its_status() {
    let provider = Provider::start().await;
    let mut container = Container::start(&provider).await;
    let serving = container.serving().await;
    let kill = Command::new("sh")
        .args(["-c", &format!("kill -KILL {serving}")])
        .status();
    assert!(kill.unwrap().success());
    let status = eventually("the end of process 1", || {
        container.child.try_wait().unwrap()
    });
    assert_eq!(status.await.code(), Some(128 + 9));
    let directory = new_directory();
    let mut wrong = command(
        &directory,
        1,
        "http://127.0.0.1:1",
        &["--policy", "missing.yaml"],
    );
    let output = wrong.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    std::fs::remove_dir_all(directory).unwrap();
}

fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    let found = path.iter().fold(value, |value, key| &value[*key]);
    found
        .as_str()
        .unwrap_or_else(|| panic!("{path:?} in {value:?}"))
}

#[test]
fn the_compose_file_has_a_gateway_with_the_ai_firewalls_variables_and_a_redis_that_keeps_everything()
 {
    let compose: Value = serde_yaml::from_str(&read("compose.yaml")).unwrap();
    let weir = &compose["services"]["weir"];
    for name in [
        "INTERNAL_API_KEY",
        "UPSTREAM_BASE_URL",
        "UPSTREAM_API_KEY",
        "REDIS_URL",
        "DAILY_BUDGET_LIMIT",
    ] {
        let value = text(weir, &["environment", name]);
        assert!(value.starts_with(&format!("${{{name}:")), "{name}: {value}");
    }
    assert_eq!(weir["ports"][0], "8000:8000");
    assert_eq!(
        text(weir, &["build", "dockerfile"]),
        "conf/deploy/Dockerfile"
    );
    assert_eq!(
        text(weir, &["depends_on", "redis", "condition"]),
        "service_healthy"
    );
    let redis: Vec<&str> = compose["services"]["redis"]["command"]
        .as_sequence()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    for pair in [
        ["--appendonly", "yes"],
        ["--maxmemory-policy", "noeviction"],
    ] {
        assert!(redis.windows(2).any(|words| words == pair), "{redis:?}");
    }
    for service in ["weir", "redis"] {
        for volume in compose["services"][service]["volumes"]
            .as_sequence()
            .unwrap()
        {
            let name = volume.as_str().unwrap().split(':').next().unwrap();
            assert!(compose["volumes"].get(name).is_some(), "{name}");
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose.yaml");
    let root: Value = serde_yaml::from_str(&std::fs::read_to_string(root).unwrap()).unwrap();
    assert_eq!(root["include"][0]["path"], "conf/deploy/compose.yaml");
}

/// The instructions of the Dockerfile, continued lines joined.
fn instructions() -> Vec<String> {
    let joined = read("Dockerfile").replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_image_runs_as_nobody_in_particular_and_copies_files_that_are_there() {
    let all = instructions();
    let known = [
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "ENV",
        "USER",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
    ];
    for line in &all {
        let word = line.split_whitespace().next().unwrap();
        assert!(known.contains(&word), "{line}");
    }
    let user = all.iter().rfind(|line| line.starts_with("USER ")).unwrap();
    assert!(!user.ends_with("root"), "{user}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for line in all
        .iter()
        .filter(|line| line.starts_with("COPY ") && !line.contains("--from"))
    {
        let source = line.split_whitespace().nth(1).unwrap();
        assert!(root.join(source).exists(), "{line}");
    }
    // What is left out of the context is not what the build reads.
    let ignore = read("Dockerfile.dockerignore");
    for needed in [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "conf",
        "tests/it/main.rs",
    ] {
        assert!(
            ignore.lines().any(|line| line == format!("!{needed}")),
            "{needed}"
        );
        assert!(root.join(needed).exists(), "{needed}");
    }
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "));
    let image = format!("FROM rust:{}-slim", version.unwrap().trim_matches('"'));
    assert!(all[0].starts_with(&image), "{}", all[0]);
}

#[test]
fn the_unit_tells_systemd_what_weir_tells_it() {
    let unit = read("weir.service");
    let value = |key: &str| {
        let mut found = unit.lines().filter_map(|line| line.split_once('='));
        let (_, value) = found
            .find(|(name, _)| *name == key)
            .unwrap_or_else(|| panic!("{key}"));
        value.to_owned()
    };
    assert_eq!(
        (value("Type"), value("NotifyAccess")),
        ("notify".into(), "all".into())
    );
    assert!(value("ExecStart").starts_with("/usr/local/bin/weir serve "));
    assert_eq!(value("ExecReload"), "/bin/kill -HUP $MAINPID");
    // Whoever can reach the socket gets the listeners.
    assert_eq!(value("RuntimeDirectoryMode"), "0700");
    assert_eq!(value("Environment"), "XDG_RUNTIME_DIR=%t/weir");
    assert_eq!(value("WorkingDirectory"), "%S/weir");
    let grace = weir::settings::Shutdown::default().grace.as_secs();
    assert!(value("TimeoutStopSec").parse::<u64>().unwrap() > grace);
    for line in unit
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        assert!(line.starts_with('[') || line.contains('='), "{line}");
    }
}
