//! Real Redis servers on this machine: one, with a replica, with sentinels, as a cluster.
//!
//! Each has a directory and ports of its own and is killed when it is dropped. Everything here waits on
//! its thread and needs nothing else of the tests, because the library's own tests use it, too.

// Said in full, because the library's tests have this file at another place.
#[path = "redis/groups.rs"]
mod groups;
#[path = "redis/speak.rs"]
mod speak;

pub(crate) use groups::{Cluster, Sentinels};
pub(crate) use speak::Said;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::fmt::Write as _;
use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The longest that any condition is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// How often a port that somebody else took first is given up for another.
const TRIES: usize = 20;

/// Looks again and again until `look` gives something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(LOOK);
    }
}

/// A port nobody listens on: below those of gateways, and of outgoing connections.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 78).unwrap_or(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 2_100 + (process * 100 + step % 7_800) % 7_800;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn new_directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-redis-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        if std::fs::create_dir(&path).is_ok() {
            return path;
        }
    }
}

/// What a server is started with.
#[derive(Default)]
struct Options {
    durable: bool,
    login: Option<(String, String)>,
    tls: bool,
    sentinel: bool,
    cluster: bool,
    lines: Vec<String>,
}

/// A server. It is killed and its directory removed when this is dropped.
pub(crate) struct RedisServer {
    options: Options,
    directory: PathBuf,
    port: u16,
    tls_port: u16,
    bus_port: u16,
    child: Option<Child>,
}

impl RedisServer {
    /// A server that forgets everything when it ends.
    pub(crate) fn start() -> Self {
        Self::of(Options::default())
    }

    /// A server whose data survive its end, however sudden.
    pub(crate) fn durable() -> Self {
        Self::of(Options {
            durable: true,
            ..Options::default()
        })
    }

    /// A server that this user alone may use.
    pub(crate) fn with_acl(user: &str, password: &str) -> Self {
        Self::of(Options {
            login: Some((user.to_owned(), password.to_owned())),
            ..Options::default()
        })
    }

    /// A server with TLS; [`Self::ca_file`] is whom to trust.
    pub(crate) fn with_tls() -> Self {
        Self::of(Options {
            tls: true,
            ..Options::default()
        })
    }

    /// A server that repeats what `master` does.
    pub(crate) fn replica_of(master: &Self) -> Self {
        let replica = Self::of(Options {
            lines: vec![format!("replicaof 127.0.0.1 {}", master.port)],
            ..Options::default()
        });
        until("a replica in step with its master", || {
            let about = replica.command(&["INFO", "replication"]).text();
            about.contains("master_link_status:up").then_some(())
        });
        replica
    }

    fn of(options: Options) -> Self {
        let directory = new_directory();
        if options.tls {
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
            std::fs::write(directory.join("cert.pem"), cert.pem()).unwrap();
            std::fs::write(directory.join("key.pem"), signing_key.serialize_pem()).unwrap();
        }
        let mut server = Self {
            options,
            directory,
            port: 0,
            tls_port: 0,
            bus_port: 0,
            child: None,
        };
        for _ in 0..TRIES {
            server.port = free_port();
            server.tls_port = if server.options.tls { free_port() } else { 0 };
            server.bus_port = if server.options.cluster {
                free_port()
            } else {
                0
            };
            if server.run() {
                return server;
            }
        }
        panic!("redis-server does not start:\n{}", server.output());
    }

    /// Starts the process and waits until it answers; `false` when it ended by itself.
    fn run(&mut self) -> bool {
        let config = self.directory.join("redis.conf");
        // Sentinels and clusters keep what they learn in files beside it.
        std::fs::write(&config, self.config()).unwrap();
        let output = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("output.log"))
            .unwrap();
        let mut command = Command::new("redis-server");
        command
            .arg(&config)
            .args(self.options.sentinel.then_some("--sentinel"))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("redis-server cannot be run ({error}): install it with `.ci/need redis`")
        });
        let mine = format!("process_id:{}\r", child.id());
        self.child = Some(child);
        let start = Instant::now();
        loop {
            // Another's server on the same port must not be taken for this one.
            if let Ok(Said::Text(about)) = self.try_command(&["INFO", "server"])
                && about.contains(&mine)
            {
                return true;
            }
            let child = self.child.as_mut().unwrap();
            if child.try_wait().unwrap().is_some() {
                self.child = None;
                return false;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "it never answered:\n{}",
                self.output()
            );
            std::thread::sleep(LOOK);
        }
    }

    fn config(&self) -> String {
        let Options {
            durable,
            login,
            tls,
            sentinel,
            cluster,
            lines,
        } = &self.options;
        let mut text = format!("port {}\nbind 127.0.0.1\n", self.port);
        if !sentinel {
            let durable = if *durable { "yes" } else { "no" };
            let _ = writeln!(
                text,
                "save \"\"\nappendonly {durable}\nrepl-diskless-sync-delay 0"
            );
        }
        if let Some((user, password)) = login {
            let _ = writeln!(
                text,
                "user default off\nuser {user} on >{password} ~* &* +@all"
            );
        }
        if *tls {
            let _ = writeln!(
                text,
                "tls-port {}\ntls-cert-file cert.pem\ntls-key-file key.pem\ntls-ca-cert-file cert.pem\ntls-auth-clients no",
                self.tls_port
            );
        }
        if *cluster {
            let _ = writeln!(
                text,
                "cluster-enabled yes\ncluster-port {}\ncluster-node-timeout 2000",
                self.bus_port
            );
        }
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// Its port, without TLS.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL for `stores.redis.url`, its user and password included.
    pub(crate) fn url(&self) -> String {
        if self.options.tls {
            return format!("rediss://127.0.0.1:{}/0", self.tls_port);
        }
        match &self.options.login {
            Some((user, password)) => {
                format!("redis://{user}:{password}@127.0.0.1:{}/0", self.port)
            }
            None => format!("redis://127.0.0.1:{}/0", self.port),
        }
    }

    /// The certificate of a server with TLS.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.directory.join("cert.pem")
    }

    /// What it has said.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.directory.join("output.log")).unwrap_or_default()
    }

    /// Sends a command on a connection of its own.
    pub(crate) fn command(&self, words: &[&str]) -> Said {
        self.try_command(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    fn try_command(&self, words: &[&str]) -> std::io::Result<Said> {
        let login = self.options.login.as_ref();
        let login = login.map(|(user, password)| (user.as_str(), password.as_str()));
        speak::ask(self.port, login, words)
    }

    /// Removes every key; functions stay.
    pub(crate) fn flush_all(&self) {
        assert_eq!(self.command(&["FLUSHALL"]).text(), "OK");
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child of ours");
            child.wait().expect("a child of ours");
        }
    }

    /// Ends it as a crash would and starts it again on the same port. What it still knows is what
    /// [`Self::durable`] says.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.again();
    }

    /// The same, without its data in any case.
    pub(crate) fn restart_empty(&mut self) {
        self.kill();
        // There is none when it was not durable.
        let _ = std::fs::remove_dir_all(self.directory.join("appendonlydir"));
        self.again();
    }

    /// Starts it again after [`Self::kill`].
    pub(crate) fn again(&mut self) {
        // The port may be held for a moment by what is left of connections.
        until("a server on the port it had", || self.run().then_some(()));
    }

    /// Stops it without ending it: it takes connections and does not answer.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`Self::pause`].
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    /// Is killed, and `other` answers on its port from now on, with what it knows.
    pub(crate) fn replaced_by(&mut self, mut other: Self) {
        self.kill();
        let save = other.command(&["SAVE"]).text();
        assert_eq!(save, "OK");
        other.kill();
        std::fs::copy(
            other.directory.join("dump.rdb"),
            self.directory.join("dump.rdb"),
        )
        .expect("it was saved");
        self.again();
    }

    /// Makes a replica a master.
    pub(crate) fn promote(&self) {
        assert_eq!(self.command(&["REPLICAOF", "NO", "ONE"]).text(), "OK");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id();
        let kill = format!("kill -{name} {pid}");
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.expect("sh runs").success(), "it runs");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- what redis-server said\n{}---", self.output());
        }
        // What is left of it is in nobody's way.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
