use super::*;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The settings file that comes with Weir.
const SHIPPED: &str = include_str!("../../conf/weir.yaml");

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Problems> {
    parse(
        "conf/weir.yaml",
        text,
        &Environment::of(variables.iter().copied()),
    )
}

fn shown(settings: &Settings) -> Vec<(String, String)> {
    settings
        .facts
        .iter()
        .map(|fact| (fact.path.clone(), fact.value.clone()))
        .collect()
}

fn errors(text: &str) -> Vec<String> {
    let problems = read(text, &[]).err().unwrap();
    problems.0.iter().map(ToString::to_string).collect()
}

#[test]
fn no_file_gives_the_defaults() {
    let settings = read("", &[]).unwrap();
    assert_eq!(settings.listen, Listen::default());
    assert_eq!(
        settings.limits,
        Limits {
            header_bytes: 65_536,
            headers: 100,
            body_bytes: 33_554_432,
            json_depth: 64
        }
    );
    assert_eq!(settings.timeouts, Timeouts::default());
    assert_eq!(
        settings.drain,
        Drain {
            time: Duration::from_secs(120),
            bytes: 16_777_216
        }
    );
    assert_eq!(settings.spend_log, SpendLog::default());
    assert_eq!(settings.upstream, UpstreamLink::default());
    assert_eq!(
        settings.shutdown,
        Shutdown {
            grace: Duration::from_secs(600)
        }
    );
    assert_eq!(
        (settings.log.format, settings.log.level.as_str()),
        (LogFormat::Text, "info")
    );
    assert!(settings.admin.token.is_none() && settings.threads == 1);
    assert!(
        settings
            .facts
            .iter()
            .all(|fact| fact.origin == origin::Origin::Default)
    );
}

#[test]
fn the_shipped_file_states_every_default_and_nothing_else() {
    let variables = [("ADMIN_TOKEN", "a-token-of-some-length")];
    let (shipped, none) = (
        read(SHIPPED, &variables).unwrap(),
        read("", &variables).unwrap(),
    );
    assert_eq!(shown(&shipped), shown(&none));
    assert_eq!(shipped.warnings, []);
    // The two that depend on the machine are there as comments; all others are set.
    let stated = shipped
        .facts
        .iter()
        .filter(|fact| matches!(fact.origin, origin::Origin::File { .. }))
        .count();
    assert_eq!(stated, shipped.facts.len() - 1, "{:#?}", shipped.facts);
    for line in [
        "# tls:",
        "# ca_file:",
        "# socket:",
        "# stores:",
        "# websocket:",
    ] {
        assert!(SHIPPED.contains(line), "{line}");
    }
}

#[test]
fn every_setting_is_documented() {
    const DOCUMENT: &str = include_str!("../../docs/policy.md");
    let all = "listen: {tls: {address: '[::]:8443', cert: c, key: k, h2: true}}\nupstream: {ca_file: x}\n\
               stores: {redis: {username: a, password: b, database: 1, tls: {ca_file: c}, sentinel: {master: m, nodes: [n], \
               username: a, password: b}}}\n";
    for text in [
        all,
        "stores: {redis: {url: 'redis://a', cluster: true}}",
        "stores: {redis: {cluster: [a], tls: true}}",
        "stores: {redis: {cluster: [a]}}\nevents: {redis: false, file: a, websocket: '[::]:8088', origins: ['http://a']}",
        "events: {file: {path: a}}",
    ] {
        for fact in read(text, &[]).unwrap().facts {
            assert!(
                DOCUMENT.contains(&format!("`{}`", fact.path)),
                "{} is not in docs/policy.md",
                fact.path
            );
        }
    }
}

#[test]
fn variables_override_the_file() {
    let text =
        "listen: {http: '127.0.0.1:9090'}\nlog: {level: warn}\nadmin: {token: '${ADMIN_TOKEN}'}\n";
    let http = |variables: &[(&str, &str)]| {
        let settings = read(text, variables).unwrap();
        let fact = settings
            .facts
            .iter()
            .find(|fact| fact.path == "listen.http")
            .unwrap();
        (fact.value.clone(), fact.origin.to_string())
    };
    let is = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(http(&[]), is("127.0.0.1:9090", "conf/weir.yaml:1"));
    assert_eq!(
        http(&[("ADAPTER_PORT", "8081")]),
        is("127.0.0.1:8081", "environment variable ADAPTER_PORT")
    );
    assert_eq!(
        http(&[("ADAPTER_HOST", "localhost")]),
        is("127.0.0.1:9090", "environment variable ADAPTER_HOST")
    );
    let both = [("ADAPTER_HOST", "::"), ("ADAPTER_PORT", "1")];
    assert_eq!(
        http(&both),
        is("[::]:1", "environment variable ADAPTER_HOST, ADAPTER_PORT")
    );

    let settings = read(
        text,
        &[
            ("WEIR_LOG", "info,weir::proxy=debug"),
            ("ADMIN_TOKEN", "sesame"),
        ],
    )
    .unwrap();
    assert_eq!(settings.log.level, "info,weir::proxy=debug");
    assert!(settings.admin.token.unwrap().expose() == "sesame");
    assert!(!format!("{:?}", settings.facts).contains("sesame"));

    let problems = read(
        "",
        &[
            ("ADAPTER_PORT", "99999"),
            ("ADAPTER_HOST", "gate"),
            ("WEIR_LOG", "loud"),
        ],
    )
    .err()
    .unwrap();
    assert_eq!(problems.errors(), 3);
    assert!(
        problems
            .to_string()
            .contains("environment: error: ADAPTER_PORT: must be a port")
    );
}

#[test]
fn every_mistake_is_reported_at_its_place() {
    let text = "listen: {http: 8080}
threads: many
limits:
  body_bytes: 32Mb/s
  headers: 5
timeouts: {header: 0, body: 2d}
spend_log: {durability: stric}
upstream: {http2: true, ca_file: ''}
log: {format: yaml, level: loud}
admin: {tokn: x}
upgrade: [a]
";
    let found = errors(text);
    let wanted = [
        ("1:16", "listen.http: must be an address and a port"),
        (
            "2:10",
            "threads: must be a whole number, zero or more\n  help: auto, or",
        ),
        ("4:15", "limits.body_bytes: must be a size"),
        ("5:12", "limits.headers: must be between 16 and 1000"),
        ("6:20", "timeouts.header: must be between 10ms and 1d"),
        ("6:29", "timeouts.body: must be between 10ms and 1d"),
        ("7:25", "did you mean `strict`?"),
        ("8:19", "must be auto or never"),
        ("8:34", "upstream.ca_file: the path is empty"),
        ("9:15", "must be text or json"),
        ("9:28", "log.level: must be a level"),
        (
            "10:9",
            "admin.tokn: unknown key\n  help: did you mean `token`?",
        ),
        ("11:10", "upgrade: must be a mapping, is a list"),
    ];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (line, (place, part)) in found.iter().zip(wanted) {
        assert!(
            line.starts_with(&format!("conf/weir.yaml:{place}: error: ")) && line.contains(part),
            "{line}"
        );
    }
}

#[test]
fn a_tls_listener_needs_its_certificate() {
    let settings = read(
        "listen: {tls: {address: '0.0.0.0:8443', cert: c.pem, key: k.pem}}",
        &[],
    )
    .unwrap();
    let tls = settings.listen.tls.unwrap();
    assert_eq!(
        (tls.address.port(), tls.cert.as_path(), tls.h2),
        (8443, Path::new("c.pem"), true)
    );
    assert_eq!(errors("listen: {tls: {}}").len(), 3);
    assert_eq!(settings.listen.admin, None);
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let flags = file::Flags {
        config: Some("no/such.yaml".into()),
        ..file::Flags::default()
    };
    let environment = Environment::of([("CONFIG_PATH", "etc/p.yaml")]);
    let files = file::Files::choose(&flags, &environment);
    assert_eq!(
        (files.policy.path.as_path(), files.policy.may_be_missing()),
        (Path::new("etc/p.yaml"), false)
    );
    let problems = load(&files, &environment).err().unwrap();
    assert!(
        problems
            .to_string()
            .starts_with("no/such.yaml: error: cannot be read")
    );
    let left_out = file::Chosen {
        path: PathBuf::from("no/such.yaml"),
        origin: origin::Origin::Default,
    };
    let files = Files {
        config: left_out,
        ..files
    };
    assert!(load(&files, &environment).is_ok());
}

proptest! {
    #[test]
    fn no_text_makes_the_settings_panic(text in "(?s).{0,200}") {
        let _ = read(&text, &[]);
    }
}

#[test]
fn the_admin_listener_has_an_address_of_its_own() {
    let settings = read("listen: {admin: '127.0.0.1:9090'}", &[]).unwrap();
    assert_eq!(
        settings.listen.admin,
        Some("127.0.0.1:9090".parse().unwrap())
    );
    assert_eq!(settings.listen.public().count(), 1);
    assert_eq!(settings.listen.all().count(), 2);
    let found = errors("listen: {http: '127.0.0.1:9090', admin: '127.0.0.1:9090'}");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("must be another address"), "{found:#?}");
}

#[test]
fn a_new_process_waits_as_long_as_it_is_told() {
    let settings = read("upgrade: {wait: 2s, socket: /run/weir/u.sock}", &[]).unwrap();
    assert_eq!(settings.upgrade.wait, Duration::from_secs(2));
    assert_eq!(read("", &[]).unwrap().upgrade.wait, Upgrade::WAIT);
}
