//! From the tree to the sections: units, bounds, and the variables that win over the file.

use super::{
    Admin, Drain, Durability, Http2, Limits, Listen, Log, LogFormat, Reload, Shutdown, SpendLog,
    Timeouts, Tls, Upgrade, UpstreamLink,
};
use crate::secret::Secret;
use crate::settings::Settings;
use crate::settings::events;
use crate::settings::insights;
use crate::settings::orchestrator;
use crate::settings::origin::{Origin, masked};
use crate::settings::problem::{Complaint, did_you_mean};
use crate::settings::reader::Section;
use crate::settings::stores;
use crate::settings::units;
use crate::settings::watching;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Reads every section; `default` is where the gateway listens when nothing else is said.
pub(in crate::settings) fn read(root: &Section<'_>, default: &Listen) -> Settings {
    let reader = root.reader();
    let listen = listen(&root.section("listen"), default);
    let stores = stores::read::read(&root.section("stores"));
    let events = events::read(&root.section("events"), &listen, &stores);
    let taken: Vec<SocketAddr> = events.websocket.into_iter().collect();
    Settings {
        orchestrator: orchestrator::read(&root.section("orchestrator"), &listen, &taken),
        events,
        listen,
        threads: root.or(
            "threads",
            reader.environment.cores(),
            |text| threads(text, reader.environment.cores()),
            ToString::to_string,
        ),
        limits: limits(&root.section("limits")),
        timeouts: timeouts(&root.section("timeouts")),
        drain: drain(&root.section("drain")),
        spend_log: spend_log(&root.section("spend_log")),
        upstream: upstream(&root.section("upstream")),
        shutdown: shutdown(&root.section("shutdown")),
        upgrade: upgrade(&root.section("upgrade")),
        reload: reload(&root.section("reload")),
        log: log(&root.section("log")),
        metrics: watching::metrics(&root.section("metrics")),
        otel: watching::otel(&root.section("otel")),
        admin: admin(&root.section("admin")),
        stores,
        insights: insights::read(&root.section("insights")),
        warnings: reader.environment.warnings().to_vec(),
        facts: Vec::new(),
    }
}

pub(in crate::settings) fn time(
    section: &Section<'_>,
    key: &'static str,
    default: Duration,
    least: Duration,
) -> Duration {
    let bounded = |text: &str| {
        units::duration(text).and_then(|time| {
            if (least..=DAY).contains(&time) {
                return Ok(time);
            }
            let (least, most) = (units::show_duration(least), units::show_duration(DAY));
            Err(Complaint::new(format!(
                "must be between {least} and {most}"
            )))
        })
    };
    section.or(key, default, bounded, |time| units::show_duration(*time))
}

pub(in crate::settings) fn bytes(
    section: &Section<'_>,
    key: &'static str,
    default: usize,
    least: usize,
    most: usize,
) -> usize {
    let bounded = |text: &str| {
        let size = units::size(text)?;
        usize::try_from(size)
            .ok()
            .filter(|size| (least..=most).contains(size))
            .ok_or_else(|| {
                let show = |size| units::show_size(u64::try_from(size).unwrap_or(u64::MAX));
                Complaint::new(format!(
                    "must be between {} and {}",
                    show(least),
                    show(most)
                ))
            })
    };
    section.or(key, default, bounded, |size| {
        units::show_size(u64::try_from(*size).unwrap_or(u64::MAX))
    })
}

pub(in crate::settings) fn number(
    text: &str,
    least: usize,
    most: usize,
) -> Result<usize, Complaint> {
    let number = units::count(text)?;
    usize::try_from(number)
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| Complaint::new(format!("must be between {least} and {most}")))
}

/// One of a few words.
pub(in crate::settings) fn choice<T: Copy + PartialEq>(
    section: &Section<'_>,
    key: &'static str,
    choices: &[(&'static str, T)],
    default: T,
) -> T {
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let pick = |text: &str| {
        let word = text.trim();
        choices
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, value)| *value)
            .ok_or_else(|| Complaint {
                message: format!("must be {}", names.join(" or ")),
                suggestion: did_you_mean(word, &names),
            })
    };
    let show = |value: &T| {
        let found = choices.iter().find(|(_, choice)| choice == value);
        found.map_or_else(String::new, |(name, _)| (*name).to_owned())
    };
    section.or(key, default, pick, show)
}

/// A path, if there is one.
pub(in crate::settings) fn file(section: &Section<'_>, key: &'static str) -> Option<PathBuf> {
    section.optional(key, path, |path| path.display().to_string())
}

fn path(text: &str) -> Result<PathBuf, Complaint> {
    if text.trim().is_empty() {
        return Err(Complaint::new("the path is empty"));
    }
    Ok(PathBuf::from(text))
}

/// An address with its port.
pub(in crate::settings) fn address(text: &str) -> Result<SocketAddr, Complaint> {
    let wrong = || {
        Complaint::new("must be an address and a port")
            .suggesting("such as 127.0.0.1:8080 or [::]:8080")
    };
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    Ok(SocketAddr::new(
        host(name).map_err(|_| wrong())?,
        port.parse().map_err(|_| wrong())?,
    ))
}

fn host(text: &str) -> Result<IpAddr, Complaint> {
    let name = text.trim();
    if name.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    name.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .map_err(|_| {
            Complaint::new("must be an IP address")
                .suggesting("such as 127.0.0.1, or 0.0.0.0 for all")
        })
}

fn listen(section: &Section<'_>, default: &Listen) -> Listen {
    let reader = section.reader();
    let written = section.resolve("http", address);
    let (mut http, mut origin) = written.unwrap_or((default.http, Origin::Default));
    let variable = |name: &'static str, complaint: Complaint| {
        reader.report_variable(name, complaint);
    };
    if let Some(text) = reader.environment.filled("ADAPTER_HOST") {
        match host(text) {
            Ok(address) => {
                http.set_ip(address);
                origin = Origin::Variable("ADAPTER_HOST");
            }
            Err(complaint) => variable("ADAPTER_HOST", complaint),
        }
    }
    if let Some(text) = reader.environment.filled("ADAPTER_PORT") {
        match text.trim().parse() {
            Ok(port) => {
                http.set_port(port);
                origin = match origin {
                    Origin::Variable(_) => Origin::Variable("ADAPTER_HOST, ADAPTER_PORT"),
                    _ => Origin::Variable("ADAPTER_PORT"),
                };
            }
            Err(_) => variable(
                "ADAPTER_PORT",
                Complaint::new("must be a port between 0 and 65535"),
            ),
        }
    }
    reader.fact(section.path_of("http"), http.to_string(), origin);
    let tls = section.get("tls").and_then(|value| tls(&value.section()));
    let taken: Vec<_> = tls
        .as_ref()
        .map(|tls| tls.address)
        .into_iter()
        .chain([http])
        .collect();
    let apart = |text: &str| {
        let admin = address(text)?;
        if taken.contains(&admin) {
            return Err(Complaint::new("must be another address than the others"));
        }
        Ok(admin)
    };
    let admin = section.optional("admin", apart, ToString::to_string);
    Listen { http, tls, admin }
}

fn tls(section: &Section<'_>) -> Option<Tls> {
    let show = |path: &PathBuf| path.display().to_string();
    let address = section.required("address", address, ToString::to_string);
    let cert = section.required("cert", path, show);
    let key = section.required("key", path, show);
    let h2 = section.or("h2", true, units::flag, ToString::to_string);
    Some(Tls {
        address: address?,
        cert: cert?,
        key: key?,
        h2,
    })
}

fn threads(text: &str, cores: usize) -> Result<usize, Complaint> {
    if text.trim() == "auto" {
        return Ok(cores);
    }
    number(text, 1, 1024).map_err(|complaint| complaint.suggesting("auto, or a number of threads"))
}

fn limits(section: &Section<'_>) -> Limits {
    let default = Limits::default();
    let count = |key, default, least, most| {
        section.or(
            key,
            default,
            |text| number(text, least, most),
            ToString::to_string,
        )
    };
    Limits {
        header_bytes: bytes(
            section,
            "header_bytes",
            default.header_bytes,
            1 << 10,
            1 << 20,
        ),
        headers: count("headers", default.headers, 16, 1000),
        body_bytes: bytes(section, "body_bytes", default.body_bytes, 1 << 10, 1 << 30),
        json_depth: count("json_depth", default.json_depth, 8, 512),
    }
}

fn timeouts(section: &Section<'_>) -> Timeouts {
    let default = Timeouts::default();
    let time = |key, default| time(section, key, default, 10 * MILLISECOND);
    Timeouts {
        header: time("header", default.header),
        body: time("body", default.body),
        keepalive: time("keepalive", default.keepalive),
        write: time("write", default.write),
        connect: time("connect", default.connect),
        upstream_idle: time("upstream_idle", default.upstream_idle),
    }
}

fn drain(section: &Section<'_>) -> Drain {
    let default = Drain::default();
    Drain {
        time: time(section, "time", default.time, Duration::ZERO),
        bytes: bytes(section, "bytes", default.bytes, 0, 1 << 30),
    }
}

fn spend_log(section: &Section<'_>) -> SpendLog {
    let default = SpendLog::default();
    let choices = [
        ("process", Durability::Process),
        ("strict", Durability::Strict),
    ];
    let segment = usize::try_from(default.segment_bytes).unwrap_or(usize::MAX);
    let segment = bytes(section, "segment_bytes", segment, 64 << 10, 1 << 40);
    SpendLog {
        durability: choice(section, "durability", &choices, default.durability),
        group_commit: time(
            section,
            "group_commit",
            default.group_commit,
            Duration::ZERO,
        ),
        segment_bytes: u64::try_from(segment).unwrap_or(u64::MAX),
    }
}

fn upstream(section: &Section<'_>) -> UpstreamLink {
    let default = UpstreamLink::default();
    let choices = [("auto", Http2::Auto), ("never", Http2::Never)];
    UpstreamLink {
        http2: choice(section, "http2", &choices, default.http2),
        ca_file: file(section, "ca_file"),
        pool_size: section.or(
            "pool_size",
            default.pool_size,
            |text| number(text, 1, 65_536),
            ToString::to_string,
        ),
    }
}

fn shutdown(section: &Section<'_>) -> Shutdown {
    Shutdown {
        grace: time(section, "grace", Shutdown::default().grace, Duration::ZERO),
    }
}

fn upgrade(section: &Section<'_>) -> Upgrade {
    let default = section
        .reader()
        .environment
        .runtime_directory()
        .join("upgrade.sock");
    Upgrade {
        socket: section.or("socket", default, path, |path| path.display().to_string()),
        wait: time(section, "wait", Upgrade::WAIT, MILLISECOND),
    }
}

fn reload(section: &Section<'_>) -> Reload {
    let default = Reload::default();
    Reload {
        watch: section.or("watch", default.watch, units::flag, ToString::to_string),
        debounce: time(section, "debounce", default.debounce, 10 * MILLISECOND),
    }
}

fn log(section: &Section<'_>) -> Log {
    let default = Log::default();
    let format = choice(
        section,
        "format",
        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        default.format,
    );
    let reader = section.reader();
    let written = section.resolve("level", level);
    let (mut log_level, mut origin) = written.unwrap_or((default.level, Origin::Default));
    if let Some(text) = reader.environment.filled("WEIR_LOG") {
        match level(text) {
            Ok(level) => (log_level, origin) = (level, Origin::Variable("WEIR_LOG")),
            Err(complaint) => reader.report_variable("WEIR_LOG", complaint),
        }
    }
    reader.fact(section.path_of("level"), log_level.clone(), origin);
    Log {
        format,
        level: log_level,
    }
}

/// A level, or comma-separated `target=level` directives.
fn level(text: &str) -> Result<String, Complaint> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',') {
        let word = directive.rsplit('=').next().unwrap_or(directive).trim();
        let known = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        if !known {
            return Err(Complaint {
                message: "must be a level, or target=level directives".into(),
                suggestion: did_you_mean(word, &LEVELS),
            });
        }
    }
    Ok(text.trim().to_owned())
}

fn admin(section: &Section<'_>) -> Admin {
    const VARIABLE: &str = "ADMIN_TOKEN";
    let reader = section.reader();
    if section.get("token").is_some() {
        return Admin {
            token: section.secret("token"),
        };
    }
    let token = reader.environment.filled(VARIABLE).map(str::trim);
    let origin = if token.is_some() {
        Origin::Variable(VARIABLE)
    } else {
        Origin::Default
    };
    reader.fact(
        section.path_of("token"),
        masked(token.unwrap_or_default()),
        origin,
    );
    Admin {
        token: token.map(|token| Secret::new(token.to_owned())),
    }
}
