//! One connection to Redis, however it is set up: one server, sentinels, a cluster.
//!
//! Decides who is connected to and how long that and every command may take. It does not try again:
//! a connection that broke stays broken, and whoever holds it connects anew. With sentinels the master
//! is asked for at every connect, and has to say itself that it is one. In a cluster, nodes that come
//! back are found again by the client library; a command is sent once there, too.

use crate::secret::Secret;
use crate::settings::{self, Node, Sentinel, Server};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo as _, Pipeline, RedisConnectionInfo, RedisError, RedisFuture, RedisResult,
    TlsCertificates, Value,
};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinSet;

/// Commands that wait to be written to one connection before more of them have to wait for that.
const QUEUE: usize = 1024;

/// Why there is no way to connect at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The certificates to trust cannot be read.
    #[error("{path} cannot be read: {source}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The settings make no client.
    #[error(transparent)]
    Client(#[from] RedisError),
}

/// The way to Redis.
#[derive(Clone)]
pub struct Connector {
    way: Way,
    config: AsyncConnectionConfig,
    patience: Duration,
}

#[derive(Clone)]
enum Way {
    Single(Client),
    Sentinel(Group),
    Cluster(Box<ClusterClient>),
}

#[derive(Clone)]
struct Group {
    master: String,
    asked: Vec<Client>,
    login: RedisConnectionInfo,
    dial: Dial,
}

/// How a node is dialled.
#[derive(Clone, Default)]
struct Dial {
    /// `None` without TLS; inside, the certificates to trust, `None` for the system's.
    tls: Option<Option<Vec<u8>>>,
}

impl Dial {
    fn client(&self, node: &Node, login: RedisConnectionInfo) -> RedisResult<Client> {
        let Node { host, port } = node.clone();
        match &self.tls {
            None => open(ConnectionAddr::Tcp(host, port), login),
            Some(trusted) => {
                let address = ConnectionAddr::TcpTls {
                    host,
                    port,
                    insecure: false,
                    tls_params: None,
                };
                let info = info(address, login)?;
                Client::build_with_tls(info, certificates(trusted.clone()))
            }
        }
    }
}

fn certificates(trusted: Option<Vec<u8>>) -> TlsCertificates {
    TlsCertificates {
        client_tls: None,
        root_cert: trusted,
    }
}

fn info(address: ConnectionAddr, login: RedisConnectionInfo) -> RedisResult<ConnectionInfo> {
    let info = address.into_connection_info()?.set_redis_settings(login);
    // Requests are small and each waits for its answer.
    Ok(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

fn open(address: ConnectionAddr, login: RedisConnectionInfo) -> RedisResult<Client> {
    Client::open(info(address, login)?)
}

fn login(username: Option<&str>, password: Option<&Secret>, database: u32) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_db(i64::from(database));
    if let Some(username) = username {
        login = login.set_username(username);
    }
    if let Some(password) = password {
        login = login.set_password(password.expose());
    }
    login
}

impl Connector {
    /// The way that `settings` describe. Nothing is connected to yet.
    ///
    /// # Errors
    /// When the certificates to trust cannot be read, or the settings make no client.
    pub fn new(settings: &settings::Redis) -> Result<Self, ConnectError> {
        let dial = Dial {
            tls: settings.tls.as_ref().map(trusted).transpose()?,
        };
        let (username, password) = (settings.username.as_deref(), settings.password.as_ref());
        let login = login(username, password, settings.database);
        let way = match &settings.server {
            Server::Tcp(node) => Way::Single(dial.client(node, login)?),
            Server::Unix(path) => Way::Single(open(ConnectionAddr::Unix(path.clone()), login)?),
            Server::Sentinel(sentinel) => Way::Sentinel(Group::new(sentinel, login, dial)?),
            Server::Cluster(nodes) => {
                Way::Cluster(Box::new(cluster(settings, nodes, &login, dial)?))
            }
        };
        Ok(Self {
            way,
            config: AsyncConnectionConfig::new()
                .set_connection_timeout(Some(settings.connect_timeout))
                .set_response_timeout(Some(settings.timeout))
                .set_pipeline_buffer_size(QUEUE),
            patience: settings.connect_timeout,
        })
    }

    /// A new connection, within the time that connecting may take.
    ///
    /// # Errors
    /// When nobody answers, or not in time, or it is not the master that answers.
    pub async fn connect(&self) -> Result<Connection, RedisError> {
        let connecting = async {
            Ok(match &self.way {
                Way::Single(client) => Connection::One(self.dial(client).await?),
                Way::Sentinel(group) => Connection::One(self.master(group).await?),
                Way::Cluster(client) => Connection::Many(client.get_async_connection().await?),
            })
        };
        match tokio::time::timeout(self.patience, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(late()),
        }
    }

    async fn dial(&self, client: &Client) -> RedisResult<MultiplexedConnection> {
        client
            .get_multiplexed_async_connection_with_config(&self.config)
            .await
    }

    /// A connection to the master of the moment.
    async fn master(&self, group: &Group) -> RedisResult<MultiplexedConnection> {
        let node = self.ask(group).await?;
        let client = group.dial.client(&node, group.login.clone())?;
        let mut connection = self.dial(&client).await?;
        // One that came back from a break may not know yet that another took its place.
        let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
        let role = role
            .into_iter()
            .next()
            .map(redis::from_redis_value::<String>);
        match role.transpose()?.as_deref() {
            Some("master") => Ok(connection),
            _ => Err(RedisError::from((
                ErrorKind::MasterNameNotFoundBySentinel,
                "the server that the sentinels name is no master",
                node.to_string(),
            ))),
        }
    }

    /// Who most of the sentinels say is the master. All are asked at once, and no more than half of the
    /// time is waited for those that say nothing.
    async fn ask(&self, group: &Group) -> RedisResult<Node> {
        let mut asked = JoinSet::new();
        for client in &group.asked {
            let (connector, client) = (self.clone(), client.clone());
            let master = group.master.clone();
            asked.spawn(async move {
                let mut connection = connector.dial(&client).await?;
                let mut command = redis::cmd("SENTINEL");
                command.arg("get-master-addr-by-name").arg(master);
                command
                    .query_async::<Option<(String, u16)>>(&mut connection)
                    .await
            });
        }
        let mut votes: HashMap<Node, usize> = HashMap::new();
        let mut failed = None;
        let most = group.asked.len() / 2 + 1;
        let counting = async {
            while let Some(answer) = asked.join_next().await {
                match answer {
                    Ok(Ok(Some((host, port)))) => {
                        let count = votes.entry(Node { host, port }).or_default();
                        *count += 1;
                        if *count >= most {
                            break;
                        }
                    }
                    Ok(Ok(None)) | Err(_) => {}
                    Ok(Err(error)) => failed = Some(error),
                }
            }
        };
        let in_time = tokio::time::timeout(self.patience / 2, counting).await;
        let chosen = votes.into_iter().max_by_key(|(_, count)| *count);
        chosen.map(|(node, _)| node).ok_or_else(|| match failed {
            Some(error) => error,
            None if in_time.is_err() => late(),
            None => RedisError::from((
                ErrorKind::MasterNameNotFoundBySentinel,
                "no sentinel knows the master",
                group.master.clone(),
            )),
        })
    }
}

impl Group {
    fn new(sentinel: &Sentinel, login: RedisConnectionInfo, dial: Dial) -> RedisResult<Self> {
        let (username, password) = (sentinel.username.as_deref(), sentinel.password.as_ref());
        let own = self::login(username, password, 0);
        let asked = sentinel.nodes.iter();
        Ok(Self {
            master: sentinel.master.clone(),
            asked: asked
                .map(|node| dial.client(node, own.clone()))
                .collect::<RedisResult<_>>()?,
            login,
            dial,
        })
    }
}

fn cluster(
    settings: &settings::Redis,
    nodes: &[Node],
    login: &RedisConnectionInfo,
    dial: Dial,
) -> RedisResult<ClusterClient> {
    let nodes: RedisResult<Vec<ConnectionInfo>> = nodes
        .iter()
        .map(|node| {
            let client = dial.client(node, login.clone())?;
            Ok(client.get_connection_info().clone())
        })
        .collect();
    let mut builder = ClusterClientBuilder::new(nodes?)
        .retries(0)
        .connection_timeout(settings.connect_timeout)
        .response_timeout(settings.timeout)
        .tcp_settings(TcpSettings::default().set_nodelay(true));
    if let Some(trusted) = dial.tls {
        builder = builder.certs(certificates(trusted));
    }
    builder.build()
}

/// The certificates to trust; `None` for the system's.
fn trusted(tls: &settings::RedisTls) -> Result<Option<Vec<u8>>, ConnectError> {
    let Some(path) = &tls.ca_file else {
        return Ok(None);
    };
    let read = std::fs::read(path).map_err(|source| ConnectError::Certificates {
        path: path.clone(),
        source,
    });
    read.map(Some)
}

fn late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// A connection, which many may use at the same time through clones of it. It ends with its last
/// clone.
#[derive(Clone)]
pub enum Connection {
    /// To one server.
    One(MultiplexedConnection),
    /// To the masters of a cluster.
    Many(ClusterConnection),
}

impl Connection {
    /// Sends a command to every master.
    ///
    /// # Errors
    /// When one of them refuses it or does not answer.
    pub async fn everywhere(&mut self, command: &Cmd) -> RedisResult<()> {
        match self {
            Self::One(connection) => connection.req_packed_command(command).await?,
            Self::Many(connection) => {
                let all = MultipleNodeRoutingInfo::AllMasters;
                let every = RoutingInfo::MultiNode((all, None));
                connection.route_command(command.clone(), every).await?
            }
        };
        Ok(())
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(command),
            Self::Many(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Many(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Many(connection) => connection.get_db(),
        }
    }
}

#[cfg(test)]
mod tests;
