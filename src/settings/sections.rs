//! The sections of `conf/weir.yaml`: their defaults, bounds and readers.

use super::Settings;
use super::origin::{Origin, masked};
use super::problem::{Complaint, did_you_mean};
use super::reader::Section;
use super::units;
use crate::secret::Secret;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address of the HTTP listener.
    pub http: SocketAddr,
    /// The TLS listener, if there is one.
    pub tls: Option<Tls>,
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

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Reads every section.
pub(super) fn read(root: &Section<'_>) -> Settings {
    let reader = root.reader();
    Settings {
        listen: listen(&root.section("listen")),
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
        log: log(&root.section("log")),
        admin: admin(&root.section("admin")),
        warnings: reader.environment.warnings().to_vec(),
        facts: Vec::new(),
    }
}

fn time(section: &Section<'_>, key: &'static str, default: Duration, least: Duration) -> Duration {
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

fn bytes(
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

fn number(text: &str, least: usize, most: usize) -> Result<usize, Complaint> {
    let number = units::count(text)?;
    usize::try_from(number)
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| Complaint::new(format!("must be between {least} and {most}")))
}

fn choice<T: Copy + PartialEq>(
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

fn file(section: &Section<'_>, key: &'static str) -> Option<PathBuf> {
    section.optional(key, path, |path| path.display().to_string())
}

fn path(text: &str) -> Result<PathBuf, Complaint> {
    if text.trim().is_empty() {
        return Err(Complaint::new("the path is empty"));
    }
    Ok(PathBuf::from(text))
}

/// An address with its port.
fn address(text: &str) -> Result<SocketAddr, Complaint> {
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

fn listen(section: &Section<'_>) -> Listen {
    let default = Listen::default();
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
    Listen {
        http,
        tls: section.get("tls").and_then(|value| tls(&value.section())),
    }
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
