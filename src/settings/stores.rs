//! The section `stores`: what is kept outside this process.
//!
//! Decides where Redis and PostgreSQL are and how long they may take; what is kept there is decided by
//! whoever keeps it. `REDIS_URL` and `DATABASE_URL` win over the URLs of the file, and without either
//! section or variable there is none. How the section is read is in [`read`], how an address is written in [`address`].

mod address;
mod postgres;
pub(super) mod read;

pub use postgres::{DATABASE_URL, Postgres, PostgresServer, PostgresTls};

use crate::budget::tier::Threshold;
use crate::money::Nanos;
use crate::secret::Secret;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The variable with the URL of Redis.
pub const REDIS_URL: &str = "REDIS_URL";

/// What is kept outside this process.
#[derive(Clone, Default)]
pub struct Stores {
    /// What gateways share with each other; without it each is alone.
    pub redis: Option<Redis>,
    /// Where insights are kept; without it they are kept beside the spend log.
    pub postgres: Option<Postgres>,
}

/// Redis, and what it is used for.
#[derive(Clone)]
pub struct Redis {
    /// Where it is.
    pub server: Server,
    /// The user of its access control list; without one it is Redis's user `default`.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// The number of the database. Always 0 in a cluster.
    pub database: u32,
    /// Whether connections are encrypted.
    pub tls: Option<RedisTls>,
    /// Whose keys these are: gateways with the same name share everything, with another name nothing.
    pub tenant: String,
    /// How long a command may take.
    pub timeout: Duration,
    /// How long connecting may take, everything included.
    pub connect_timeout: Duration,
    /// Holds of a gateway that has not been heard of for so long are charged.
    pub orphan_after: Duration,
    /// How long grants wait, after Redis lost its state, for a gateway that does not come back.
    pub recovery_wait: Duration,
    /// What may be granted under hard limits while Redis is away; without it nothing.
    pub lease: Option<Lease>,
    /// Whether limits of requests, tokens and concurrency hold for all gateways together.
    pub limits: bool,
    /// Whether the AI Firewall's keys (`budget:{user}:{date}`) are kept up to date.
    pub firewall_keys: bool,
}

/// Money that a gateway takes in advance, to grant by itself while Redis is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// How much of what remains on the tightest account of a request.
    pub share: Threshold,
    /// And no more than this.
    pub max: Nanos,
    /// For how long after it was last confirmed.
    pub time: Duration,
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            share: Threshold(50_000_000),
            max: Nanos(500_000_000),
            time: Duration::from_secs(8),
        }
    }
}

/// Where Redis is.
#[derive(Clone)]
pub enum Server {
    /// One server.
    Tcp(Node),
    /// One server on this machine, by its socket.
    Unix(PathBuf),
    /// The server that a group of sentinels calls the master.
    Sentinel(Sentinel),
    /// The masters of a cluster, which is found through any of these nodes.
    Cluster(Vec<Node>),
}

/// A group of sentinels.
#[derive(Clone)]
pub struct Sentinel {
    /// The name of the master.
    pub master: String,
    /// Who is asked.
    pub nodes: Vec<Node>,
    /// Their own user, which is not Redis's.
    pub username: Option<String>,
    /// Their own password.
    pub password: Option<Secret>,
}

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            return write!(f, "[{host}]:{port}");
        }
        write!(f, "{host}:{port}")
    }
}

/// How connections to Redis are encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// Certificates to trust in place of the system's, a PEM file.
    pub ca_file: Option<PathBuf>,
}

impl Redis {
    /// Redis at `server`, everything else as by default.
    pub fn at(server: Server) -> Self {
        Self {
            server,
            username: None,
            password: None,
            database: 0,
            tls: None,
            tenant: "weir".to_owned(),
            timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(2),
            orphan_after: Duration::from_secs(60),
            recovery_wait: Duration::from_secs(60),
            lease: None,
            limits: true,
            firewall_keys: true,
        }
    }

    /// Where it is, as it may be shown: never a user or a password.
    pub fn place(&self) -> String {
        let list = |nodes: &[Node]| {
            let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
            nodes.join(", ")
        };
        match &self.server {
            Server::Tcp(node) => node.to_string(),
            Server::Unix(path) => path.display().to_string(),
            Server::Sentinel(sentinel) => {
                format!("{} of sentinels {}", sentinel.master, list(&sentinel.nodes))
            }
            Server::Cluster(nodes) => format!("cluster {}", list(nodes)),
        }
    }
}

#[cfg(test)]
mod tests;
