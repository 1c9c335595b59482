//! Every recorded answer through the whole gateway, whole and cut into pieces: the bill is what an
//! independent reader found, and the client's bytes are the provider's.

use super::{aftermath, chance, knob, seed};
use crate::support::{Gateway, Provider, Reply};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use weir::catalog::Catalog;
use weir::mock::Options;
use weir::usage::ServiceTier;
use weir::usage::Usage;

/// The model that is asked for; recordings answer as the models they were made with.
const ASKED: &str = "openai/gpt-4o-mini";

/// The largest recording that the short form sends byte by byte.
const SMALL: usize = 6000;

#[derive(Deserialize)]
struct Expected {
    dialect: String,
    model: Option<String>,
    error: Option<String>,
    text_bytes: u64,
    usage: Option<Usage>,
    cost: Option<i64>,
    upstream_cost: Option<i64>,
    #[serde(default)]
    byok: bool,
}

impl Expected {
    /// What the provider states. With an account of the user's own at the provider behind, both
    /// ask for money.
    fn stated(&self) -> Option<i64> {
        let upstream = self.upstream_cost.filter(|_| self.byok);
        upstream.map_or(self.cost, |upstream| {
            Some(self.cost.unwrap_or(0) + upstream)
        })
    }
}

struct Recording {
    name: String,
    body: Vec<u8>,
    events: bool,
    expected: Expected,
}

/// The answers that a client of chat completions can get as they are, errors left out: those are no
/// bills.
fn recordings(folder: &std::path::Path) -> Vec<Recording> {
    let expected = std::fs::read(folder.join("expected.json")).expect("readable");
    let expected: BTreeMap<String, Expected> = serde_json::from_slice(&expected).expect("JSON");
    let kept = expected
        .into_iter()
        .filter(|(name, _)| !name.ends_with(".err.json"))
        .filter(|(_, expected)| matches!(expected.dialect.as_str(), "chat" | "responses"));
    kept.map(|(name, expected)| Recording {
        body: std::fs::read(folder.join(&name)).expect("readable"),
        events: name.ends_with(".sse"),
        name,
        expected,
    })
    .collect()
}

/// How a recording is sent.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    split: Option<usize>,
    crlf: bool,
    /// Through the gateway that adds its metadata.
    metadata: bool,
}

impl Recording {
    /// What the client must receive, metadata left out.
    fn sent(&self, way: Way) -> Vec<u8> {
        if !way.crlf {
            return self.body.clone();
        }
        let text = std::str::from_utf8(&self.body).expect("UTF-8");
        text.replace('\n', "\r\n").into_bytes()
    }

    /// Fails unless the answer is the recording.
    fn unchanged(&self, reply: &Reply, way: Way) {
        let how = format!("{} {way:?}", self.name);
        assert_eq!(reply.status, 200, "{how}: {}", reply.text());
        assert!(reply.complete, "{how}: broken off");
        let sent = self.sent(way);
        if !way.metadata {
            assert!(reply.body == sent, "{how}: changed on its way");
        } else if self.events {
            let text = reply.text();
            let kept = without_metadata(&text);
            assert!(kept.as_bytes() == sent, "{how}: more than metadata changed");
        } else {
            let mut answer = reply.json();
            let added = answer.as_object_mut().and_then(|o| o.remove("_execwall"));
            assert!(added.is_some(), "{how}: no metadata");
            let before: Value = serde_json::from_slice(&sent).expect("JSON");
            assert_eq!(answer, before, "{how}");
        }
    }

    /// Fails unless the record is the bill for this recording.
    fn billed(&self, record: &Value, catalog: &Catalog, way: Way) {
        let how = format!("{} {way:?}: {record}", self.name);
        let usage = &self.expected.usage;
        let charged = record["nano_usd"].as_i64();
        let usage = match (usage, self.expected.stated()) {
            (_, Some(cost)) if cost > 0 => {
                assert_eq!(
                    (charged, &record["source"]),
                    (Some(cost), &"provider".into()),
                    "{how}"
                );
                usage.unwrap_or_default()
            }
            (Some(usage), _) => {
                let model = self.expected.model.as_deref().unwrap_or(ASKED);
                let price = catalog.find(model).or(catalog.find(ASKED));
                let price = price.expect("the model asked for has a price");
                let due = price.cost(usage, ServiceTier::Default).0;
                if record["source"] == "estimated" && !self.ours() {
                    // Four times more text than the usage admits to is not believed.
                    assert!(charged > Some(due), "{how}");
                    assert!(self.expected.text_bytes > usage.output * 4, "{how}");
                    return;
                }
                assert_eq!(
                    (charged, &record["source"]),
                    (Some(due), &"usage".into()),
                    "{how}"
                );
                *usage
            }
            _ => {
                assert_eq!(record["source"], "estimated", "{how}");
                assert!(charged > Some(0), "{how}");
                return;
            }
        };
        let written: Usage = serde_json::from_value(record["usage"].clone()).expect("usage");
        assert_eq!(written, usage, "{how}");
    }

    /// Whether it comes from a provider whose usage is always to be believed.
    fn ours(&self) -> bool {
        self.name.starts_with("openai__") || self.name.starts_with("openrouter__")
    }

    /// Whether there is nothing in it to bill: an error before any content.
    fn free(&self) -> bool {
        let Expected {
            error,
            text_bytes,
            usage,
            ..
        } = &self.expected;
        error.is_some() && *text_bytes == 0 && usage.is_none()
    }
}

/// A stream without the event that the gateway put in.
fn without_metadata(text: &str) -> String {
    let Some(at) = text.find("\"_execwall\":{") else {
        return text.to_owned();
    };
    let from = text[..at].rfind("data: ").expect("it is in an event");
    let blank = ["\n\n", "\r\n\r\n"];
    let ends = blank
        .iter()
        .filter_map(|blank| Some(at + text[at..].find(blank)? + blank.len()));
    let to = ends.min().expect("the event ends");
    [&text[..from], &text[to..]].concat()
}

/// Ways to send one recording.
fn ways(recording: &Recording, splits: u64, all: bool, chance: &mut fastrand::Rng) -> Vec<Way> {
    let mut ways = vec![Way::default()];
    if all || recording.body.len() <= SMALL {
        ways.push(Way {
            split: Some(1),
            ..Way::default()
        });
    }
    for _ in 0..splits {
        ways.push(Way {
            split: Some(chance.usize(2..2000)),
            crlf: recording.events && chance.bool(),
            metadata: chance.bool(),
        });
    }
    if recording.events {
        ways.push(Way {
            crlf: true,
            ..Way::default()
        });
    }
    ways.push(Way {
        metadata: true,
        ..Way::default()
    });
    ways
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recorded_answer_is_billed_as_it_says_and_passed_on_as_it_is() {
    let (splits, seed) = (knob("SPLITS", 1, 10), seed());
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let provider = Provider::with(Options {
        recorded: Some(folder.clone()),
        keep: 0,
        ..Options::default()
    });
    let start = |metadata: bool| {
        Gateway::over(&provider)
            .policy(&format!(
                "guard: {{secrets: enforce, pii: enforce, leak: observe, canary: observe}}\n\
                 cost_routing:\n  spend_log: ./spend.jsonl\n  metadata: {metadata}\n  openrouter:\n    \
                 base_url: \"{}\"\n  agents:\n    default:\n      budget_total: 1000\n",
                provider.base_url()
            ))
            .settings("log:\n  level: warn")
            .start()
    };
    let (bare, full) = (start(false).await, start(true).await);
    let catalog = Catalog::bundled();
    let mut chance = chance(seed, 0);
    let recordings = recordings(&folder);
    let mut sent = BTreeMap::new();
    let mut count = 0_u64;
    for (index, recording) in recordings.iter().enumerate() {
        for way in ways(recording, splits, splits > 1, &mut chance) {
            let mut prompt = format!("[[replay={}", recording.name);
            if let Some(split) = way.split {
                prompt += &format!(" split={split}");
            }
            prompt += if way.crlf { " crlf=1]]" } else { "]]" };
            let gateway = if way.metadata { &full } else { &bare };
            let call = gateway.chat(&prompt).field("model", ASKED);
            let call = if recording.events {
                call.stream()
                    .field("stream_options", serde_json::json!({"include_usage": true}))
            } else {
                call
            };
            let reply = call.send().await;
            recording.unchanged(&reply, way);
            let id = reply
                .header("x-weir-request-id")
                .expect("every answer has one");
            sent.insert(id.to_owned(), (index, way));
            count += 1;
        }
    }
    let mut bills = 0_u64;
    for gateway in [bare, full] {
        gateway.quiet().await;
        for record in gateway.log() {
            let id = record["id"].as_str().and_then(|id| id.rsplit_once('-'));
            let Some((index, way)) = id.and_then(|(id, _)| sent.get(id)) else {
                continue;
            };
            let recording = &recordings[*index];
            if record["event"] == "void" {
                assert!(recording.free(), "{}: {record}", recording.name);
                bills += 1;
            } else if record.get("event").is_none() {
                recording.billed(&record, &catalog, *way);
                bills += 1;
            }
        }
        aftermath(gateway, &[("agent:default", 1_000_000_000_000)]).await;
    }
    println!(
        "replay (seed {seed}): {} recorded answers, {count} times in all, {bills} bills as expected",
        recordings.len()
    );
    assert_eq!(bills, count, "bills and answers");
}
