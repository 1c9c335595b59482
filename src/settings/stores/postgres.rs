//! PostgreSQL: where insights are kept when gateways share them.
//!
//! Decides how it is addressed. `DATABASE_URL` wins over the URL of the file. A complaint never quotes
//! the text, which may hold a password.

use super::Node;
use crate::secret::Secret;
use std::path::PathBuf;
use std::time::Duration;

/// The variable with the URL of PostgreSQL.
pub const DATABASE_URL: &str = "DATABASE_URL";

/// PostgreSQL and how it is reached.
#[derive(Clone)]
pub struct Postgres {
    /// Where it is.
    pub server: PostgresServer,
    /// Who logs in.
    pub username: String,
    /// The user's password.
    pub password: Option<Secret>,
    /// The database.
    pub database: String,
    /// Whether connections are encrypted, and what is made sure of.
    pub tls: PostgresTls,
    /// Certificates to trust in place of the system's, a PEM file.
    pub ca_file: Option<PathBuf>,
    /// How long a query of the admin API may take.
    pub timeout: Duration,
    /// How long connecting may take, everything included.
    pub connect_timeout: Duration,
}

/// Where PostgreSQL is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresServer {
    /// One server.
    Tcp(Node),
    /// One on this machine: the directory of its socket, and its port.
    Unix(PathBuf, u16),
}

/// Whether connections to PostgreSQL are encrypted, in the words of its own clients (`sslmode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresTls {
    /// Never.
    Disable,
    /// Where the server offers it.
    Prefer,
    /// Always, whoever the server is.
    Require,
    /// Always, with a certificate that is trusted.
    VerifyCa,
    /// Always, with a certificate that is trusted and names the host.
    VerifyFull,
}

impl Postgres {
    /// Where it is, as it may be shown: never a user or a password.
    pub fn place(&self) -> String {
        match &self.server {
            PostgresServer::Tcp(node) => format!("{node}/{}", self.database),
            PostgresServer::Unix(path, port) => {
                format!("{} port {port}, {}", path.display(), self.database)
            }
        }
    }
}
