//! The Messages interface of Anthropic, also of the OpenClaw gateway and of OpenRouter.

mod read;

use std::io::Write as _;

use serde_json::Value;

use crate::mock::announced::Announced;
use crate::mock::api::{self, Failure};
use crate::mock::behaviour::UsageForm;
use crate::mock::shape::quoted;
use crate::mock::speak::{Plan, Speaker, THOUGHTS, Whole};
use crate::mock::usage::{Numbers, Usage};

pub(super) use read::read;

/// What stands for the proof that the thoughts are the model's own.
const SIGNATURE: &str = "bW9jay1zaWduYXR1cmU=";

/// A message.
pub(super) struct Message<'p> {
    plan: &'p Plan<'p>,
    /// The index of the block under way.
    block: u64,
    /// The call under way.
    call: u64,
    announced: Option<Announced>,
}

impl<'p> Message<'p> {
    pub(super) fn new(plan: &'p Plan<'p>) -> Self {
        Self {
            plan,
            block: 0,
            call: 0,
            announced: None,
        }
    }

    fn form(&self) -> UsageForm {
        self.plan.behaviour.usage
    }

    fn stop_reason(&self) -> &'static str {
        if self.plan.limited {
            "max_tokens"
        } else if self.plan.content.calls().is_empty() {
            "end_turn"
        } else {
            "tool_use"
        }
    }

    /// The fields of the message around its content.
    fn fields(&self) -> String {
        format!(
            r#""id":"msg_mock_{}","type":"message","role":"assistant","model":{}"#,
            self.plan.seq,
            quoted(&self.plan.model)
        )
    }

    /// Opens the block of the answer's text or of a call.
    fn open(&self, out: &mut Vec<u8>) {
        let calls = self.plan.content.calls();
        let name = usize::try_from(self.call)
            .ok()
            .and_then(|call| calls.get(call));
        let block = name.map_or_else(
            || r#"{"type":"text","text":""}"#.to_owned(),
            |name| {
                format!(
                    r#"{{"type":"tool_use","id":"toolu_mock_{}_{}","name":{name},"input":{{}}}}"#,
                    self.plan.seq, self.call
                )
            },
        );
        let index = self.block;
        event(
            out,
            "content_block_start",
            &format!(r#","index":{index},"content_block":{block}"#),
        );
        if name.is_some() {
            self.delta(out, r#"{"type":"input_json_delta","partial_json":""}"#);
        }
    }

    fn delta(&self, out: &mut Vec<u8>, delta: &str) {
        let rest = format!(r#","index":{},"delta":{delta}"#, self.block);
        event(out, "content_block_delta", &rest);
    }

    fn stop(&mut self, out: &mut Vec<u8>) {
        let rest = format!(r#","index":{}"#, self.block);
        event(out, "content_block_stop", &rest);
        self.block += 1;
    }

    fn think(&mut self, out: &mut Vec<u8>) {
        let start =
            r#","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}"#;
        event(out, "content_block_start", start);
        for thought in THOUGHTS {
            let thought = quoted(thought);
            self.delta(
                out,
                &format!(r#"{{"type":"thinking_delta","thinking":{thought}}}"#),
            );
        }
        let signature = format!(r#"{{"type":"signature_delta","signature":"{SIGNATURE}"}}"#);
        self.delta(out, &signature);
        self.stop(out);
    }
}

/// One event whose data begin with its name.
fn event(out: &mut Vec<u8>, name: &str, rest: &str) {
    // Writing to a `Vec` cannot fail.
    let _ = write!(
        out,
        "event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n"
    );
}

/// The usage object. `start`: as a message starts, with a placeholder for the output.
fn usage(numbers: &Numbers, start: bool) -> String {
    let counts = numbers.counts;
    let text = |count: u64| format!("{0}{count}{0}", numbers.quote);
    let output = if start && !numbers.bent {
        1
    } else {
        numbers.output
    };
    let write = counts.cache_write.saturating_add(counts.cache_write_1h);
    let mut json = format!(
        r#"{{"input_tokens":{},"cache_creation_input_tokens":{},"cache_read_input_tokens":{},"cache_creation":{{"ephemeral_5m_input_tokens":{},"ephemeral_1h_input_tokens":{}}},"output_tokens":{}"#,
        numbers.text(numbers.input),
        text(write),
        text(counts.cached),
        text(counts.cache_write),
        text(counts.cache_write_1h),
        numbers.text(output),
    );
    if counts.reasoning > 0 && !start {
        json.push_str(&format!(
            r#","output_tokens_details":{{"thinking_tokens":{}}}"#,
            counts.reasoning
        ));
    }
    if let Some(cost) = numbers.cost_text.as_ref().filter(|_| !start) {
        json.push_str(&format!(r#","cost":{cost},"is_byok":false"#));
    }
    json.push_str(r#","service_tier":"standard"}"#);
    json
}

impl Speaker for Message<'_> {
    fn opening(&mut self, out: &mut Vec<u8>) {
        let early = self.form() == UsageForm::Early;
        let said = self.plan.usage.member("usage", |says| usage(says, !early));
        let rest = format!(
            r#","message":{{{},"content":[],"stop_reason":null,"stop_sequence":null{said}}}"#,
            self.fields()
        );
        event(out, "message_start", &rest);
        if let Usage::Numbers(says) = &self.plan.usage {
            let says = says.announced();
            self.announced = Some(if early {
                says
            } else {
                // A placeholder is no statement about the output.
                Announced {
                    completion_tokens: 1,
                    reasoning_tokens: 0,
                    cost_nanos: None,
                    ..says
                }
            });
        }
        if self.plan.thinks {
            self.think(out);
        }
        self.open(out);
        out.extend_from_slice(b"event: ping\ndata: {\"type\": \"ping\"}\n\n");
    }

    fn chunk(&mut self, index: u64, out: &mut Vec<u8>) {
        let content = &self.plan.content;
        let (mut before, total) = (0, self.plan.per_choice);
        for call in 0..self.call {
            before += content.share(call, total);
        }
        let mut text = Vec::with_capacity(64);
        if content.calls().is_empty() {
            text.extend_from_slice(br#"{"type":"text_delta","text":""#);
            content.chunk(index, &mut text);
        } else {
            let mut share = content.share(self.call, total);
            if index >= before + share {
                before += share;
                self.stop(out);
                self.call += 1;
                self.open(out);
                share = content.share(self.call, total);
            }
            text.extend_from_slice(br#"{"type":"input_json_delta","partial_json":""#);
            content.argument(index - before, share, &mut text);
        }
        text.extend_from_slice(br#""}"#);
        self.delta(out, &String::from_utf8_lossy(&text));
    }

    fn closing(&mut self, out: &mut Vec<u8>) {
        self.stop(out);
        while self.call + 1 < self.plan.content.calls().len() as u64 {
            self.call += 1;
            self.open(out);
            self.stop(out);
        }
    }

    fn farewell(&mut self, out: &mut Vec<u8>) {
        let said = if self.form() == UsageForm::Early {
            String::new()
        } else {
            self.announced = self.plan.usage.announced();
            self.plan.usage.member("usage", |says| usage(says, false))
        };
        let rest = format!(
            r#","delta":{{"stop_reason":"{}","stop_sequence":null}}{said}"#,
            self.stop_reason()
        );
        event(out, "message_delta", &rest);
        if self.form() == UsageForm::Twice {
            event(out, "message_delta", &rest);
        }
        event(out, "message_stop", "");
    }

    fn error(&mut self, _produced: u64, out: &mut Vec<u8>) {
        let error = failed(self.plan);
        // Writing to a `Vec` cannot fail.
        let _ = write!(out, "event: error\ndata: {error}\n\n");
    }

    fn done(&self) -> bool {
        false
    }

    fn announced(&self) -> Option<Announced> {
        self.announced
    }

    fn whole(&mut self, chunks: u64, failure: bool) -> Whole {
        if failure {
            let body = failed(self.plan).to_string().into_bytes();
            return Whole { status: 529, body };
        }
        let content = &self.plan.content;
        let mut blocks = Vec::new();
        if self.plan.thinks {
            let thoughts = quoted(&THOUGHTS.concat());
            blocks.push(format!(
                r#"{{"type":"thinking","thinking":{thoughts},"signature":"{SIGNATURE}"}}"#
            ));
        }
        if content.calls().is_empty() {
            let text = content.text(chunks);
            blocks.push(format!(r#"{{"type":"text","text":"{text}"}}"#));
        }
        for (call, name) in content.calls().iter().enumerate() {
            let input = content.input(content.share(call as u64, chunks));
            blocks.push(format!(
                r#"{{"type":"tool_use","id":"toolu_mock_{}_{call}","name":{name},"input":{input}}}"#,
                self.plan.seq
            ));
        }
        let usage = self.plan.usage.member("usage", |says| usage(says, false));
        let (first, last) = match self.form() {
            UsageForm::Early => (usage.as_str(), String::new()),
            UsageForm::Twice => ("", usage.repeat(2)),
            _ => ("", usage),
        };
        self.announced = self.plan.usage.announced();
        let body = format!(
            r#"{{{}{first},"content":[{}],"stop_reason":"{}","stop_sequence":null{last}}}"#,
            self.fields(),
            blocks.join(","),
            self.stop_reason()
        );
        Whole {
            status: 200,
            body: body.into_bytes(),
        }
    }
}

/// The error after which nothing comes.
fn failed(plan: &Plan<'_>) -> Value {
    api::anthropic(&Failure {
        status: 529,
        code: plan.behaviour.code.as_deref(),
        message: None,
        prompt_tokens: plan.prompt_tokens,
    })
}
