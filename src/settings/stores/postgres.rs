//! PostgreSQL: where insights are kept when gateways share them.
//!
//! Decides how it is addressed. `DATABASE_URL` wins over the URL of the file. A complaint never quotes
//! the text, which may hold a password.

use super::Node;
use super::address::{credentials, decoded, node, pairs, split};
use crate::secret::Secret;
use crate::settings::origin::{Origin, masked};
use crate::settings::problem::Complaint;
use crate::settings::reader::Section;
use crate::settings::sections::read::file;
use crate::settings::units;
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

/// The port of a server.
const PORT: u16 = 5432;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

fn wrong() -> Complaint {
    Complaint::new("must be a URL of PostgreSQL").suggesting(
        "such as postgres://user:password@127.0.0.1:5432/weir?sslmode=verify-full or postgres://user@/weir?host=/run/postgresql",
    )
}

/// Reads the section `stores.postgres`; nothing where neither it nor the variable says anything.
pub(super) fn read(section: &Section<'_>) -> Option<Postgres> {
    let reader = section.reader();
    let variable = reader.environment.filled(DATABASE_URL);
    // Asked for in any case, so that it is a known key beside the variable.
    let value = section.get("url");
    let password = section.secret("password");
    let ca_file = file(section, "ca_file");
    let connect_timeout = section.or("connect_timeout", CONNECT, patience, |time| {
        units::show_duration(*time)
    });
    let (mut postgres, origin) = match (variable, &value) {
        (Some(text), _) => match url(text) {
            Ok(postgres) => (postgres, Origin::Variable(DATABASE_URL)),
            Err(complaint) => {
                reader.report_variable(DATABASE_URL, complaint);
                return None;
            }
        },
        (None, Some(value)) => (value.read(url)?, value.origin()),
        (None, None) => {
            section.error(
                Complaint::new("does not say where PostgreSQL is")
                    .suggesting("add url, or set DATABASE_URL"),
            );
            return None;
        }
    };
    let fact = |key: &str, shown: String| {
        reader.fact(section.path_of(key), shown, origin.clone());
    };
    fact("url", origin.cover(postgres.place()));
    fact("username", origin.cover(postgres.username.clone()));
    fact("sslmode", postgres.tls.name().to_owned());
    if let Some(password) = &postgres.password {
        fact("password", masked(password.expose()));
    }
    postgres.password = postgres.password.or(password);
    postgres.ca_file = ca_file;
    postgres.connect_timeout = connect_timeout;
    Some(postgres)
}

fn patience(text: &str) -> Result<Duration, Complaint> {
    let time = units::duration(text)?;
    if (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&time) {
        return Ok(time);
    }
    Err(Complaint::new("must be between 100ms and 60s"))
}

impl PostgresTls {
    const ALL: [Self; 5] = [
        Self::Disable,
        Self::Prefer,
        Self::Require,
        Self::VerifyCa,
        Self::VerifyFull,
    ];

    /// Its name in a URL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// A URL: `postgres://` or `postgresql://`.
fn url(text: &str) -> Result<Postgres, Complaint> {
    let (scheme, rest) = text.trim().split_once("://").ok_or_else(wrong)?;
    if !["postgres", "postgresql"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(wrong());
    }
    let (rest, query) = split(rest, '?');
    let (authority, database) = split(rest, '/');
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (username, password) = user.map_or(Ok((None, None)), credentials)?;
    let database = decoded(database.unwrap_or_default())?;
    if database.contains('@') {
        return Err(Complaint::new("has an `@` after its host").suggesting(
            "write a `/` of a password as %2F, or put the password into stores.postgres.password",
        ));
    }
    let mut directory = None;
    let mut tls = PostgresTls::Prefer;
    for (name, value) in pairs(query.unwrap_or_default()) {
        match name {
            "sslmode" => {
                let mode = PostgresTls::ALL
                    .into_iter()
                    .find(|mode| mode.name() == value);
                tls = mode.ok_or_else(|| {
                    Complaint::new("has an sslmode that is not known")
                        .suggesting("there are disable, prefer, require, verify-ca and verify-full")
                })?;
            }
            "host" if host.is_empty() => directory = Some(PathBuf::from(decoded(value)?)),
            _ => {
                return Err(Complaint::new("has an option that is not known")
                    .suggesting("after `?` there may be sslmode=MODE and host=DIRECTORY"));
            }
        }
    }
    let server = match directory {
        Some(path) if path.is_absolute() => PostgresServer::Unix(path, PORT),
        Some(_) => return Err(wrong()),
        None => PostgresServer::Tcp(node(host, PORT).map_err(|_| wrong())?),
    };
    let username = username.filter(|name| !name.is_empty());
    let username = username.unwrap_or_else(|| "postgres".to_owned());
    Ok(Postgres {
        server,
        database: if database.is_empty() {
            username.clone()
        } else {
            database
        },
        username,
        password: password
            .filter(|password| !password.is_empty())
            .map(Secret::new),
        tls,
        ca_file: None,
        connect_timeout: CONNECT,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::environment::Environment;

    fn of(text: &str, variable: Option<&str>) -> Result<Option<Postgres>, String> {
        let variables = variable.map(|text| (DATABASE_URL, text));
        crate::settings::parse("weir.yaml", text, &Environment::of(variables))
            .map(|settings| {
                let shown = format!(
                    "{:?}",
                    settings.facts.iter().map(|f| &f.value).collect::<Vec<_>>()
                );
                assert!(!shown.contains("s3cret"), "{shown}");
                settings.stores.postgres
            })
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn the_variable_wins_and_no_password_is_shown() {
        let text = "stores: {postgres: {url: \"postgres://a:s3cret@h/db\", connect_timeout: 1s}}";
        let file = of(text, None).unwrap().unwrap();
        assert_eq!(file.place(), "h:5432/db");
        assert_eq!(
            (file.username.as_str(), file.tls),
            ("a", PostgresTls::Prefer)
        );
        assert_eq!(file.password.unwrap().expose(), "s3cret");
        assert_eq!(file.connect_timeout, Duration::from_secs(1));
        let url = "postgresql://b:p%40s3cret@[::1]:6000/x?sslmode=verify-full";
        let variable = of(text, Some(url)).unwrap().unwrap();
        assert_eq!(variable.place(), "[::1]:6000/x");
        assert_eq!(variable.tls, PostgresTls::VerifyFull);
        assert_eq!(variable.password.unwrap().expose(), "p@s3cret");
        assert!(of("", None).unwrap().is_none());
    }

    #[test]
    fn a_socket_is_named_by_its_directory() {
        let url = "postgres://weir@/?host=/run/postgresql";
        let socket = of("", Some(url)).unwrap().unwrap();
        let server = PostgresServer::Unix("/run/postgresql".into(), PORT);
        assert_eq!((socket.server, socket.database.as_str()), (server, "weir"));
    }

    #[test]
    fn what_is_no_address_is_refused_and_never_quoted() {
        for url in [
            "mysql://a:s3cret@h/db",
            "s3cret",
            "postgres://h/db?s3cret=1",
            "postgres://h/db?sslmode=s3cret",
            "postgres://a:b/s3cret@h/db",
            "postgres://a:s3%zzcret@h/db",
            "postgres://a@/db?host=s3cret",
        ] {
            let problem = of("", Some(url)).map(drop).unwrap_err();
            assert!(
                !problem.contains("s3cret") && problem.contains(DATABASE_URL),
                "{problem}"
            );
        }
        let problem = of("stores: {postgres: {}}", None).map(drop).unwrap_err();
        assert!(
            problem.contains("does not say where PostgreSQL is"),
            "{problem}"
        );
    }
}
