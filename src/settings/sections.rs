//! The sections of `conf/weir.yaml` and their defaults. How they are read is in [`read`].

pub(super) mod read;

use crate::secret::Secret;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address of the HTTP listener.
    pub http: SocketAddr,
    /// The TLS listener, if there is one.
    pub tls: Option<Tls>,
    /// Where the admin API and the metrics are, and nowhere else; `None`: with everything else.
    pub admin: Option<SocketAddr>,
}

impl Listen {
    /// Where clients of the models connect.
    pub fn public(&self) -> impl Iterator<Item = SocketAddr> {
        let tls = self.tls.as_ref().map(|tls| tls.address);
        std::iter::once(self.http).chain(tls)
    }

    /// Every address.
    pub fn all(&self) -> impl Iterator<Item = SocketAddr> {
        self.public().chain(self.admin)
    }
}

/// The TLS listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Its address.
    pub address: SocketAddr,
    /// The certificate chain, a PEM file.
    pub cert: PathBuf,
    /// The private key, a PEM file.
    pub key: PathBuf,
    /// Whether HTTP/2 is offered.
    pub h2: bool,
}

/// What a request may be at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all headers.
    pub header_bytes: usize,
    /// Headers.
    pub headers: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// How deep JSON may nest.
    pub json_depth: usize,
}

/// How long each step may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For all headers of a request to arrive.
    pub header: Duration,
    /// For the whole body of a request to arrive.
    pub body: Duration,
    /// Between two requests on a connection.
    pub keepalive: Duration,
    /// For a client to take what is written to it.
    pub write: Duration,
    /// For a connection to the provider, TLS included.
    pub connect: Duration,
    /// For an unused connection to the provider to be kept.
    pub upstream_idle: Duration,
}

/// What is still read from the provider after the client left, to learn what it bills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// For at most this long.
    pub time: Duration,
    /// And at most this many bytes.
    pub bytes: usize,
}

/// What a record survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, however sudden; not the loss of power.
    #[default]
    Process,
    /// The loss of power: a request waits until its record is on the disk.
    Strict,
}

/// How the record of truth is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendLog {
    /// What a record survives.
    pub durability: Durability,
    /// How long records are gathered for one write to the disk.
    pub group_commit: Duration,
    /// The size at which a new segment begins.
    pub segment_bytes: u64,
}

/// Which HTTP versions the provider is spoken to with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http2 {
    /// HTTP/2 when the provider offers it.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Never,
}

/// How the provider is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamLink {
    /// Which HTTP versions.
    pub http2: Http2,
    /// Certificates to trust besides the system's, a PEM file.
    pub ca_file: Option<PathBuf>,
    /// Unused connections kept.
    pub pool_size: usize,
}

/// How the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long requests in flight may go on.
    pub grace: Duration,
}

/// How a new process takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The socket over which the listeners are handed on.
    pub socket: PathBuf,
    /// How long a new process waits for them.
    pub wait: Duration,
}

impl Upgrade {
    /// How long a new process waits unless it is told otherwise.
    pub const WAIT: Duration = Duration::from_secs(300);
}

/// Whether a change of the files takes effect by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Whether the files are watched.
    pub watch: bool,
    /// How long the files must have kept still before they are read.
    pub debounce: Duration,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// A level, or directives such as `info,weir::proxy=debug`.
    pub level: String,
}

/// The admin API.
#[derive(Clone, Default)]
pub struct Admin {
    /// The token that opens it; without one it is open to this machine only.
    pub token: Option<Secret>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            http: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            tls: None,
            admin: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 64 << 10,
            headers: 100,
            body_bytes: 32 << 20,
            json_depth: 64,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(30),
            body: Duration::from_secs(60),
            keepalive: Duration::from_secs(75),
            write: Duration::from_secs(60),
            connect: Duration::from_secs(10),
            upstream_idle: Duration::from_secs(60),
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(120),
            bytes: 16 << 20,
        }
    }
}

impl Default for SpendLog {
    fn default() -> Self {
        Self {
            durability: Durability::Process,
            group_commit: Duration::from_millis(5),
            segment_bytes: 64 << 20,
        }
    }
}

impl Default for UpstreamLink {
    fn default() -> Self {
        Self {
            http2: Http2::Auto,
            ca_file: None,
            pool_size: 512,
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(600),
        }
    }
}

impl Default for Reload {
    fn default() -> Self {
        Self {
            watch: false,
            debounce: Duration::from_millis(500),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}
