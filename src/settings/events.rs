//! Where events go: the section `events`.

use super::own_address::own_address;
use super::problem::Complaint;
use super::reader::Section;
use super::sections::read::{bytes, file, number, time};
use super::{Listen, Stores, units};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The variable with the port of the WebSocket.
pub const EVENTS_PORT: &str = "EVENTS_PORT";

/// The longest name of a stream.
const LONGEST_STREAM: usize = 256;

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// The stream in Redis.
    pub redis: Option<EventStream>,
    /// The file.
    pub file: Option<EventFile>,
    /// Where whoever watches connects; `None`: nowhere but at `/events` beside the admin API.
    pub websocket: Option<SocketAddr>,
    /// The web pages that may watch, as their `Origin` says it.
    pub origins: Vec<String>,
    /// How many may watch at the same time.
    pub watchers: usize,
    /// How often a watcher must show that it is still there.
    pub ping: Duration,
}

/// A stream in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventStream {
    /// Its key.
    pub stream: String,
    /// How many events it keeps, about.
    pub maxlen: usize,
}

/// A file of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFile {
    /// Its path; older ones have `.1`, `.2` and so on after it.
    pub path: PathBuf,
    /// The size at which a new one begins.
    pub size: u64,
    /// How many older ones are kept.
    pub keep: u32,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            redis: None,
            file: None,
            websocket: None,
            origins: Vec::new(),
            watchers: 64,
            ping: Duration::from_secs(30),
        }
    }
}

impl Default for EventStream {
    fn default() -> Self {
        Self {
            stream: "agent.events".to_owned(),
            maxlen: 100_000,
        }
    }
}

/// Reads the section.
pub(super) fn read(section: &Section<'_>, listen: &Listen, stores: &Stores) -> Events {
    let default = Events::default();
    let count = |text: &str| number(text, 1, 4096);
    Events {
        redis: redis(section, stores),
        file: lines(section),
        websocket: own_address(section, "websocket", EVENTS_PORT, listen, &[]),
        origins: origins(section),
        watchers: section.or("watchers", default.watchers, count, ToString::to_string),
        ping: time(section, "ping", default.ping, Duration::from_millis(100)),
    }
}

fn redis(section: &Section<'_>, stores: &Stores) -> Option<EventStream> {
    let there = stores.redis.is_some();
    let default = EventStream::default();
    let value = section.get("redis");
    let inside = match value {
        Some(value) if value.is_mapping() => {
            if !there {
                value.error(
                    Complaint::new("needs a Redis")
                        .suggesting("add stores.redis, or set REDIS_URL"),
                );
            }
            value.section()
        }
        Some(value) => {
            let wanted = section.or("redis", there, units::flag, ToString::to_string);
            if wanted && !there {
                value.error(
                    Complaint::new("needs a Redis")
                        .suggesting("add stores.redis, or set REDIS_URL"),
                );
            }
            return (wanted && there).then_some(default);
        }
        // Nothing to say about a stream that is nowhere.
        None if !there => return None,
        None => section.section("redis"),
    };
    let name = |text: &str| {
        let name = text.trim();
        let plain = name.bytes().all(|byte| byte.is_ascii_graphic());
        if name.is_empty() || name.len() > LONGEST_STREAM || !plain {
            return Err(Complaint::new(
                "must be 1 to 256 printable characters without spaces",
            ));
        }
        Ok(name.to_owned())
    };
    let most = |text: &str| number(text, 100, 100_000_000);
    let stream = EventStream {
        stream: inside.or("stream", default.stream, name, Clone::clone),
        maxlen: inside.or("maxlen", default.maxlen, most, ToString::to_string),
    };
    there.then_some(stream)
}

fn lines(section: &Section<'_>) -> Option<EventFile> {
    const SIZE: usize = 64 << 20;
    const KEEP: usize = 4;
    let value = section.get("file")?;
    let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
    if !value.is_mapping() {
        return Some(EventFile {
            path: file(section, "file")?,
            size: size(SIZE),
            keep: u32::try_from(KEEP).unwrap_or(u32::MAX),
        });
    }
    let inside = value.section();
    let path = file(&inside, "path");
    let largest = bytes(&inside, "size", SIZE, 4 << 10, 1 << 40);
    let keep = inside.or(
        "keep",
        KEEP,
        |text| number(text, 0, 1000),
        ToString::to_string,
    );
    if path.is_none() {
        inside.error(Complaint::new("`path` is missing"));
    }
    Some(EventFile {
        path: path?,
        size: size(largest),
        keep: u32::try_from(keep).unwrap_or(u32::MAX),
    })
}

fn origins(section: &Section<'_>) -> Vec<String> {
    let Some(value) = section.get("origins") else {
        return Vec::new();
    };
    let list = value.list();
    let origins: Vec<String> = list.iter().filter_map(|value| value.read(page)).collect();
    let reader = section.reader();
    reader.fact(
        section.path_of("origins"),
        origins.join(", "),
        value.origin(),
    );
    origins
}

/// An origin as a browser sends it: scheme, host, and the port unless it is the scheme's own.
fn page(text: &str) -> Result<String, Complaint> {
    let wrong = || {
        Complaint::new("must be an origin, without a path")
            .suggesting("such as https://example.com")
    };
    let text = text.trim().trim_end_matches('/').to_ascii_lowercase();
    let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
    let usual = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let odd = |c: char| c.is_whitespace() || "/?#@*,".contains(c);
    if scheme.is_empty() || host.is_empty() || host.contains(odd) {
        return Err(wrong());
    }
    let host = match usual {
        "" => host,
        usual => host.strip_suffix(usual).unwrap_or(host),
    };
    Ok(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::settings::environment::Environment;

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
        let environment = Environment::of(variables.iter().copied());
        let settings = crate::settings::parse("weir.yaml", text, &environment);
        settings.map_err(|problems| problems.to_string())
    }

    fn events(text: &str, variables: &[(&str, &str)]) -> Events {
        read(text, variables).unwrap().events
    }

    #[test]
    fn a_stream_is_written_where_there_is_a_redis_unless_it_is_not_wanted() {
        let redis = [("REDIS_URL", "redis://h")];
        let stream = EventStream::default();
        assert_eq!(events("", &[]), Events::default());
        assert_eq!(events("", &redis).redis, Some(stream.clone()));
        assert_eq!(events("events: {redis: true}", &redis).redis, Some(stream));
        assert_eq!(events("events: {redis: false}", &redis).redis, None);
        let own = events("events: {redis: {stream: my.events, maxlen: 500}}", &redis);
        let own = own.redis.unwrap();
        assert_eq!((own.stream.as_str(), own.maxlen), ("my.events", 500));
        for text in ["events: {redis: true}", "events: {redis: {maxlen: 500}}"] {
            let said = read(text, &[]).err().unwrap();
            assert!(said.contains("events.redis: needs a Redis"), "{said}");
        }
        let said = read("events: {redis: {stream: 'a b', maxlen: 9}}", &redis);
        let said = said.err().unwrap();
        assert!(said.contains("without spaces") && said.contains("between 100"));
    }

    #[test]
    fn a_file_is_a_path_or_a_section() {
        let file = |text: &str| events(text, &[]).file.unwrap();
        let short = file("events: {file: a/b.jsonl}");
        assert_eq!((short.path.to_str(), short.keep), (Some("a/b.jsonl"), 4));
        let long = file("events: {file: {path: c, size: 1MiB, keep: 0}}");
        assert_eq!((long.size, long.keep), (1 << 20, 0));
        let said = read("events: {file: {size: 1KiB}}", &[]).err().unwrap();
        assert!(said.contains("`path` is missing") && said.contains("between 4KiB"));
    }

    #[test]
    fn the_variable_chooses_the_port_and_where_there_is_none_the_address_too() {
        let port = [("EVENTS_PORT", "8088")];
        let at = |text: &str, variables| events(text, variables).websocket;
        assert_eq!(at("", &[]), None);
        assert_eq!(at("", &port), "0.0.0.0:8088".parse().ok());
        let local = "listen: {http: '127.0.0.1:1'}";
        assert_eq!(at(local, &port), "127.0.0.1:8088".parse().ok());
        let stated = "events: {websocket: '[::1]:9000'}";
        assert_eq!(at(stated, &[]), "[::1]:9000".parse().ok());
        assert_eq!(at(stated, &port), "[::1]:8088".parse().ok());
        let settings = read(stated, &[]).unwrap();
        assert_eq!(settings.addresses().count(), 2);
        for (text, port) in [
            ("listen: {http: '0.0.0.0:8088'}", "8088"),
            ("", "80888"),
            ("events: {websocket: '0.0.0.0:8080'}", ""),
        ] {
            assert!(read(text, &[("EVENTS_PORT", port)]).is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_is_written_as_a_browser_says_it() {
        let origins = |list: &str| events(&format!("events: {{origins: [{list}]}}"), &[]).origins;
        assert_eq!(
            origins("'https://A.example:443/', 'http://b:8080', 'http://[::1]:80'"),
            ["https://a.example", "http://b:8080", "http://[::1]"]
        );
        for wrong in [
            "'*'",
            "'https://'",
            "'https://a/b'",
            "'a.example'",
            "'https://*'",
        ] {
            let text = format!("events: {{origins: [{wrong}]}}");
            assert!(read(&text, &[]).is_err(), "{wrong}");
        }
    }
}
