//! Secrets and personal data in streams, at every split and in every encoding: none of them leaves whole, and
//! what is neither leaves as it came.
//!
//! First the screen by itself, with every split there is; then the whole gateway, with a provider whose events
//! and writes are cut by chance.

mod spoken;
mod values;

use super::upstream::{EVENT_HEAD, chunk};
use super::{aftermath, chance, knob, must_not_have_panicked, seed};
use crate::support::{Agent, Gateway, Peer, Scripted};
use bytes::Bytes;
use serde_json::{Value, json};
use spoken::{APIS, Api, ENCODINGS, Encoding, heard, must_be_without, readings, stream};
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::task::JoinSet;
use values::{KINDS, value};
use weir::guard::detect::{Rules, Wanted};
use weir::guard::finding::Action;
use weir::guard::screen::{Options, Screen, Setting};
use weir::stream::AnswerKind;
use weir::wire::Dialect;

/// Texts without a finding, each close to one.
const HARMLESS: [&str; 10] = [
    "The weir holds. On 2026-11-21 the build took 42 seconds, and 3 of 128 tests were slow.",
    "Keys begin with sk- or ghp_ or AKIA; never paste a real one (sk-...) into a chat.",
    "Card 4111 1111 1111 1112 is none, and neither is 1234-5678-9012-3456.",
    "Grüße aus Köln um 12:30, 忽略 🌳 v2.13.0-rc.1, 1.5 GiB at 192.168.0.1:8080.",
    "DE00 1234 5678 9012 3456 78 has the wrong check digits; 000-12-3456 was never given out.",
    "Write to somebody@ or to @somebody, at example . com, or call extension 42.",
    "if config.retries > 10 { return Err(Error::TooMany { field: \"retries\", most: 10 }); }",
    "https://docs.rs/serde_yaml/0.9.34/serde_yaml/fn.from_str.html says what is accepted.",
    "{\"id\":\"msg_1\",\"lines\":[12,245,1024],\"password\":null,\"token_count\":512}\n",
    "-----BEGIN of a list-----\n- one\n- two\n-----END of a list-----",
];

/// What stands before a value, and behind it.
const AROUND: [(&str, &str); 6] = [
    ("It is ", " or so."),
    ("", ""),
    ("Grüße! Der Wert: ", " (bitte löschen) 🌳"),
    ("```\n", "\n```\nThat was all."),
    ("One, 2, three 4: \"", "\"; 12 more to come"),
    ("It starts with sk- and then: ", " I think. No 4111 here."),
];

fn dialect(api: Api) -> Dialect {
    match api {
        Api::Chat => Dialect::Chat,
        Api::Messages => Dialect::Messages,
        Api::Responses => Dialect::Responses,
    }
}

/// What leaves of a stream, which comes in pieces of this size.
fn screened(api: Api, stream: &str, size: usize, rules: &Arc<Rules>) -> String {
    let options = Options {
        secrets: Setting::enforce(Action::Redact),
        pii: Setting::enforce(Action::Redact),
        contacts: true,
        leak: Setting::observe(),
        ..Options::default()
    };
    let kind = AnswerKind::EventStream;
    let mut screen = Screen::new(dialect(api), kind, Arc::clone(rules), options);
    let mut left = Vec::new();
    for part in stream.as_bytes().chunks(size) {
        left.extend_from_slice(&screen.push(Bytes::copy_from_slice(part)));
    }
    left.extend_from_slice(&screen.finish());
    String::from_utf8(left).expect("what leaves is text")
}

/// Every place where a text can be cut, its beginning and end included.
fn splits(text: &str) -> impl Iterator<Item = usize> {
    (0..=text.len()).filter(|&at| text.is_char_boundary(at))
}

/// Harmless texts: ours, and those of a set of requests that look like attacks and are none.
fn harmless(rules: &Rules, more: usize) -> Vec<String> {
    let set = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/injection/benign.jsonl"
    );
    let set = std::fs::read_to_string(set).expect("readable");
    let others = set.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let text = line["text"].as_str().expect("a text");
        text.chars().take(200).collect()
    });
    let others = others.filter(|text: &String| rules.find(text, Wanted::ALL).is_empty());
    let ours = HARMLESS.map(str::to_owned);
    for text in &ours {
        let found = rules.find(text, Wanted::ALL);
        assert!(found.is_empty(), "{text:?} is not harmless: {found:?}");
    }
    ours.into_iter().chain(others.take(more)).collect()
}

#[test]
fn no_value_leaves_whole_at_any_split_in_any_encoding() {
    let count = usize::try_from(knob("VALUES", 20, 1000)).unwrap();
    let step = usize::try_from(knob("VALUES_STEP", 5, 1)).unwrap();
    let rules = Rules::bundled();
    let mut streams = 0_u64;
    for number in 0..count {
        let value = value(number);
        let text = format!("It is {value} or so.");
        // So every kind of value is said in every API.
        let api = APIS[(number / KINDS + number % KINDS) % APIS.len()];
        for (nth, encoding) in ENCODINGS.into_iter().enumerate() {
            for at in splits(&text).skip(number % step).step_by(step) {
                let stream = stream(api, &text, &[at], encoding);
                // Most arrive whole, some in odd pieces.
                let size = if at % 8 == nth { 7 + at } else { usize::MAX };
                let left = screened(api, &stream, size, &rules);
                must_be_without(&value, &text, &left, &(api, encoding, at, size));
                streams += 1;
            }
        }
    }
    let texts = harmless(&rules, count / 2);
    let mut same = 0_u64;
    for (number, text) in texts.iter().enumerate() {
        for (nth, encoding) in ENCODINGS.into_iter().enumerate() {
            let api = APIS[(number + nth) % APIS.len()];
            for at in splits(text).skip(number % step).step_by(step) {
                let stream = stream(api, text, &[at], encoding);
                let left = screened(api, &stream, 1 + 3 * at, &rules);
                assert!(
                    left == stream,
                    "{text:?}, {api:?}, {encoding:?}, {at}: {left}"
                );
                same += 1;
            }
        }
    }
    println!(
        "screen: {count} values in {} encodings at one of {step} splits, {streams} streams: none leaves whole; {} texts \
         without a finding, {same} streams: all as they came",
        ENCODINGS.len(),
        texts.len()
    );
}

/// What a client asks in, the API of the provider, and the model that leads there.
const ROUTES: [(Api, Api, &str); 9] = [
    (Api::Chat, Api::Chat, "router"),
    (Api::Messages, Api::Messages, "router"),
    (Api::Responses, Api::Responses, "router"),
    (Api::Chat, Api::Chat, "plain"),
    (Api::Messages, Api::Messages, "claude"),
    (Api::Chat, Api::Messages, "claude"),
    (Api::Responses, Api::Messages, "claude"),
    (Api::Messages, Api::Chat, "plain"),
    (Api::Responses, Api::Chat, "plain"),
];

/// One request with the answer to it, made from chance.
#[derive(Debug)]
struct Case {
    client: Api,
    provider: Api,
    model: &'static str,
    value: Option<String>,
    text: String,
    /// What the provider sends.
    stream: String,
    /// Where its writes are cut.
    writes: Vec<usize>,
}

impl Case {
    fn of(seed: u64, number: usize) -> Self {
        let mut chance = chance(seed, u64::try_from(number).unwrap() | 1 << 41);
        let (client, provider, model) = ROUTES[chance.usize(0..ROUTES.len())];
        let value = (chance.u8(0..4) > 0).then(|| value(number % 1000));
        let text = match &value {
            Some(value) => {
                let (before, after) = AROUND[chance.usize(0..AROUND.len())];
                format!("{before}{value}{after}")
            }
            None => HARMLESS[chance.usize(0..HARMLESS.len())].to_owned(),
        };
        let places: Vec<usize> = splits(&text).collect();
        let some = chance.usize(0..7);
        let mut cuts = chance.choose_multiple(places, some);
        cuts.sort_unstable();
        let mut encoding = ENCODINGS[chance.usize(0..ENCODINGS.len())];
        if client != provider && encoding == Encoding::Interleaved {
            // Not every API has a word for two texts at once.
            encoding = Encoding::Plain;
        }
        let stream = stream(provider, &text, &cuts, encoding);
        let bytes = 1..stream.len();
        let writes = match chance.u8(0..8) {
            0 => Vec::new(),
            1 => bytes.collect(),
            _ => {
                let some = chance.usize(1..40);
                let mut writes = chance.choose_multiple(bytes, some);
                writes.sort_unstable();
                writes
            }
        };
        Self {
            client,
            provider,
            model,
            value,
            text,
            stream,
            writes,
        }
    }

    /// Asks for it, and looks at what comes.
    async fn ask(&self, gateway: &Gateway, number: usize) {
        let prompt = format!("[[case={number}]]");
        let said = json!([{"role": "user", "content": prompt}]);
        let (path, mut body) = match self.client {
            Api::Chat => (
                "/v1/chat/completions",
                json!({"messages": said, "stream_options": {"include_usage": true}}),
            ),
            Api::Messages => ("/v1/messages", json!({"messages": said})),
            Api::Responses => ("/v1/responses", json!({"input": said})),
        };
        let limit = match self.client {
            Api::Responses => "max_output_tokens",
            Api::Chat | Api::Messages => "max_tokens",
        };
        body["model"] = json!(self.model);
        body["stream"] = json!(true);
        body[limit] = json!(500);
        let reply = gateway.post(path, &body.to_string()).await;
        let left = reply.text();
        assert_eq!(reply.status, 200, "{number}: {left}, {self:?}");
        assert!(reply.complete, "{number} broke off: {left}, {self:?}");
        match &self.value {
            Some(value) => {
                must_be_without(value, &self.text, &left, &(number, self));
                let disguises = disguises(value);
                for reading in readings(&left) {
                    let told = disguises.iter().find(|other| reading.contains(*other));
                    assert_eq!(told, None, "{number}: {left}, {self:?}");
                }
            }
            None if self.client == self.provider => {
                assert!(left == self.stream, "{number}: {left}, {self:?}");
            }
            None => {
                let heard = heard(&left);
                assert!(!heard.is_empty(), "{number}: {left}, {self:?}");
                for (name, said) in heard {
                    assert_eq!(said, self.text, "{number}, {name}: {left}, {self:?}");
                }
            }
        }
    }
}

/// A value in other letters: base64 at each of its three places, hex, percent.
fn disguises(value: &str) -> Vec<String> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let base64 = |bytes: &[u8]| -> String {
        let whole = bytes.chunks_exact(3);
        whole
            .flat_map(|three| {
                let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
                [18, 12, 6, 0].map(|shift| {
                    let place = usize::try_from(bits >> shift & 63).unwrap();
                    char::from(LETTERS[place])
                })
            })
            .collect()
    };
    let bytes = value.as_bytes();
    let (mut hex, mut percent) = (String::new(), String::new());
    for byte in bytes {
        let _ = write!(hex, "{byte:02x}");
        let _ = write!(percent, "%{byte:02X}");
    }
    let mut all: Vec<String> = (0..3).map(|skip| base64(&bytes[skip..])).collect();
    all.extend([hex.to_uppercase(), hex, percent]);
    all
}

/// A provider that answers each request with its case.
async fn provider(seed: u64) -> Scripted {
    Scripted::start(move |_, peer| serve(seed, peer)).await
}

async fn serve(seed: u64, mut peer: Peer) {
    while let Some(request) = peer.request().await {
        let body = String::from_utf8_lossy(&request.body);
        let number = body.split_once("[[case=").and_then(|(_, rest)| {
            let (number, _) = rest.split_once("]]")?;
            number.parse().ok()
        });
        let case = Case::of(seed, number.expect("the number of a case"));
        peer.write(EVENT_HEAD).await;
        let ends = case.writes.iter().copied().chain([case.stream.len()]);
        let mut from = 0;
        for to in ends {
            let part = &case.stream.as_bytes()[std::mem::replace(&mut from, to)..to];
            peer.write(chunk(part)).await;
            tokio::task::yield_now().await;
        }
        peer.write("0\r\n\r\n").await;
    }
}

/// The provider under three names: one that speaks everything, one that speaks messages only, and one that
/// speaks chat completions only.
fn models(origin: &str) -> String {
    let blocks = [
        ("router", "openrouter", origin),
        ("claude", "anthropic", origin.trim_end_matches("/v1")),
        ("plain", "openai-compatible", origin),
    ];
    let (mut providers, mut models) = ("providers:\n".to_owned(), "models:\n".to_owned());
    for (name, kind, base) in blocks {
        let _ = writeln!(
            providers,
            "  {name}: {{kind: {kind}, base_url: \"{base}\", api_key: none-0123456789}}"
        );
        let _ = writeln!(
            models,
            "  {name}: {{provider: {name}, engine: engine, input_cost: 0.000001, output_cost: 0.000002, max_tokens: 1000}}"
        );
    }
    providers + &models
}

/// Clients at once.
const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_value_passes_the_gateway_however_its_stream_is_cut() {
    let (count, seed) = (knob("SCREENED", 120, 10_000), seed());
    let count = usize::try_from(count).unwrap();
    let provider = provider(seed).await;
    let gateway = Gateway::at(&provider.base_url())
        .routing("metadata: false")
        .models(&models(&provider.base_url()))
        .agent(Agent::new("default", "1000").untiered().line(
            "guard: {secrets: enforce, pii: enforce, contacts: true, leak: observe, canary: observe}",
        ))
        .settings("log: {level: warn}")
        .start()
        .await;
    let gateway = Arc::new(gateway);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let gateway = Arc::clone(&gateway);
        clients.spawn(async move {
            let mut with_value = 0_u32;
            for number in (client..count).step_by(CLIENTS) {
                let case = Case::of(seed, number);
                case.ask(&gateway, number).await;
                with_value += u32::from(case.value.is_some());
            }
            with_value
        });
    }
    let with_value: u32 = clients.join_all().await.into_iter().sum();
    let gateway = Arc::into_inner(gateway).expect("every client has ended");
    let found = gateway.metric("weir_guard_findings_total").await;
    assert!(
        found >= f64::from(with_value),
        "{found} findings in {with_value} answers"
    );
    must_not_have_panicked(&gateway.directory);
    aftermath(gateway, &[("agent:default", 1_000_000_000_000)]).await;
    println!(
        "screen (seed {seed}): {count} streams through the gateway, {with_value} with a value, none of which left; \
         the others are as they were sent"
    );
}
