//! Several servers that know each other.

use super::{Options, RedisServer, until};

/// What the sentinels call the master.
const MASTER: &str = "mymaster";

fn sentinel(master: &RedisServer, quorum: u8, more: &[&str]) -> RedisServer {
    let port = master.port();
    let mut lines = vec![format!(
        "sentinel monitor {MASTER} 127.0.0.1 {port} {quorum}"
    )];
    for line in more {
        let (name, value) = line.split_once(' ').expect("a name and a value");
        lines.push(format!("sentinel {name} {MASTER} {value}"));
    }
    RedisServer::of(Options {
        sentinel: true,
        lines,
        ..Options::default()
    })
}

/// A master, a replica and three sentinels, two of which have to agree.
pub(crate) struct Sentinels {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// Starts all five and waits until all know each other.
    pub(crate) fn start() -> Self {
        let master = RedisServer::start();
        let replica = RedisServer::replica_of(&master);
        let hasty = ["down-after-milliseconds 500", "failover-timeout 2000"];
        let sentinels: Vec<RedisServer> = (0..3).map(|_| sentinel(&master, 2, &hasty)).collect();
        for sentinel in &sentinels {
            // They are made for networks, and would take their time here.
            let hasty = ["INFO-PERIOD", "PUBLISH-PERIOD", "PING-PERIOD", "ASK-PERIOD"];
            let mut words = vec!["SENTINEL", "DEBUG"];
            words.extend(hasty.iter().flat_map(|period| [*period, "100"]));
            assert_eq!(sentinel.command(&words).text(), "OK");
        }
        for sentinel in &sentinels {
            until("sentinels that know each other and the replica", || {
                let about = sentinel.command(&["INFO", "sentinel"]).text();
                about.contains(",slaves=1,sentinels=3").then_some(())
            });
        }
        Self {
            servers: vec![master, replica],
            sentinels,
        }
    }

    /// One sentinel, in no hurry to change its mind, that calls this server the master.
    pub(crate) fn naming(server: RedisServer) -> Self {
        Self {
            sentinels: vec![sentinel(&server, 1, &[])],
            servers: vec![server],
        }
    }

    /// The server that was the master when all began.
    pub(crate) fn first(&self) -> &RedisServer {
        &self.servers[0]
    }

    /// The name of the master and the sentinels, as `stores.redis.sentinel` has them.
    pub(crate) fn yaml(&self) -> String {
        let nodes: Vec<String> = self
            .sentinels
            .iter()
            .map(|sentinel| format!("\"127.0.0.1:{}\"", sentinel.port()))
            .collect();
        format!("{{master: {MASTER}, nodes: [{}]}}", nodes.join(", "))
    }

    /// The port of the master, as this sentinel sees it.
    fn named_by(sentinel: &RedisServer) -> u16 {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
        let address = sentinel.command(&words).list();
        address[1].parse().expect("a port")
    }

    /// The server that is the master.
    pub(crate) fn master(&mut self) -> &mut RedisServer {
        let port = Self::named_by(&self.sentinels[0]);
        let master = self.servers.iter_mut().find(|server| server.port() == port);
        master.expect("one of ours")
    }

    /// Stops the sentinels without ending them.
    pub(crate) fn pause(&self) {
        self.sentinels.iter().for_each(RedisServer::pause);
    }

    /// Lets them go on.
    pub(crate) fn resume(&self) {
        self.sentinels.iter().for_each(RedisServer::resume);
    }

    /// Kills the master and waits until all sentinels name the other server, and that it is a master.
    pub(crate) fn fail_over(&mut self) {
        let old = self.master();
        let port = old.port();
        old.kill();
        for sentinel in &self.sentinels {
            until("another master", || {
                (Self::named_by(sentinel) != port).then_some(())
            });
        }
        let new = self.master();
        until("a master that knows it is one", || {
            let about = new.command(&["INFO", "replication"]).text();
            about.contains("role:master").then_some(())
        });
    }
}

/// A cluster of three masters.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<RedisServer>,
}

impl Cluster {
    /// Starts them, deals the slots out and waits until all agree.
    pub(crate) fn start() -> Self {
        let servers: Vec<RedisServer> = (0..3)
            .map(|_| {
                RedisServer::of(Options {
                    cluster: true,
                    ..Options::default()
                })
            })
            .collect();
        let slots = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for (number, (server, (first, last))) in (1..).zip(servers.iter().zip(slots)) {
            let done = |words: &[&str]| assert_eq!(server.command(words).text(), "OK");
            done(&["CLUSTER", "SET-CONFIG-EPOCH", &i32::to_string(&number)]);
            done(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
            let (port, bus) = (servers[0].port.to_string(), servers[0].bus_port.to_string());
            done(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        for server in &servers {
            until("a cluster that all agree on", || {
                let about = server.command(&["CLUSTER", "INFO"]).text();
                let whole =
                    about.contains("cluster_state:ok") && about.contains("cluster_known_nodes:3");
                whole.then_some(())
            });
        }
        Self { servers }
    }

    /// The nodes, as `stores.redis.cluster` has them.
    pub(crate) fn yaml(&self) -> String {
        let nodes: Vec<String> = self
            .servers
            .iter()
            .map(|server| format!("\"127.0.0.1:{}\"", server.port))
            .collect();
        format!("[{}]", nodes.join(", "))
    }
}
