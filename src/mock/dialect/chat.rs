//! Chat completions, of OpenRouter, OpenAI and Azure.

mod read;

use crate::mock::announced::Announced;
use crate::mock::behaviour::{Dialect, UsageForm};
use crate::mock::shape::{self, Shape};
use crate::mock::speak::{Plan, Speaker, Whole};
use crate::mock::usage::{Usage, whole as saturating};

pub(super) use read::read;

/// What Azure found in the prompt, in a first chunk without choices.
const FILTERED: &[u8] = br#"data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"},"jailbreak":{"filtered":false,"detected":false},"self_harm":{"filtered":false,"severity":"safe"},"sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":false,"severity":"safe"}}}]}

"#;

/// A chat completion.
pub(super) struct Chat<'p> {
    plan: &'p Plan<'p>,
    shape: Shape,
    openai: bool,
    /// The usage object; `None` when none is to be announced.
    usage: Option<String>,
    says: Option<Announced>,
    announced: Option<Announced>,
}

impl<'p> Chat<'p> {
    pub(super) fn new(plan: &'p Plan<'p>) -> Self {
        let openai = plan.behaviour.dialect == Dialect::OpenAi || plan.place.azure;
        let (dialect, prefix) = if openai {
            (Dialect::OpenAi, "chatcmpl")
        } else {
            (Dialect::OpenRouter, "gen")
        };
        let id = format!("{prefix}-mock-{}", plan.seq);
        let null_usage = openai && plan.stream && plan.include_usage;
        let shown = !plan.stream || !openai || plan.include_usage;
        let usage = match &plan.usage {
            Usage::Off => None,
            Usage::Null => Some("null".to_owned()),
            Usage::Numbers(numbers) => Some(shape::usage(numbers)),
        };
        Self {
            plan,
            shape: Shape::new(
                dialect,
                plan.stream,
                &id,
                &plan.model,
                plan.created,
                null_usage,
            ),
            openai,
            usage: usage.filter(|_| shown),
            says: plan.usage.announced().filter(|_| shown),
            announced: None,
        }
    }

    fn early(&self) -> bool {
        self.plan.behaviour.usage == UsageForm::Early
    }

    /// How many times usage is announced.
    fn copies(&self) -> usize {
        if self.plan.behaviour.usage == UsageForm::Twice {
            2
        } else {
            1
        }
    }

    fn finish(&self) -> &'static str {
        if self.plan.limited {
            "length"
        } else if self.plan.content.calls().is_empty() {
            "stop"
        } else {
            "tool_calls"
        }
    }

    /// The delta of an event that only ends a choice.
    fn empty(&self) -> &'static [u8] {
        if self.openai {
            b""
        } else {
            br#""role":"assistant","content":"""#
        }
    }

    fn id(choice: u64, call: usize) -> String {
        match call {
            0 => format!("call_mock_{choice}"),
            call => format!("call_mock_{choice}_{call}"),
        }
    }

    /// The inside of the message of a JSON answer with `total` chunks.
    fn message(&self, choice: u64, total: u64) -> Vec<u8> {
        let content = &self.plan.content;
        if content.calls().is_empty() {
            let text = content.text(total);
            return format!(r#""role":"assistant","refusal":null,"content":"{text}""#).into_bytes();
        }
        let calls: Vec<String> = content
            .calls()
            .iter()
            .enumerate()
            .map(|(call, name)| {
                let arguments = content.arguments(content.share(call as u64, total));
                format!(
                    r#"{{"index":{call},"id":"{}","type":"function","function":{{"name":{name},"arguments":"{arguments}"}}}}"#,
                    Self::id(choice, call)
                )
            })
            .collect();
        format!(
            r#""role":"assistant","content":null,"refusal":null,"tool_calls":[{}]"#,
            calls.join(",")
        )
        .into_bytes()
    }
}

impl Speaker for Chat<'_> {
    fn opening(&mut self, out: &mut Vec<u8>) {
        if self.plan.place.azure {
            out.extend_from_slice(FILTERED);
        }
        let content = &self.plan.content;
        for choice in 0..self.plan.choices {
            let early = self.early() && choice == 0;
            let usage = self.usage.as_deref().filter(|_| early);
            let Some(first) = content.calls().first() else {
                let delta = br#""role":"assistant","content":"""#;
                self.shape.event(out, choice, delta, None, usage);
                continue;
            };
            let call = |call: usize, name: &str| {
                format!(
                    r#""tool_calls":[{{"index":{call},"id":"{}","type":"function","function":{{"name":{name},"arguments":""}}}}]"#,
                    Self::id(choice, call)
                )
            };
            let delta = format!(r#""role":"assistant","content":null,{}"#, call(0, first));
            self.shape.event(out, choice, delta.as_bytes(), None, usage);
            for (index, name) in content.calls().iter().enumerate().skip(1) {
                let delta = call(index, name);
                self.shape.event(out, choice, delta.as_bytes(), None, None);
            }
        }
        if self.early() {
            self.announced = self.says;
        }
    }

    fn chunk(&mut self, index: u64, out: &mut Vec<u8>) {
        let (content, choices) = (&self.plan.content, self.plan.choices);
        let (index, choice) = (index / choices, index % choices);
        let calls = content.calls().len() as u64;
        let mut delta = Vec::with_capacity(64);
        if calls == 0 {
            delta.extend_from_slice(br#""content":""#);
            content.chunk(index, &mut delta);
            delta.push(b'"');
        } else {
            let call = index % calls;
            let before = format!(r#""tool_calls":[{{"index":{call},"function":{{"arguments":""#);
            delta.extend_from_slice(before.as_bytes());
            let total = content.share(call, self.plan.per_choice);
            content.argument(index / calls, total, &mut delta);
            delta.extend_from_slice(br#""}}]"#);
        }
        self.shape.event(out, choice, &delta, None, None);
    }

    fn closing(&mut self, out: &mut Vec<u8>) {
        for choice in 0..self.plan.choices {
            self.shape
                .event(out, choice, self.empty(), Some(self.finish()), None);
        }
    }

    fn farewell(&mut self, out: &mut Vec<u8>) {
        if self.early() {
            return;
        }
        if let Some(usage) = &self.usage {
            for _ in 0..self.copies() {
                if self.openai {
                    self.shape.usage_event(out, usage);
                } else {
                    self.shape
                        .event(out, 0, self.empty(), Some(self.finish()), Some(usage));
                }
            }
        }
        self.announced = self.says;
    }

    fn error(&mut self, produced: u64, out: &mut Vec<u8>) {
        let prompt = self.plan.prompt_tokens;
        let usage = self.plan.behaviour.error_cost.map(|cost| {
            self.announced = Some(Announced {
                prompt_tokens: saturating(prompt),
                completion_tokens: saturating(produced),
                cost_nanos: Some(cost.0),
                ..Announced::default()
            });
            format!(
                r#"{{"prompt_tokens":{prompt},"completion_tokens":{produced},"total_tokens":{},"cost":{cost}}}"#,
                prompt.saturating_add(produced),
            )
        });
        let code = self.plan.behaviour.code.as_deref();
        self.shape.error_event(out, code, usage.as_deref());
    }

    fn done(&self) -> bool {
        true
    }

    fn announced(&self) -> Option<Announced> {
        self.announced
    }

    fn whole(&mut self, chunks: u64, failed: bool) -> Whole {
        let messages: Vec<Vec<u8>> = (0..self.plan.choices)
            .map(|choice| self.message(choice, chunks))
            .collect();
        let usage: Vec<&str> = self
            .usage
            .iter()
            .flat_map(|usage| std::iter::repeat_n(usage.as_str(), self.copies()))
            .collect();
        let finish = if failed { "error" } else { self.finish() };
        let body = self
            .shape
            .body(&messages, finish, failed, &usage, self.early());
        self.announced = self.says;
        Whole { status: 200, body }
    }
}
