//! What the tests of this dialect share.

mod questions;
mod recorded;
mod replies;
mod requests;
mod streams;

use serde_json::Value;

use super::{Events, Stream};
use crate::dialect::form::{Answering, Event, EventReader, EventWriter, Part, Stop, Text};
use crate::stream::sse::{Ended, Reader};
use crate::usage::Usage;

fn answering() -> Answering {
    Answering {
        id: "req_1".to_owned(),
        model: "asked".to_owned(),
        created: 1_700_000_000,
        include_usage: false,
    }
}

fn text(text: &str) -> Part<'_> {
    Part::Text {
        text: Text::Borrowed(text),
        cache: None,
    }
}

fn call<'a>(id: &'a str, name: &'a str, arguments: &'a str) -> Part<'a> {
    Part::ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
        signature: None,
    }
}

fn thought<'a>(text: &'a str, signature: Option<&'a str>) -> Part<'a> {
    Part::Reasoning {
        text: text.into(),
        signature: signature.map(Text::Borrowed),
        redacted: false,
    }
}

/// What an answer says, in words that two readers can be compared by.
#[derive(Clone, Debug, Default, PartialEq)]
struct Heard {
    id: String,
    model: String,
    text: String,
    refusal: String,
    thoughts: String,
    signatures: Vec<String>,
    /// Id, name and arguments.
    calls: Vec<(String, String, String)>,
    stop: Option<Stop<'static>>,
    usage: Option<Usage>,
    failed: Option<String>,
    ended: bool,
}

impl Heard {
    fn hear(&mut self, event: &Event<'_>) {
        assert!(!self.ended, "{event:?} after the end");
        match event {
            Event::Start { id, model, .. } => {
                assert_eq!(*self, Self::default(), "a start that is none");
                self.id = id.as_deref().unwrap_or_default().to_owned();
                self.model = model.as_deref().unwrap_or_default().to_owned();
            }
            Event::Text(text) => self.text += text,
            Event::Refusal(text) => self.refusal += text,
            Event::Reasoning {
                text, signature, ..
            } => {
                self.thoughts += text;
                self.signatures
                    .extend(signature.iter().map(|one| one.clone().into_owned()));
            }
            Event::Call { call, id, name, .. } => {
                assert_eq!(usize::try_from(*call).unwrap(), self.calls.len());
                self.calls
                    .push((id.to_string(), name.to_string(), String::new()));
            }
            Event::Arguments { call, text } => {
                self.calls[usize::try_from(*call).unwrap()].2 += text;
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Stop(stop) => {
                assert_eq!(self.stop, None);
                self.stop = Some(match stop {
                    Stop::End => Stop::End,
                    Stop::Length => Stop::Length,
                    Stop::ToolCalls => Stop::ToolCalls,
                    Stop::Filter => Stop::Filter,
                    Stop::Sequence(_) => Stop::Sequence(None),
                });
            }
            Event::Failed(failure) => self.failed = Some(failure.message.clone()),
            Event::Ping => {}
            Event::End => self.ended = true,
        }
    }
}

/// Hands the events of a stream that arrives in pieces of `size` bytes to `each`, until its end.
fn read(stream: &str, size: usize, mut each: impl FnMut(&Event<'_>)) {
    let mut split = Reader::default();
    let mut events = Events::default();
    let mut ended = false;
    let mut take = |found: Ended<'_>| {
        let Ended::Data(data) = found else { return };
        events.read(std::str::from_utf8(data).unwrap(), &mut |event| {
            if !ended {
                each(&event);
            }
            ended |= event == Event::End;
        });
    };
    for piece in stream.as_bytes().chunks(size) {
        let mut at = 0;
        while let Some(found) = split.next(piece, &mut at) {
            take(found);
        }
    }
    take(split.finish());
}

fn heard(stream: &str, size: usize) -> Heard {
    let mut heard = Heard::default();
    read(stream, size, |event| heard.hear(event));
    heard
}

/// What the writer makes of events, all of it.
fn written(events: &[Event<'_>]) -> String {
    let mut stream = Stream::new(answering());
    let mut out = Vec::new();
    for event in events {
        stream.write(event, &mut out);
    }
    let mut after = Vec::new();
    stream.finish(&mut out, &mut after);
    assert!(after.is_empty());
    String::from_utf8(out).unwrap()
}

/// The events of a stream as JSON, each checked to be named as what it is and numbered in turn.
fn data(stream: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for event in stream.split("\n\n").filter(|event| !event.is_empty()) {
        if event.starts_with(':') {
            continue;
        }
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        assert_eq!(data["sequence_number"], all.len());
        all.push(data);
    }
    all
}

/// The kinds of the events, without what they have in common, deltas that follow each other as one.
fn kinds(stream: &str) -> Vec<String> {
    let mut kinds: Vec<String> = data(stream)
        .iter()
        .map(|event| {
            let kind = event["type"].as_str().unwrap();
            kind.strip_prefix("response.").unwrap().to_owned()
        })
        .collect();
    kinds.dedup();
    kinds
}

/// The stream holds together: what was said in pieces is what is repeated, item by item.
fn check_stream(stream: &str) {
    let all = data(stream);
    let response = &all.last().unwrap()["response"];
    let output = response["output"].as_array().unwrap();
    let (mut begun, mut done) = (0, 0);
    let mut said = String::new();
    for event in &all {
        let kind = event["type"].as_str().unwrap();
        if event.get("output_index").is_some() {
            assert_eq!(event["output_index"], done, "{event}");
        }
        if let Some(id) = event.get("item_id") {
            assert_eq!(*id, output[done]["id"], "{event}");
        }
        match kind {
            "response.output_item.added" => {
                assert_eq!(event["item"]["id"], output[done]["id"]);
                begun += 1;
            }
            "response.output_item.done" => {
                assert_eq!(event["item"], output[done]);
                done += 1;
            }
            "response.output_text.done" | "response.reasoning_summary_text.done" => {
                assert_eq!(event["text"], std::mem::take(&mut said));
            }
            "response.refusal.done" => assert_eq!(event["refusal"], std::mem::take(&mut said)),
            "response.function_call_arguments.done" => {
                assert_eq!(event["arguments"], std::mem::take(&mut said));
                assert_eq!(event["arguments"], output[done]["arguments"]);
            }
            _ => said += event["delta"].as_str().unwrap_or_default(),
        }
        assert!(begun <= done + 1);
    }
    assert_eq!((begun, done), (output.len(), output.len()));
}
