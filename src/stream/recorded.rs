//! Every recorded answer, in one piece and in many, against what an independent reader found.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use serde::Deserialize;

mod costs;

use super::{AnswerKind, Meter, MeterOptions, Place, Reading};
use crate::money::Nanos;
use crate::usage::Usage;
use crate::wire::Dialect;

const EVENT: &[u8] = b"data: {\"choices\":[],\"_execwall\":{\"cost\":1}}\n\n";
const MEMBER: &[u8] = b"\"_execwall\":{\"cost\":1}";

#[derive(Deserialize)]
struct Expected {
    dialect: String,
    id: Option<String>,
    model: Option<String>,
    done: bool,
    error: Option<String>,
    text_bytes: u64,
    usage: Option<Usage>,
    total: Option<u64>,
    cost: Option<i64>,
    upstream_cost: Option<i64>,
    #[serde(default)]
    byok: bool,
    /// What its model is called in the price table, and what its usage costs by that.
    entry: Option<String>,
    due: Option<i64>,
}

struct Recorded {
    name: String,
    kind: AnswerKind,
    dialect: Dialect,
    body: Vec<u8>,
    expected: Expected,
}

fn recorded() -> Vec<Recorded> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let expected = std::fs::read(folder.join("expected.json")).unwrap();
    let expected: BTreeMap<String, Expected> = serde_json::from_slice(&expected).unwrap();
    assert_eq!(expected.len(), 186);
    let read = |(name, expected): (String, Expected)| {
        let kind = if name.ends_with(".sse") {
            AnswerKind::EventStream
        } else {
            AnswerKind::Json
        };
        let body = std::fs::read(folder.join(&name)).unwrap();
        let mut dialects = Dialect::ALL.into_iter();
        let dialect = dialects.find(|dialect| dialect.name() == expected.dialect);
        Recorded {
            name,
            kind,
            dialect: dialect.unwrap(),
            body,
            expected,
        }
    };
    expected.into_iter().map(read).collect()
}

impl Recorded {
    fn lf(&self) -> Vec<u8> {
        let text = std::str::from_utf8(&self.body).unwrap();
        text.replace("\r\n", "\n").into_bytes()
    }

    fn crlf(&self) -> Vec<u8> {
        let text = String::from_utf8(self.lf()).unwrap();
        text.replace('\n', "\r\n").into_bytes()
    }

    /// Whether something may be put in, or taken out.
    fn changes(&self) -> bool {
        !matches!(self.dialect, Dialect::Messages | Dialect::Gemini)
    }

    fn options(&self, strip_usage_chunk: bool, insert_before_done: bool) -> MeterOptions {
        MeterOptions {
            dialect: self.dialect,
            strip_usage_chunk,
            insert_before_done,
            count: size,
            keep: 0,
        }
    }

    fn last(&self) -> &'static [u8] {
        if self.kind == AnswerKind::EventStream {
            EVENT
        } else {
            MEMBER
        }
    }

    fn check(&self, reading: &Reading, how: &str) {
        let Self { name, expected, .. } = self;
        let money = |nanos: Option<i64>| nanos.map(Nanos);
        assert_eq!(reading.usage, expected.usage, "{name} {how}");
        assert_eq!(reading.total_tokens, expected.total, "{name} {how}");
        assert_eq!(reading.cost, money(expected.cost), "{name} {how}");
        assert_eq!(
            reading.upstream_cost,
            money(expected.upstream_cost),
            "{name} {how}"
        );
        assert_eq!(reading.is_byok, expected.byok, "{name} {how}");
        assert_eq!(
            (&reading.id, &reading.model),
            (&expected.id, &expected.model),
            "{name} {how}"
        );
        assert_eq!(reading.done, expected.done, "{name} {how}");
        assert_eq!(reading.own_output, expected.text_bytes, "{name} {how}");
        assert_eq!(reading.saw_content, expected.text_bytes > 0, "{name} {how}");
        assert!(!reading.output_open, "{name} {how}");
        let error = expected
            .error
            .as_ref()
            .map(|text| text.chars().take(40).collect::<String>());
        let found = reading
            .error
            .as_ref()
            .map(|text| text.chars().take(40).collect::<String>());
        assert_eq!(found, error, "{name} {how}");
        assert!(!reading.usage_invalid, "{name} {how}");
    }
}

/// Our count of text in these tests: its bytes, which do not depend on where it is cut.
fn size(text: &str) -> u64 {
    text.len() as u64
}

/// Runs a body through a meter, cut at `cuts`, as a proxy would.
fn run(
    kind: AnswerKind,
    body: &[u8],
    cuts: &[usize],
    options: MeterOptions,
    last: Option<&[u8]>,
) -> (Reading, Vec<u8>) {
    let mut meter = Meter::new(kind, options);
    let mut out = Vec::new();
    let ends = cuts.iter().copied().chain([body.len()]);
    let mut from = 0;
    for to in ends {
        out.extend(meter.push(Bytes::copy_from_slice(&body[from..to])));
        if meter.at_done() {
            out.extend(meter.finish().with(last));
        }
        from = to;
    }
    out.extend(meter.finish().with(last));
    (meter.reading().clone(), out)
}

/// Fifty ways to cut a body of `length` bytes, always the same ones.
fn splits(length: usize) -> impl Iterator<Item = Vec<usize>> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..50).map(move |_| {
        let mut cuts: Vec<_> = (0..random.usize(1..40))
            .map(|_| random.usize(0..=length))
            .collect();
        cuts.sort_unstable();
        cuts
    })
}

fn every_byte(length: usize) -> Vec<usize> {
    (0..length).collect()
}

#[test]
fn every_recorded_answer_is_read_alike_however_it_is_cut() {
    for recorded in recorded() {
        for (ends, body) in [("LF", recorded.lf()), ("CRLF", recorded.crlf())] {
            for cuts in splits(body.len()).chain([Vec::new(), every_byte(body.len())]) {
                let (reading, out) = run(
                    recorded.kind,
                    &body,
                    &cuts,
                    recorded.options(false, false),
                    None,
                );
                recorded.check(&reading, ends);
                assert_eq!(reading.bytes, body.len() as u64);
                assert!(out == body, "{} {ends} changed on its way", recorded.name);
            }
        }
    }
}

#[test]
fn changes_to_every_recorded_answer_do_not_depend_on_its_cuts() {
    for recorded in recorded() {
        let last = Some(recorded.last());
        for body in [recorded.lf(), recorded.crlf()] {
            let (reading, whole) = run(
                recorded.kind,
                &body,
                &[],
                recorded.options(true, true),
                last,
            );
            recorded.check(&reading, "changed");
            assert!(
                recorded.changes() || whole == body,
                "{} changed",
                recorded.name
            );
            for cuts in splits(body.len()).chain([every_byte(body.len())]) {
                let (again, out) = run(
                    recorded.kind,
                    &body,
                    &cuts,
                    recorded.options(true, true),
                    last,
                );
                assert_eq!(reading.usage, again.usage);
                assert!(out == whole, "{} differs with its cuts", recorded.name);
            }
        }
    }
}

#[test]
fn a_changed_stream_is_still_one_and_has_lost_its_usage_chunk_only() {
    let mut stripped = 0;
    for recorded in recorded() {
        if recorded.kind != AnswerKind::EventStream || !recorded.changes() {
            continue;
        }
        let last = Some(EVENT);
        let (_, out) = run(
            recorded.kind,
            &recorded.body,
            &[],
            recorded.options(true, true),
            last,
        );
        let lines = |bytes: &[u8]| -> Vec<String> {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            text.lines()
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let (before, mut after) = (lines(&recorded.body), lines(&out));
        for data in after.iter().filter_map(|line| line.strip_prefix("data: ")) {
            assert!(
                data == "[DONE]" || serde_json::from_str::<serde_json::Value>(data).is_ok(),
                "{data}"
            );
        }
        let inserted = after
            .iter()
            .position(|line| line.contains("_execwall"))
            .unwrap();
        let behind: Vec<_> = after.drain(inserted..).skip(1).collect();
        assert!(
            behind.is_empty() || behind == ["data: [DONE]"],
            "{}",
            recorded.name
        );
        after.extend(behind);
        let lost: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
        assert_eq!(before.len() - after.len(), lost.len(), "{}", recorded.name);
        assert!(
            lost.len() <= 1
                && lost
                    .iter()
                    .all(|line| line.contains("\"choices\":[],\"usage\":{"))
        );
        stripped += lost.len();
    }
    assert!(stripped >= 5, "{stripped}");
}

#[test]
fn a_changed_json_answer_has_one_member_more() {
    for recorded in recorded() {
        if recorded.kind != AnswerKind::Json || !recorded.changes() {
            continue;
        }
        let (_, out) = run(
            recorded.kind,
            &recorded.body,
            &[],
            recorded.options(true, true),
            Some(MEMBER),
        );
        let mut after: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(after.as_object_mut().unwrap().remove("_execwall").is_some());
        let before: serde_json::Value = serde_json::from_slice(&recorded.body).unwrap();
        assert_eq!(before, after, "{}", recorded.name);
    }
}

#[test]
fn without_anything_to_put_in_a_held_end_comes_out_as_it_was() {
    for recorded in recorded() {
        let (_, out) = run(
            recorded.kind,
            &recorded.body,
            &every_byte(recorded.body.len()),
            recorded.options(false, true),
            None,
        );
        assert!(out == recorded.body, "{}", recorded.name);
        let mut meter = Meter::new(recorded.kind, recorded.options(false, true));
        let passed = meter.push(Bytes::from(recorded.body.clone()));
        assert!(
            meter.at_done()
                || !recorded.changes()
                || recorded.kind == AnswerKind::Json
                || !recorded.expected.done
                || !recorded.body.ends_with(b"[DONE]\n\n")
        );
        let finish = meter.finish();
        let place = match recorded.kind {
            _ if !recorded.changes() => Place::Nowhere,
            AnswerKind::Json => Place::Member,
            AnswerKind::EventStream => Place::Event,
        };
        assert_eq!(finish.place, place, "{}", recorded.name);
        assert_eq!(
            passed.len() + finish.before.len() + finish.after.len(),
            recorded.body.len()
        );
    }
}
