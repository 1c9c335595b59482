//! From the tree to [`Stores`].

use super::address::{self, Place, Url};
use super::{
    DATABASE_URL, Lease, Node, REDIS_URL, Redis, RedisTls, Sentinel, Server, Stores, postgres,
};
use crate::budget::tier::Threshold;
use crate::money::Nanos;
use crate::secret::Secret;
use crate::settings::origin::{Origin, masked};
use crate::settings::problem::Complaint;
use crate::settings::reader::{Section, Value};
use crate::settings::sections::read::file;
use crate::settings::units;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest name of a tenant.
const LONGEST_TENANT: usize = 32;

/// Reads the section `stores`.
pub(in crate::settings) fn read(section: &Section<'_>) -> Stores {
    let named = |key, variable| {
        let variable = section.reader().environment.filled(variable);
        section.get(key).is_some() || variable.is_some()
    };
    let (redis_is, postgres_is) = (named("redis", REDIS_URL), named("postgres", DATABASE_URL));
    Stores {
        redis: redis_is.then(|| redis(&section.section("redis"))).flatten(),
        postgres: postgres_is
            .then(|| postgres::read(&section.section("postgres")))
            .flatten(),
    }
}

fn redis(section: &Section<'_>) -> Option<Redis> {
    let stated = stated(section);
    let url = stated.url.as_ref();
    let tls = tls(section);
    let server = server(section, &stated, tls.is_some());
    let login = login(section, url);
    let default = Redis::at(Server::Cluster(Vec::new()));
    let database = section.optional("database", number, ToString::to_string);
    let flag = |key, default| section.or(key, default, units::flag, ToString::to_string);
    let time =
        |key, default, least: u64, most: u64| time(section, key, default, millis(least, most));
    let redis = Redis {
        username: login.username,
        password: login.password,
        database: url
            .and_then(|(url, _)| url.database)
            .or(database)
            .unwrap_or(0),
        tls: tls.or_else(|| url.filter(|(url, _)| url.tls).map(|_| RedisTls::default())),
        tenant: section.or("tenant", default.tenant, tenant, Clone::clone),
        timeout: time("timeout", default.timeout, 10, 10_000),
        connect_timeout: time("connect_timeout", default.connect_timeout, 10, 60_000),
        orphan_after: time("orphan_after", default.orphan_after, 3_000, 86_400_000),
        recovery_wait: time("recovery_wait", default.recovery_wait, 0, 86_400_000),
        lease: lease(section),
        limits: flag("limits", default.limits),
        firewall_keys: flag("firewall_keys", default.firewall_keys),
        server: server?,
    };
    if matches!(redis.server, Server::Cluster(_)) && redis.database != 0 {
        section.error(Complaint::new("a cluster has the database 0 only"));
    }
    if let Some(lease) = redis.lease {
        judge(section, &redis, lease.time);
    }
    Some(redis)
}

/// What is taken in advance, where that is asked for.
fn lease(section: &Section<'_>) -> Option<Lease> {
    let value = section.get("lease")?;
    let default = Lease::default();
    if !value.is_mapping() {
        let asked = section.or("lease", false, units::flag, ToString::to_string);
        return asked.then_some(default);
    }
    let section = value.section();
    let share = |text: &str| match units::share(text)? {
        Threshold(1..=500_000_000) => units::share(text),
        _ => Err(Complaint::new("must be above 0 and at most 0.5")),
    };
    let max = |text: &str| match units::money(text)? {
        Nanos::ZERO => Err(Complaint::new("must be above 0")),
        amount => Ok(amount),
    };
    Some(Lease {
        share: section.or("share", default.share, share, |s| units::show_share(*s)),
        max: section.or("max", default.max, max, |amount| units::show_money(*amount)),
        time: time(&section, "time", default.time, millis(3_000, 600_000)),
    })
}

/// A lease must be over before anybody else may have its money: a gateway that is not heard of is
/// gone after one time, and after a loss nobody waits for it longer than the other.
fn judge(section: &Section<'_>, redis: &Redis, lease: Duration) {
    let show = units::show_duration;
    let others = [
        (
            "orphan_after",
            redis.orphan_after,
            lease < redis.orphan_after,
        ),
        (
            "recovery_wait",
            redis.recovery_wait,
            lease <= redis.recovery_wait,
        ),
    ];
    for (name, time, fits) in others {
        if !fits {
            let (lease, time) = (show(lease), show(time));
            section.error(
                Complaint::new(format!(
                    "has leases of {lease}, and {name} is over after {time}: others would spend their money again"
                ))
                .suggesting(format!("set lease.time below {name}")),
            );
        }
    }
}

/// What is said by URL.
struct Stated {
    /// Whether there is one, be it right or wrong.
    there: bool,
    /// The one in force and where it comes from, when it is right.
    url: Option<(Url, Origin)>,
}

fn stated(section: &Section<'_>) -> Stated {
    let reader = section.reader();
    // Asked for in any case, so that it is a known key beside the variable.
    let value = section.get("url");
    let variable = reader.environment.filled(REDIS_URL);
    let url = match variable {
        Some(text) => match address::url(text) {
            Ok(url) => Some((url, Origin::Variable(REDIS_URL))),
            Err(complaint) => {
                reader.report_variable(REDIS_URL, complaint);
                None
            }
        },
        None => value
            .as_ref()
            .and_then(|value| Some((value.read(address::url)?, value.origin()))),
    };
    if let Some((url, origin)) = &url {
        let shown = origin.cover(url.to_string());
        reader.fact(section.path_of("url"), shown, origin.clone());
    }
    Stated {
        there: variable.is_some() || value.is_some(),
        url,
    }
}

/// Whether the section asks for TLS, and whom it trusts.
fn tls(section: &Section<'_>) -> Option<RedisTls> {
    let value = section.get("tls")?;
    if value.is_mapping() {
        let section = value.section();
        return Some(RedisTls {
            ca_file: file(&section, "ca_file"),
        });
    }
    let asked = section.or("tls", false, units::flag, ToString::to_string);
    asked.then(RedisTls::default)
}

/// Where Redis is; whatever is wrong with that is reported.
fn server(section: &Section<'_>, stated: &Stated, tls: bool) -> Option<Server> {
    let sentinel = section.get("sentinel");
    let cluster = section.get("cluster");
    let listed = cluster.as_ref().is_some_and(Value::is_list);
    let asked = !listed
        && cluster.is_some()
        && section.or("cluster", false, units::flag, ToString::to_string);
    let ways = [stated.there, sentinel.is_some(), listed];
    if ways.iter().filter(|way| **way).count() > 1 || (asked && sentinel.is_some()) {
        let variable = section.reader().environment.filled(REDIS_URL).is_some();
        let complaint =
            Complaint::new("says in more than one way where Redis is: url, sentinel, cluster");
        section.error(complaint.suggesting(if variable {
            "keep one of them; REDIS_URL is set, in the environment or in .env, and is one"
        } else {
            "keep one of them"
        }));
        return None;
    }
    if let Some(sentinel) = sentinel {
        return self::sentinel(&sentinel.section()).map(Server::Sentinel);
    }
    if let Some(cluster) = cluster.filter(|_| listed) {
        return nodes(section, "cluster", &cluster, address::PORT).map(Server::Cluster);
    }
    if !stated.there {
        section.error(
            Complaint::new("does not say where Redis is")
                .suggesting("add url, sentinel or cluster, or set REDIS_URL"),
        );
    }
    let (url, _) = stated.url.as_ref()?;
    if tls && !url.tls {
        section.error(
            Complaint::new("asks for TLS, and the URL does not")
                .suggesting("begin the URL with rediss://"),
        );
    }
    match &url.place {
        Place::Tcp(node) if asked => Some(Server::Cluster(vec![node.clone()])),
        Place::Tcp(node) => Some(Server::Tcp(node.clone())),
        Place::Unix(_) if asked => {
            section.error(Complaint::new("a cluster cannot be reached by a socket"));
            None
        }
        Place::Unix(path) => Some(Server::Unix(path.clone())),
    }
}

fn sentinel(section: &Section<'_>) -> Option<Sentinel> {
    let name = |text: &str| {
        let name = text.trim();
        if name.is_empty() {
            return Err(Complaint::new("must be the name of the master"));
        }
        Ok(name.to_owned())
    };
    let master = section.required("master", name, Clone::clone);
    let nodes = match section.get("nodes") {
        Some(value) => nodes(section, "nodes", &value, address::SENTINEL_PORT),
        None => {
            section.error(Complaint::new("`nodes` is missing"));
            None
        }
    };
    let username = user(section);
    let password = section.secret("password");
    Some(Sentinel {
        master: master?,
        nodes: nodes?,
        username,
        password,
    })
}

/// A list of nodes, of which there is at least one.
fn nodes(
    section: &Section<'_>,
    key: &'static str,
    value: &Value<'_>,
    port: u16,
) -> Option<Vec<Node>> {
    let list = value.list();
    if list.is_empty() {
        value.error(Complaint::new("must name at least one node"));
    }
    let nodes: Option<Vec<Node>> = list
        .iter()
        .map(|value| value.read(|text| address::node(text, port)))
        .collect();
    let nodes = nodes.filter(|nodes| !nodes.is_empty())?;
    let shown: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let reader = section.reader();
    reader.fact(section.path_of(key), shown.join(", "), value.origin());
    Some(nodes)
}

struct Login {
    username: Option<String>,
    password: Option<Secret>,
}

/// Who logs in; what the URL says wins.
fn login(section: &Section<'_>, url: Option<&(Url, Origin)>) -> Login {
    let (username, password) = (user(section), section.secret("password"));
    let stated = url.filter(|(url, _)| url.username.is_some() || url.password.is_some());
    let login = match stated {
        Some((url, origin)) => {
            let reader = section.reader();
            let shown = url.username.clone().unwrap_or_default();
            let shown = origin.cover(shown);
            reader.fact(section.path_of("username"), shown, origin.clone());
            let shown = masked(url.password.as_ref().map_or("", Secret::expose));
            reader.fact(section.path_of("password"), shown, origin.clone());
            Login {
                username: url.username.clone(),
                password: url.password.clone(),
            }
        }
        None => Login { username, password },
    };
    if login.username.is_some() && login.password.is_none() {
        section.error(Complaint::new("names a user without a password"));
    }
    login
}

fn user(section: &Section<'_>) -> Option<String> {
    let name = |text: &str| Ok(text.trim().to_owned());
    let name = section.optional("username", name, Clone::clone);
    name.filter(|name| !name.is_empty())
}

fn number(text: &str) -> Result<u32, Complaint> {
    u32::try_from(units::count(text)?).map_err(|_| Complaint::new("is too large"))
}

fn tenant(text: &str) -> Result<String, Complaint> {
    let name = text.trim();
    let character = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if name.is_empty() || name.len() > LONGEST_TENANT || !name.bytes().all(character) {
        return Err(Complaint::new(
            "must be 1 to 32 characters of a-z, 0-9, `_` and `-`",
        ));
    }
    Ok(name.to_owned())
}

fn millis(least: u64, most: u64) -> RangeInclusive<Duration> {
    Duration::from_millis(least)..=Duration::from_millis(most)
}

fn time(
    section: &Section<'_>,
    key: &'static str,
    default: Duration,
    range: RangeInclusive<Duration>,
) -> Duration {
    let bounded = |text: &str| {
        let time = units::duration(text)?;
        if range.contains(&time) {
            return Ok(time);
        }
        let show = |time: &Duration| units::show_duration(*time);
        let (least, most) = (show(range.start()), show(range.end()));
        Err(Complaint::new(format!(
            "must be between {least} and {most}"
        )))
    };
    section.or(key, default, bounded, |time| units::show_duration(*time))
}
