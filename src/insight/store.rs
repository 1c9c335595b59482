//! The database: SQLite beside the spend log, or PostgreSQL.
//!
//! Decides how it is opened, who may read the file, and that its tables are there. Statements are
//! written once for both, with `$1` for parameters; `on!` runs one at either. What is written and
//! asked is decided by the other parts of [`crate::insight`].

mod migrate;

use crate::settings::{Postgres, PostgresServer, PostgresTls};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, SqlitePool};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most connections of one process to one store.
const CONNECTIONS: u32 = 4;

/// How long a writer of the file waits for another one.
const BUSY: Duration = Duration::from_secs(10);

/// Numbers of an embedding.
pub const DIMENSIONS: usize = 384;

/// Runs an expression with the pool of whichever store it is.
macro_rules! on {
    ($store:expr, $pool:ident => $body:expr) => {
        match &$store.pool {
            $crate::insight::store::Pool::Sqlite($pool) => $body,
            $crate::insight::store::Pool::Postgres($pool) => $body,
        }
    };
}
pub(in crate::insight) use on;

/// Where insights are kept.
#[derive(Clone)]
pub enum Place {
    /// In this file.
    File(PathBuf),
    /// In PostgreSQL.
    Postgres(Box<Postgres>),
}

impl Place {
    /// Where it is, as it may be shown: never a user or a password.
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Postgres(postgres) => postgres.place(),
        }
    }
}

/// Why the store does not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said so, or is away.
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    /// The file cannot be made.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was made by a later version.
    #[error("its tables are of a later version of Weir (migration {0} is not known here)")]
    Later(String),
    /// It took too long.
    #[error("no answer in time")]
    Slow,
    /// It is not open: it could not be reached so far.
    #[error("the store cannot be reached")]
    Away,
    /// Another process has read the spend log further.
    #[error("another process writes the records of this spend log")]
    Moved,
}

impl StoreError {
    /// Whether the database refused the data itself, so that trying again is of no use.
    pub fn is_of_the_data(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        // PostgreSQL: data exceptions, and a value that breaks a constraint.
        error
            .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
            .is_some()
            && error
                .code()
                .is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
    }

    /// Whether a statement ran into its deadline.
    fn is_cancelled(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        // PostgreSQL's `query_canceled`, SQLite's `SQLITE_INTERRUPT`.
        error
            .code()
            .is_some_and(|code| code == "57014" || code == "9")
    }

    /// The same, where a deadline is told apart from other failures.
    pub(in crate::insight) fn told(self) -> Self {
        if self.is_cancelled() {
            Self::Slow
        } else {
            self
        }
    }
}

/// The pool of connections.
pub(in crate::insight) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// An open store with its tables in place.
pub struct Store {
    pub(in crate::insight) pool: Pool,
    /// Whether there are columns for embeddings: always in SQLite, in PostgreSQL with pgvector.
    pub(in crate::insight) vectors: bool,
}

impl Store {
    /// Opens the store and brings its tables up to date, under a lock that all processes share.
    ///
    /// # Errors
    /// [`StoreError`] when it is away, may not be used, or is of a later version.
    pub async fn open(place: &Place) -> Result<Self, StoreError> {
        match place {
            Place::File(path) => {
                let pool = sqlite(path).await?;
                migrate::sqlite(&pool).await?;
                Ok(Self {
                    pool: Pool::Sqlite(pool),
                    vectors: true,
                })
            }
            Place::Postgres(postgres) => {
                let pool = connected(postgres).await?;
                let vectors = migrate::postgres(&pool).await?;
                Ok(Self {
                    pool: Pool::Postgres(pool),
                    vectors,
                })
            }
        }
    }

    /// Whether embeddings can be kept.
    pub fn has_vectors(&self) -> bool {
        self.vectors
    }

    /// Ends its connections.
    pub async fn close(&self) {
        on!(self, pool => pool.close().await);
    }
}

async fn sqlite(path: &Path) -> Result<SqlitePool, StoreError> {
    let failed = |source| StoreError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent().filter(|path| !path.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    // Its companions (`-wal`, `-shm`) get the mode of the file itself.
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        // A loss of power may take the last transactions with it, each with its position: they are
        // written again.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY)
        .pragma("secure_delete", "ON")
        .optimize_on_close(false, None);
    Ok(SqlitePoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(BUSY)
        .before_acquire(|connection, _| {
            Box::pin(async move {
                // The deadline of whoever had it before.
                connection.lock_handle().await?.remove_progress_handler();
                Ok(true)
            })
        })
        .connect_with(options)
        .await?)
}

async fn connected(postgres: &Postgres) -> Result<PgPool, StoreError> {
    let mut options = PgConnectOptions::new_without_pgpass()
        .username(&postgres.username)
        .database(&postgres.database)
        .application_name("weir")
        .ssl_mode(match postgres.tls {
            PostgresTls::Disable => PgSslMode::Disable,
            PostgresTls::Prefer => PgSslMode::Prefer,
            PostgresTls::Require => PgSslMode::Require,
            PostgresTls::VerifyCa => PgSslMode::VerifyCa,
            PostgresTls::VerifyFull => PgSslMode::VerifyFull,
        });
    options = match &postgres.server {
        PostgresServer::Tcp(node) => options.host(&node.host).port(node.port),
        PostgresServer::Unix(directory, port) => options.socket(directory).port(*port),
    };
    if let Some(password) = &postgres.password {
        options = options.password(password.expose());
    }
    if let Some(file) = &postgres.ca_file {
        options = options.ssl_root_cert(file);
    }
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(postgres.connect_timeout)
        .idle_timeout(Duration::from_secs(300))
        .connect_with(options);
    // Bounded as a whole: a host that swallows packets would take minutes.
    match tokio::time::timeout(postgres.connect_timeout, pool).await {
        Ok(pool) => Ok(pool?),
        Err(_) => Err(StoreError::Slow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Row as _;

    #[tokio::test]
    async fn a_file_is_its_owners_and_opening_it_again_changes_nothing() {
        use std::os::unix::fs::PermissionsExt as _;
        let name = format!("weir-insight-store-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let path = directory.join("insights.sqlite");
        for _ in 0..2 {
            let store = Store::open(&Place::File(path.clone())).await.unwrap();
            assert!(store.has_vectors());
            let sql = "SELECT count(*) FROM model_insights WHERE total_cost IS NULL";
            let count: i64 = on!(store, pool => sqlx::query(sql)
                .fetch_one(pool)
                .await
                .unwrap()
                .get(0));
            assert_eq!(count, 0);
            for end in ["", "-wal", "-shm"] {
                let file = format!("{}{end}", path.display());
                let mode = std::fs::metadata(file).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600);
            }
            store.close().await;
        }
        let place = Place::File(path.clone());
        let store = Store::open(&place).await.unwrap();
        let sql = "INSERT INTO insight_migrations (name) VALUES ('9999_later')";
        on!(store, pool => drop(sqlx::query(sql).execute(pool).await.unwrap()));
        store.close().await;
        let error = Store::open(&place).await.map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Later(name) if name == "9999_later"));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
