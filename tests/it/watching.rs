//! The dashboard and the alerts, evaluated by a real Prometheus that scrapes a gateway which has
//! served: an expression that asks for a metric or a label that is not there would be silent for ever.

use crate::support::gateway::{Setup, free_port, new_directory};
use crate::support::redis::RedisServer;
use crate::support::{Agent, Gateway, LOOK, PATIENCE, Provider};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

fn deployed(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("conf/deploy").join(name)
}

/// Runs a program that has to be there.
fn command(program: &str) -> Command {
    let there = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if let Err(error) = there {
        panic!("{program} cannot be run ({error}): install it with `.ci/need prometheus`");
    }
    Command::new(program)
}

/// A Prometheus that scrapes one gateway; it ends when this is dropped.
struct Prometheus {
    child: Child,
    directory: PathBuf,
    url: String,
    http: reqwest::Client,
}

impl Prometheus {
    async fn over(gateway: &Gateway) -> Self {
        let directory = new_directory();
        let config = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\n\
             rule_files: [\"{}\"]\nscrape_configs:\n  - job_name: weir\n    static_configs: [{{targets: [\"{}\"]}}]\n",
            deployed("alerts.yaml").display(),
            gateway.addr,
        );
        std::fs::write(directory.join("prometheus.yml"), config).unwrap();
        let output = std::fs::File::create(directory.join("output.log")).unwrap();
        let port = free_port();
        let child = command("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .unwrap();
        Self {
            child,
            url: format!("http://127.0.0.1:{port}/api/v1"),
            directory,
            http: crate::support::client::http(),
        }
    }

    /// Asks, and gives `data`; `None` while it does not answer.
    async fn try_get(&self, path: &str, pairs: &[(&str, &str)]) -> Option<Value> {
        let url = reqwest::Url::parse_with_params(&format!("{}/{path}", self.url), pairs).unwrap();
        let answer = self.http.get(url).send().await.ok()?;
        let text = answer.text().await.ok()?;
        let body: Value = serde_json::from_str(&text).ok()?;
        assert_eq!(body["status"], "success", "{pairs:?}: {body}");
        Some(body["data"].clone())
    }

    async fn get(&self, path: &str, pairs: &[(&str, &str)]) -> Value {
        self.try_get(path, pairs).await.expect("it answers")
    }

    /// Whether anything that it knows matches.
    async fn has(&self, selector: &str) -> bool {
        let series = self.get("series", &[("match[]", selector)]).await;
        series.as_array().is_some_and(|all| !all.is_empty())
    }

    /// Waits until an expression gives something.
    async fn gives(&self, expression: &str) {
        let begun = Instant::now();
        loop {
            let found = self.try_get("query", &[("query", expression)]).await;
            if found
                .is_some_and(|data| data["result"].as_array().is_some_and(|all| !all.is_empty()))
            {
                return;
            }
            let said = std::fs::read_to_string(self.directory.join("output.log"));
            assert!(begun.elapsed() < PATIENCE, "{expression}: {said:?}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Every expression of the dashboard, its variables filled in.
fn of_dashboard(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "expr" => {
                        let text = text
                            .replace("$__rate_interval", "1m")
                            .replace("$job", ".*")
                            .replace("$instance", ".*");
                        assert!(!text.contains('$'), "an unknown variable: {text}");
                        found.insert(text);
                    }
                    value => of_dashboard(value, found),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|value| of_dashboard(value, found)),
        _ => {}
    }
}

/// Every expression of the rules.
fn of_rules() -> BTreeSet<String> {
    let text = std::fs::read_to_string(deployed("alerts.yaml")).unwrap();
    let rules: Value = serde_yaml::from_str(&text).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    rules
        .map(|rule| rule["expr"].as_str().unwrap().to_owned())
        .collect()
}

/// A gateway with everything that has metrics, and a little of each kind of traffic.
async fn busy(provider: &Provider, redis: &RedisServer) -> Gateway {
    let bad = format!("http://127.0.0.1:{}/v1", free_port());
    let gateway = with_all(provider, redis, &bad).start().await;
    for _ in 0..2 {
        assert_eq!(gateway.chat("hello").send().await.status, 200);
        assert!(
            gateway
                .chat("hello [[cached=3]]")
                .stream()
                .send()
                .await
                .done()
        );
        let failed = gateway.chat("hello").agent("unlucky").send().await;
        assert_eq!(failed.status, 502, "{}", failed.text());
        let refused = gateway.chat("hello").agent("poor").send().await;
        assert_eq!(refused.status, 402, "{}", refused.text());
    }
    let spent = gateway
        .chat("hello [[cost=0.9]]")
        .agent("spender")
        .send()
        .await;
    assert_eq!(spent.status, 200, "{}", spent.text());
    gateway.quiet().await;
    gateway
}

fn with_all(provider: &Provider, redis: &RedisServer, bad: &str) -> Setup {
    Gateway::over(provider)
        .models(&format!(
            "providers:\n  away: {{base_url: \"{bad}\"}}\nmodels:\n  lost: {{provider: away, engine: e, \
             input_cost: 0.000001, output_cost: 0.000002}}\n"
        ))
        .agent(Agent::new("default", "10"))
        .agent(Agent::new("unlucky", "10").tier("0.0", &["lost"]))
        .agent(Agent::new("poor", "0.000000001"))
        .agent(Agent::new("spender", "1"))
        .redis(&format!("url: \"redis://127.0.0.1:{}\"", redis.port()))
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            &format!("http://127.0.0.1:{}", free_port()),
        )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_expression_of_dashboard_and_alerts_finds_its_metrics_and_labels() {
    let provider = Provider::start().await;
    let redis = RedisServer::start();
    let gateway = busy(&provider, &redis).await;
    documented(&gateway).await;
    let prometheus = Prometheus::over(&gateway).await;
    prometheus.gives("up{job=\"weir\"} == 1").await;
    prometheus
        .gives("weir:requests:rate5m > 0 or weir:requests:rate5m == 0")
        .await;
    prometheus
        .gives("weir:first_token_seconds:p95_5m or vector(0)")
        .await;

    let board = std::fs::read_to_string(deployed("grafana.json")).unwrap();
    let board: Value = serde_json::from_str(&board).unwrap();
    let mut all = BTreeSet::new();
    of_dashboard(&board, &mut all);
    let panels = all.len();
    all.extend(of_rules());
    assert!(panels > 30 && all.len() > panels + 15, "all are found");

    let selector =
        Regex::new(r"\b((?:weir|titan|process)[_:][a-zA-Z0-9_:]*|up)\b(\{[^}]*\})?").unwrap();
    let matcher = Regex::new(r#"([a-z_]+)\s*(?:=~|!=|!~|=)\s*""#).unwrap();
    let grouping = Regex::new(r"\bby\s*\(([^)]*)\)").unwrap();
    for expression in &all {
        prometheus.get("query", &[("query", expression)]).await;
        let mut named = Vec::new();
        for found in selector.captures_iter(expression) {
            let name = found.get(1).unwrap().as_str();
            let labels = found.get(2).map_or("", |labels| labels.as_str());
            let labels = matcher.captures_iter(labels);
            let present: Vec<String> = labels.map(|label| format!("{}!=\"\"", &label[1])).collect();
            let wanted = format!("{{__name__=\"{name}\",{}}}", present.join(","));
            // Shares of what has no rate yet are no series; what they are made of is looked at, too.
            if !name.contains(':') {
                assert!(prometheus.has(&wanted).await, "{wanted} of {expression}");
            }
            named.push(name);
        }
        assert!(!named.is_empty(), "{expression} asks for nothing of ours");
        let by = grouping.captures_iter(expression);
        for label in by.flat_map(|found| {
            found[1]
                .split(',')
                .map(|l| l.trim().to_owned())
                .collect::<Vec<_>>()
        }) {
            let names = named.join("|");
            let wanted = format!("{{__name__=~\"{names}\",{label}!=\"\"}}");
            assert!(prometheus.has(&wanted).await, "{wanted} of {expression}");
        }
    }
    let rules = prometheus.get("rules", &[]).await;
    for rule in rules["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
    {
        assert_ne!(rule["health"], "err", "{rule}");
    }
}

/// Every metric that is exposed is in the documentation, and no other.
async fn documented(gateway: &Gateway) {
    let text = gateway.get("/metrics").await.text();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let exposed: BTreeSet<_> = families.filter_map(|line| line.split(' ').next()).collect();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/telemetry.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" |").next());
    let names = cells.flat_map(|cell| cell.split(['`', ',', ' ']));
    let prefixes = ["weir_", "titan_", "process_"];
    let told: BTreeSet<_> = names
        .filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    let missing: Vec<_> = exposed.difference(&told).collect();
    assert!(missing.is_empty(), "not in docs/telemetry.md: {missing:?}");
    // Some have no series before something happens.
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/metrics");
    let mut code = String::new();
    for file in std::fs::read_dir(sources).unwrap() {
        code += &std::fs::read_to_string(file.unwrap().path()).unwrap();
    }
    for name in told.difference(&exposed) {
        assert!(code.contains(&format!("\"{name}\"")), "there is no {name}");
    }
}

#[test]
fn the_alerts_fire_when_they_should_and_only_then() {
    for (check, file) in [
        (&["check", "rules"][..], deployed("alerts.yaml")),
        (
            &["test", "rules"],
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/alerts/test.yaml"),
        ),
    ] {
        let output = command("promtool").args(check).arg(&file).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", file.display());
    }
}
