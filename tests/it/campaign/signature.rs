//! Answers of a live gateway, altered in every way that comes to mind: none of them verifies, and every
//! one that was left alone does. Being signed changes no bill.

use super::{aftermath, chance, knob, seed};
use crate::support::gateway::Setup;
use crate::support::{Gateway, Provider, client};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weir::mock::Options;
use weir::signature::v1::{self, Asked, Form, Received};
use weir::signature::{Key, titan};

const SECRET: &str = "sign-0123456789abcdef0123456789abcdef";

/// The model that is asked for; recordings answer as the models they were made with.
const ASKED: &str = "openai/gpt-4o-mini";

/// An answer with everything that is known of it.
#[derive(Clone)]
struct Answer {
    asked: Asked,
    status: u16,
    header: Option<String>,
    form: Form,
    body: Vec<u8>,
}

impl Answer {
    fn verifies(&self, keys: &[Arc<Key>]) -> bool {
        let received = Received {
            asked: &self.asked,
            status: self.status,
            header: self.header.as_deref(),
            form: self.form,
            body: &self.body,
        };
        v1::verify(keys, &received).is_ok()
    }

    /// Where the signature is written.
    fn signature(&self) -> &[u8] {
        match (self.form, &self.header) {
            (Form::Whole, Some(header)) => header.as_bytes(),
            _ => &self.body,
        }
    }

    /// The events of a stream, each with its empty line.
    fn events(&self) -> Vec<&[u8]> {
        let mut rest = self.body.as_slice();
        let mut events = Vec::new();
        while let Some(at) = memchr::memmem::find(rest, b"\n\n") {
            let (event, behind) = rest.split_at(at + 2);
            events.push(event);
            rest = behind;
        }
        events.push(rest);
        events
    }
}

/// Something that is done to answer `one`, which leaves it another one; `other` is any answer.
fn altered(
    one: &Answer,
    other: &Answer,
    chance: &mut fastrand::Rng,
) -> Option<(&'static str, Answer)> {
    let mut bad = one.clone();
    let length = one.body.len();
    let what = match chance.u8(..18) {
        0 => {
            let at = chance.usize(..length);
            bad.body[at] ^= 1 << chance.u8(..8);
            "a bit flipped"
        }
        1 => {
            bad.body.remove(chance.usize(..length));
            "a byte left out"
        }
        2 => {
            bad.body.insert(chance.usize(..=length), chance.u8(..));
            "a byte put in"
        }
        3 => {
            bad.body.truncate(chance.usize(..length));
            "cut off"
        }
        4 => {
            bad.body.extend_from_slice(b"data: {\"choices\":[]}\n\n");
            "added to"
        }
        5 | 6 => {
            let mut events = one.events();
            let (from, to) = (chance.usize(..events.len()), chance.usize(..events.len()));
            events.swap(from, to);
            bad.body = events.concat();
            "events in another order"
        }
        7 | 8 => {
            let mut events = one.events();
            events.remove(chance.usize(..events.len()));
            bad.body = events.concat();
            "an event left out"
        }
        9 => {
            let mut events = one.events();
            let at = chance.usize(..events.len());
            events.insert(at, events[at]);
            bad.body = events.concat();
            "an event repeated"
        }
        10 => {
            bad.asked = other.asked.clone();
            "replayed to another request"
        }
        11 => {
            bad.asked.nonce = Some(format!("n-{}", chance.u64(..)));
            "replayed to another nonce"
        }
        12 => {
            bad.body.clone_from(&other.body);
            "another body"
        }
        13 => {
            bad.header.clone_from(&other.header);
            bad.form = other.form;
            "another signature or form"
        }
        14 => {
            bad.status = *chance.choice(&[200, 201, 400, 402, 429, 500])?;
            "another status"
        }
        15 => {
            let word =
                *chance.choice(&[" t=", " key=", " nonce=", " request=", " body=", " mac="])?;
            let at = memchr::memmem::rfind(one.signature(), word.as_bytes())? + word.len();
            let changed = |byte: u8| if byte == b'7' { b'8' } else { b'7' };
            match (one.form, &one.header) {
                (Form::Whole, Some(header)) => {
                    let mut header = header.clone().into_bytes();
                    header[at] = changed(header[at]);
                    bad.header = String::from_utf8(header).ok();
                }
                _ => bad.body[at] = changed(bad.body[at]),
            }
            "a word of the signature"
        }
        16 => {
            bad.asked.path.push('/');
            "another path"
        }
        _ => {
            bad.asked.body = Some(v1::digest(&chance.u64(..).to_le_bytes()));
            "another question"
        }
    };
    let same = bad.body == one.body
        && bad.status == one.status
        && bad.form == one.form
        && (bad.header == one.header || one.form == Form::Stream)
        && (
            &bad.asked.nonce,
            &bad.asked.path,
            &bad.asked.body,
            &bad.asked.request_id,
        ) == (
            &one.asked.nonce,
            &one.asked.path,
            &one.asked.body,
            &one.asked.request_id,
        );
    (!same).then_some((what, bad))
}

/// Asks with a nonce, and keeps everything.
async fn ask(
    http: &reqwest::Client,
    gateway: &Gateway,
    path: &str,
    body: &Value,
    nonce: &str,
) -> Answer {
    let sent = body.to_string();
    let request = http
        .post(gateway.url(path))
        .header("content-type", "application/json");
    let request = request.header(v1::NONCE, nonce).body(sent.clone());
    let reply = crate::support::Reply::read(request.send().await.expect("an answer")).await;
    let stream = reply
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("text/event-stream"));
    Answer {
        asked: Asked {
            method: "POST".into(),
            path: path.into(),
            request_id: reply.header("x-weir-request-id").expect("an id").to_owned(),
            nonce: Some(nonce.to_owned()),
            body: Some(v1::digest(sent.as_bytes())),
        },
        status: reply.status,
        header: reply.header(v1::HEADER).map(str::to_owned),
        form: if stream { Form::Stream } else { Form::Whole },
        body: reply.body.to_vec(),
    }
}

/// What each request was charged, by its id.
async fn charged(gateway: &Gateway) -> BTreeMap<String, i64> {
    gateway.quiet().await;
    let rows = gateway
        .log()
        .into_iter()
        .filter(|row| row.get("event").is_none());
    let id = |row: &Value| Some(row["id"].as_str()?.rsplit_once('-')?.0.to_owned());
    rows.filter_map(|row| Some((id(&row)?, row["nano_usd"].as_i64()?)))
        .collect()
}

/// The recorded answers in the client's own dialect.
fn recordings(folder: &Path) -> Vec<(String, &'static str)> {
    let expected = std::fs::read(folder.join("expected.json")).expect("readable");
    let expected: BTreeMap<String, Value> = serde_json::from_slice(&expected).expect("JSON");
    let path = |found: &Value| match found["dialect"].as_str()? {
        "chat" => Some("/v1/chat/completions"),
        "responses" => Some("/v1/responses"),
        _ => None,
    };
    let kept = expected
        .iter()
        .filter(|(name, _)| !name.ends_with(".err.json"));
    kept.filter_map(|(name, found)| Some((name.clone(), path(found)?)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_altered_answer_verifies_and_every_other_one_does() {
    let (count, seed) = (knob("ALTERED", 5_000, 100_000), seed());
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let provider = Provider::with(Options {
        recorded: Some(folder.clone()),
        keep: 0,
        ..Options::default()
    });
    let setup = |signatures: &str| -> Setup {
        Gateway::over(&provider)
            .env("HMAC_SECRET", SECRET)
            .settings("log:\n  level: warn")
            .policy(&format!(
                "cost_routing:\n  spend_log: ./spend.jsonl\n  signatures: {{{signatures}}}\n  openrouter:\n    base_url: \
                 \"{}\"\n  agents:\n    default:\n      budget_total: 1000\n",
                provider.base_url()
            ))
    };
    let signed = setup("titan: all, v1: all").start().await;
    let plain = setup("titan: off, v1: off").start().await;
    let key = [Arc::new(Key::new("default", SECRET.as_bytes()).unwrap())];
    let http = client::http();
    let mut chance = chance(seed, 0);
    let (mut answers, mut pairs, mut chunks) = (Vec::new(), Vec::new(), 0);
    for (name, path) in recordings(&folder) {
        for more in ["", " crlf=1", &format!(" split={}", chance.usize(1..400))] {
            let stream = name.ends_with(".sse");
            let prompt = format!(
                "[[replay={name}{}]]",
                if stream {
                    more
                } else {
                    more.trim_start_matches(" crlf=1")
                }
            );
            let mut body = json!({"model": ASKED, "stream": stream});
            body[if path == "/v1/responses" {
                "input"
            } else {
                "messages"
            }] = if path == "/v1/responses" {
                json!(prompt)
            } else {
                json!([{"role": "user", "content": prompt}])
            };
            let nonce = format!("n-{}", chance.u64(..));
            let answer = ask(&http, &signed, path, &body, &nonce).await;
            assert!(
                answer.verifies(&key),
                "{name}{more}: {}",
                String::from_utf8_lossy(&answer.body)
            );
            let events = answer.form == Form::Stream;
            if path == "/v1/chat/completions"
                && answer.status == 200
                && titan::is_signed(events, &answer.body)
            {
                let checked = titan::verify(&key, events, &answer.body);
                chunks += checked
                    .unwrap_or_else(|flaw| panic!("{name}{more}: {flaw}"))
                    .signatures;
            }
            let other = ask(&http, &plain, path, &body, &nonce).await;
            assert!(other.header.is_none());
            pairs.push((answer.asked.request_id.clone(), other.asked.request_id));
            answers.push(answer);
        }
    }
    let (bills, others) = (charged(&signed).await, charged(&plain).await);
    for (one, other) in &pairs {
        assert_eq!(
            bills.get(one),
            others.get(other),
            "being signed changed a bill"
        );
    }
    let (mut tried, mut ways) = (0, BTreeMap::<&str, u64>::new());
    while tried < count {
        let (one, other) = (
            chance.choice(&answers).unwrap(),
            chance.choice(&answers).unwrap(),
        );
        let Some((what, bad)) = altered(one, other, &mut chance) else {
            continue;
        };
        assert!(!bad.verifies(&key), "{what}: {:?}", bad.asked);
        *ways.entry(what).or_default() += 1;
        tried += 1;
    }
    println!(
        "signatures (seed {seed}): {} answers and {chunks} chunks of a live gateway verify, bills as without signatures; \
         {tried} altered ones, 0 verify: {ways:?}",
        answers.len()
    );
    assert!(chunks > 100);
    aftermath(signed, &[("agent:default", 1_000_000_000_000)]).await;
    aftermath(plain, &[("agent:default", 1_000_000_000_000)]).await;
}
