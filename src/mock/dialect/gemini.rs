//! Gemini's own interface.

mod read;

use crate::mock::announced::Announced;
use crate::mock::api::{self, Failure};
use crate::mock::behaviour::UsageForm;
use crate::mock::shape::quoted;
use crate::mock::speak::{Plan, Speaker, THOUGHTS, Whole};
use crate::mock::usage::{Numbers, Usage, whole as saturating};

pub(super) use read::read;

/// A generated content. Every event has usage; the content of the last but one is the last of it.
pub(super) struct Generated<'p> {
    plan: &'p Plan<'p>,
    announced: Option<Announced>,
}

impl<'p> Generated<'p> {
    pub(super) fn new(plan: &'p Plan<'p>) -> Self {
        Self {
            plan,
            announced: None,
        }
    }

    fn form(&self) -> UsageForm {
        self.plan.behaviour.usage
    }

    /// The usage member after so many tokens of output; the whole usage when `None`.
    fn usage(&mut self, output: Option<u64>) -> String {
        if let Usage::Numbers(numbers) = &self.plan.usage {
            let numbers = match output {
                Some(output) => numbers.so_far(output),
                None => numbers.clone(),
            };
            self.announced = Some(Announced {
                tool_use_tokens: saturating(numbers.counts.tool_use),
                cache_write_tokens: 0,
                cache_write_1h_tokens: 0,
                cost_nanos: None,
                ..numbers.announced()
            });
            return format!(r#","usageMetadata":{}"#, usage(&numbers));
        }
        self.plan.usage.member("usageMetadata", usage)
    }

    /// One response object.
    fn object(&self, parts: &str, finish: Option<&str>, usage: &str) -> String {
        let finish = finish.map_or_else(String::new, |reason| {
            format!(r#","finishReason":"{reason}""#)
        });
        self.around(
            &format!(r#"{{"content":{{"parts":[{parts}],"role":"model"}}{finish},"index":0}}"#),
            usage,
        )
    }

    fn around(&self, candidates: &str, usage: &str) -> String {
        format!(
            r#"{{"candidates":[{candidates}]{usage},"modelVersion":{},"responseId":"mock-{}"}}"#,
            quoted(&self.plan.model),
            self.plan.seq
        )
    }

    fn call(&self, call: u64) -> String {
        let content = &self.plan.content;
        let name = usize::try_from(call).ok();
        let name = name.and_then(|call| content.calls().get(call));
        let name = name.map_or("\"\"", String::as_str);
        let chunks = content.share(call, self.plan.behaviour.chunks);
        format!(
            r#"{{"functionCall":{{"name":{name},"args":{}}}}}"#,
            content.input(chunks)
        )
    }

    fn finish(&self) -> &'static str {
        if self.plan.limited {
            "MAX_TOKENS"
        } else {
            "STOP"
        }
    }

    fn failure(&self) -> serde_json::Value {
        api::google(
            &Failure {
                status: 503,
                code: self.plan.behaviour.code.as_deref(),
                message: None,
                prompt_tokens: self.plan.prompt_tokens,
            },
            None,
        )
    }
}

/// A part of thoughts.
fn thought(text: &str) -> String {
    format!(r#"{{"text":{},"thought":true}}"#, quoted(text))
}

fn event(out: &mut Vec<u8>, data: &str) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data.as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// The usage object.
fn usage(numbers: &Numbers) -> String {
    let counts = numbers.counts;
    let (thoughts, tools) = (saturating(counts.reasoning), saturating(counts.tool_use));
    let total = [numbers.input, numbers.output, thoughts, tools]
        .into_iter()
        .fold(0_i64, i64::saturating_add);
    let mut json = format!(
        r#"{{"promptTokenCount":{},"candidatesTokenCount":{},"totalTokenCount":{},"promptTokensDetails":[{{"modality":"TEXT","tokenCount":{}}}]"#,
        numbers.text(numbers.input),
        numbers.text(numbers.output),
        numbers.text(total),
        numbers.text(numbers.input),
    );
    for (name, count) in [
        ("cachedContentTokenCount", counts.cached),
        ("thoughtsTokenCount", counts.reasoning),
        ("toolUsePromptTokenCount", counts.tool_use),
    ] {
        if count > 0 {
            json.push_str(&format!(r#","{name}":{0}{count}{0}"#, numbers.quote));
        }
    }
    json.push('}');
    json
}

impl Speaker for Generated<'_> {
    fn opening(&mut self, out: &mut Vec<u8>) {
        let thinks = self.plan.thinks;
        for text in THOUGHTS.iter().filter(|_| thinks) {
            let usage = match self.form() {
                UsageForm::Early => String::new(),
                _ => self.usage(Some(0)),
            };
            event(out, &self.object(&thought(text), None, &usage));
        }
    }

    fn chunk(&mut self, index: u64, out: &mut Vec<u8>) {
        let usage = match self.form() {
            UsageForm::Early if index > 0 => String::new(),
            UsageForm::Early => self.usage(None),
            _ => self.usage(Some(index + 1)),
        };
        let part = if self.plan.content.calls().is_empty() {
            let mut text = Vec::with_capacity(32);
            self.plan.content.chunk(index, &mut text);
            format!(r#"{{"text":"{}"}}"#, String::from_utf8_lossy(&text))
        } else {
            self.call(index)
        };
        event(out, &self.object(&part, None, &usage));
    }

    fn closing(&mut self, _out: &mut Vec<u8>) {}

    fn farewell(&mut self, out: &mut Vec<u8>) {
        let usage = match self.form() {
            UsageForm::Early if self.plan.per_choice > 0 => String::new(),
            _ => self.usage(None),
        };
        let finish = Some(self.finish());
        event(out, &self.object(r#"{"text":""}"#, finish, &usage));
        if self.form() == UsageForm::Twice {
            event(out, &self.around("", &usage));
        }
    }

    fn error(&mut self, _produced: u64, out: &mut Vec<u8>) {
        event(out, &self.failure().to_string());
    }

    fn done(&self) -> bool {
        false
    }

    fn announced(&self) -> Option<Announced> {
        self.announced
    }

    fn whole(&mut self, chunks: u64, failed: bool) -> Whole {
        if failed {
            let body = self.failure().to_string().into_bytes();
            return Whole { status: 503, body };
        }
        let mut parts = Vec::new();
        if self.plan.thinks {
            parts.push(thought(&THOUGHTS.concat()));
        }
        let calls = self.plan.content.calls().len() as u64;
        if calls == 0 {
            let text = self.plan.content.text(chunks);
            parts.push(format!(r#"{{"text":"{text}"}}"#));
        }
        parts.extend((0..calls.min(chunks)).map(|call| self.call(call)));
        let mut usage = self.usage(None);
        if self.form() == UsageForm::Twice {
            usage = usage.repeat(2);
        }
        let body = self.object(&parts.join(","), Some(self.finish()), &usage);
        Whole {
            status: 200,
            body: body.into_bytes(),
        }
    }
}
