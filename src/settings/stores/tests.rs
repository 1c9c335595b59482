use super::*;
use crate::settings::environment::Environment;
use crate::settings::problem::Problems;
use crate::settings::{Settings, parse};
use proptest::prelude::*;

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Problems> {
    let environment = Environment::of(variables.iter().copied());
    parse("conf/weir.yaml", text, &environment)
}

fn redis(text: &str, variables: &[(&str, &str)]) -> Redis {
    load(text, variables).unwrap().stores.redis.unwrap()
}

fn of_url(url: &str) -> Redis {
    redis("", &[("REDIS_URL", url)])
}

fn errors(text: &str, variables: &[(&str, &str)]) -> String {
    load(text, variables).err().unwrap().to_string()
}

fn facts(text: &str, variables: &[(&str, &str)]) -> String {
    let settings = load(text, variables).unwrap();
    let lines: Vec<String> = settings.facts.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn password(redis: &Redis) -> Option<&str> {
    redis.password.as_ref().map(Secret::expose)
}

#[test]
fn without_a_word_of_it_there_is_no_redis() {
    for text in ["", "stores:", "stores: {}", "stores: {redis: }"] {
        assert!(load(text, &[]).unwrap().stores.redis.is_none(), "{text}");
        assert!(!facts(text, &[("REDIS_URL", " ")]).contains("stores"));
    }
}

#[test]
fn the_variable_alone_is_a_redis_with_every_default() {
    let redis = of_url("redis://redis:6379/0");
    assert_eq!(redis.place(), "redis:6379");
    assert_eq!(
        (redis.tenant.as_str(), redis.timeout, redis.connect_timeout),
        (
            "weir",
            Duration::from_millis(250),
            Duration::from_millis(2000)
        )
    );
    assert_eq!(
        (redis.orphan_after, redis.recovery_wait),
        (Duration::from_secs(60), Duration::from_secs(60))
    );
    assert!(redis.limits && redis.firewall_keys && redis.tls.is_none());
    assert!(redis.username.is_none() && redis.password.is_none() && redis.database == 0);
}

#[test]
fn the_variable_wins_over_the_url_of_the_file_and_counts_from_dotenv() {
    let text = "stores: {redis: {url: 'redis://file:1', timeout: 1s, tenant: blue}}";
    let found = redis(text, &[]);
    assert_eq!(
        (found.place(), found.timeout),
        ("file:1".into(), Duration::from_secs(1))
    );
    let found = redis(text, &[("REDIS_URL", "redis://variable:2")]);
    assert_eq!(
        (found.place(), found.tenant.as_str()),
        ("variable:2".into(), "blue")
    );
    let environment = Environment::default().with_dotenv(".env", "REDIS_URL=redis://dotenv:3\n");
    let settings = parse("conf/weir.yaml", text, &environment).unwrap();
    assert_eq!(settings.stores.redis.unwrap().place(), "dotenv:3");
}

#[test]
fn urls_are_read_in_every_spelling() {
    let found = of_url("rediss://ann:p%40ss%2Fw@redis.example:7000/3");
    assert_eq!(
        (found.place(), found.database),
        ("redis.example:7000".into(), 3)
    );
    assert_eq!(found.username.as_deref(), Some("ann"));
    assert_eq!(password(&found), Some("p@ss/w"));
    assert_eq!(found.tls, Some(RedisTls::default()));

    let found = of_url("redis://:a:b@c@[::1]");
    assert_eq!(
        (found.place(), password(&found)),
        ("[::1]:6379".into(), Some("a:b@c"))
    );
    assert!(found.username.is_none() && found.tls.is_none());

    let found = of_url("redis://host?db=4");
    assert_eq!((found.place(), found.database), ("host:6379".into(), 4));
    let found = of_url("unix:///run/redis.sock?db=2&user=ann&pass=x");
    assert_eq!(
        (found.place(), found.database),
        ("/run/redis.sock".into(), 2)
    );
    assert_eq!(
        (found.username.as_deref(), password(&found)),
        (Some("ann"), Some("x"))
    );
}

#[test]
fn a_url_that_cannot_be_used_is_named_without_its_password() {
    for (url, part) in [
        ("redis:6379", "must be a URL of Redis"),
        ("http://host", "must be a URL of Redis"),
        ("redis://", "must be a URL of Redis"),
        ("redis://:sesame@", "must be a URL of Redis"),
        ("redis://host:sesame", "must be a URL of Redis"),
        ("redis://:se/same@host", "write a `/` of a password as %2F"),
        ("redis://:se#same@host", "write a `#` of a password as %23"),
        ("redis://:sesame%@host", "write a `%` of a password as %25"),
        ("redis://host/sesame", "by its number"),
        (
            "redis://host?ssl_cert_reqs=sesame",
            "after `?` there may be",
        ),
        ("unix://sesame", "must be a URL of Redis"),
        ("redis://ann@host", "a user without a password"),
    ] {
        let shown = errors("", &[("REDIS_URL", url)]);
        assert!(shown.contains(part), "{url}: {shown}");
        assert!(!shown.contains("sesame"), "{shown}");
        let text = format!("stores: {{redis: {{url: '{url}'}}}}");
        let shown = errors(&text, &[]);
        assert!(shown.contains(part) && !shown.contains("sesame"), "{shown}");
    }
}

#[test]
fn sentinels_and_clusters_are_lists_of_nodes() {
    let text = "stores:\n  redis:\n    sentinel: {master: mymaster, nodes: [s1, 's2:5000'], username: s, password: '${S}'}\n    \
                username: ann\n    password: '${P}'\n    database: 5\n    tls: {ca_file: ca.pem}\n";
    let found = redis(text, &[("S", "sesame-1"), ("P", "sesame-2")]);
    assert_eq!(found.place(), "mymaster of sentinels s1:26379, s2:5000");
    let Server::Sentinel(sentinel) = &found.server else {
        panic!("no sentinel");
    };
    assert_eq!(sentinel.username.as_deref(), Some("s"));
    assert!(sentinel.password.as_ref().unwrap().expose() == "sesame-1");
    assert_eq!((password(&found), found.database), (Some("sesame-2"), 5));
    let trusted = found.tls.unwrap().ca_file.unwrap();
    assert_eq!(trusted, PathBuf::from("ca.pem"));

    let found = redis("stores: {redis: {cluster: [a, 'b:2'], tls: true}}", &[]);
    assert_eq!(
        (found.place(), found.tls),
        ("cluster a:6379, b:2".into(), Some(RedisTls::default()))
    );
    let found = redis(
        "stores: {redis: {cluster: yes}}",
        &[("REDIS_URL", "redis://a")],
    );
    assert_eq!(found.place(), "cluster a:6379");
    let found = redis("stores: {redis: {cluster: no, url: 'redis://a'}}", &[]);
    assert_eq!(found.place(), "a:6379");
}

#[test]
fn every_mistake_is_told_with_what_would_be_right() {
    let variables = [("REDIS_URL", "redis://a")];
    for (text, variables, part) in [
        (
            "{redis: redis://a}",
            &[][..],
            "stores.redis: must be a mapping",
        ),
        (
            "{redis: {tenant: x}}",
            &[],
            "does not say where Redis is\n  help: add url",
        ),
        ("{redis: {url: '${NONE}'}}", &[], "${NONE} is not set"),
        (
            "{redis: {url: 'redis://a', cluster: [b]}}",
            &[],
            "in more than one way",
        ),
        (
            "{redis: {cluster: true, sentinel: {}}}",
            &[],
            "in more than one way",
        ),
        ("{redis: {cluster: [b]}}", &variables, "REDIS_URL is set"),
        (
            "{redis: {cluster: true}}",
            &[],
            "does not say where Redis is",
        ),
        ("{redis: {cluster: []}}", &[], "must name at least one node"),
        (
            "{redis: {cluster: ['a:b']}}",
            &[],
            "stores.redis.cluster[0]: must be a host and a port",
        ),
        (
            "{redis: {cluster: ['::1']}}",
            &[],
            "must be a host and a port",
        ),
        (
            "{redis: {cluster: [a], database: 1}}",
            &[],
            "a cluster has the database 0 only",
        ),
        (
            "{redis: {cluster: true, url: 'unix:///a'}}",
            &[],
            "cannot be reached by a socket",
        ),
        (
            "{redis: {sentinel: {nodes: [a]}}}",
            &[],
            "stores.redis.sentinel: `master` is missing",
        ),
        (
            "{redis: {sentinel: {master: m}}}",
            &[],
            "stores.redis.sentinel: `nodes` is missing",
        ),
        (
            "{redis: {url: 'redis://a', tls: {}}}",
            &[],
            "begin the URL with rediss://",
        ),
        (
            "{redis: {username: ann}}",
            &variables,
            "a user without a password",
        ),
        (
            "{redis: {tenant: 'A b'}}",
            &variables,
            "must be 1 to 32 characters",
        ),
        (
            "{redis: {timeout: 1ms}}",
            &variables,
            "must be between 10ms and 10s",
        ),
        ("{redis: {tenat: x}}", &variables, "did you mean `tenant`?"),
        ("{redi: {}}", &[], "did you mean `redis`?"),
    ] {
        let shown = errors(&format!("stores: {text}"), variables);
        assert!(shown.contains(part), "{text}: {shown}");
    }
}

#[test]
fn secrets_are_shown_by_their_length_only() {
    let text = "stores:\n  redis:\n    sentinel: {master: m, nodes: [s], password: sesame-1}\n    password: '${P}'\n";
    let shown = facts(text, &[("P", "sesame-2")]);
    for line in [
        "stores.redis.sentinel.password = set, 8 characters   (conf/weir.yaml:3)",
        "stores.redis.password = set, 8 characters   (conf/weir.yaml:4, from ${P})",
        "stores.redis.sentinel.nodes = s:26379   (conf/weir.yaml:3)",
        "stores.redis.recovery_wait = 60s   (default)",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    let url = facts("", &[("REDIS_URL", "rediss://ann:sesame@host/1")]);
    for line in [
        "stores.redis.url = rediss://host:6379/1   (environment variable REDIS_URL)",
        "stores.redis.username = ann   (environment variable REDIS_URL)",
        "stores.redis.password = set, 6 characters   (environment variable REDIS_URL)",
    ] {
        assert!(url.contains(line), "{line}\n{url}");
    }
    assert!(!shown.contains("sesame") && !url.contains("sesame"));
    // What the URL says wins over the two keys.
    let text = "stores: {redis: {username: bob, password: x}}";
    let found = redis(text, &[("REDIS_URL", "redis://ann:sesame@host")]);
    assert_eq!(
        (found.username.as_deref(), password(&found)),
        (Some("ann"), Some("sesame"))
    );
    let found = redis(text, &[("REDIS_URL", "redis://host")]);
    assert_eq!(
        (found.username.as_deref(), password(&found)),
        (Some("bob"), Some("x"))
    );
}

proptest! {
    #[test]
    fn no_url_makes_it_panic_and_a_shown_one_reads_back(
        text in "\\PC{0,40}|(redis|rediss|unix)://[-a-z0-9:@/%?#=&\\[\\].]{0,40}"
    ) {
        if let Ok(found) = super::address::url(&text) {
            let shown = found.to_string();
            let again = super::address::url(&shown);
            if !shown.contains(['%', '#', '?', '@']) || !shown.starts_with("unix") {
                prop_assert_eq!(again.ok().map(|url| url.to_string()), Some(shown));
            }
        }
        let _ = super::address::node(&text, 1);
    }
}

#[test]
fn leases_are_off_until_they_are_asked_for_and_end_before_others_go_on() {
    let url = [("REDIS_URL", "redis://redis:6379/0")];
    let of = |text: &str| redis(&format!("stores: {{redis: {{{text}}}}}"), &url).lease;
    assert_eq!(of(""), None);
    assert_eq!(of("lease: false"), None);
    assert_eq!(of("lease: true"), Some(Lease::default()));
    assert_eq!(of("lease: {}"), Some(Lease::default()));
    let own = of("lease: {share: 0.1, max: $2, time: 3s}, recovery_wait: 3s, orphan_after: 4s");
    let own = own.unwrap();
    assert_eq!(
        (own.share, own.max, own.time),
        (
            Threshold(100_000_000),
            Nanos::usd(2),
            Duration::from_secs(3)
        )
    );
    for (text, complaint) in [
        (
            "lease: {time: 61s}, orphan_after: 2m",
            "recovery_wait is over after 60s",
        ),
        ("lease: true, recovery_wait: 5s", "leases of 8s"),
        (
            "lease: {time: 5s}, orphan_after: 5s",
            "orphan_after is over",
        ),
        ("lease: {share: 0.6}", "at most 0.5"),
        ("lease: {share: 0}", "above 0"),
        ("lease: {max: 0}", "above 0"),
        ("lease: {seconds: 8}", "seconds"),
    ] {
        let found = errors(&format!("stores: {{redis: {{{text}}}}}"), &url);
        assert!(found.contains(complaint), "{text}: {found}");
    }
}
