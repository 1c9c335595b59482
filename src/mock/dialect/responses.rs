//! The Responses interface of OpenAI and OpenRouter.

mod read;

use std::io::Write as _;

use crate::mock::announced::Announced;
use crate::mock::behaviour::{Dialect, UsageForm};
use crate::mock::shape::quoted;
use crate::mock::speak::{Plan, Speaker, THOUGHTS, Whole};
use crate::mock::usage::{Numbers, whole as saturating};

pub(super) use read::{is_openai, read};

/// A response.
pub(super) struct Response<'p> {
    plan: &'p Plan<'p>,
    sequence: u64,
    announced: Option<Announced>,
}

impl<'p> Response<'p> {
    pub(super) fn new(plan: &'p Plan<'p>) -> Self {
        Self {
            plan,
            sequence: 0,
            announced: None,
        }
    }

    fn form(&self) -> UsageForm {
        self.plan.behaviour.usage
    }

    /// One event; `rest` are the fields after its type.
    fn event(&mut self, out: &mut Vec<u8>, name: &str, rest: &str) {
        // Writing to a `Vec` cannot fail.
        let _ = write!(
            out,
            "event: {name}\ndata: {{\"type\":\"{name}\",\"sequence_number\":{}{rest}}}\n\n",
            self.sequence
        );
        self.sequence += 1;
    }

    /// The response object.
    fn object(&self, status: &str, output: &str, error: &str, usage: &str) -> String {
        let plan = self.plan;
        let incomplete = if status == "incomplete" {
            r#"{"reason":"max_output_tokens"}"#
        } else {
            "null"
        };
        let early = self.form() == UsageForm::Early;
        let (first, last) = if early { (usage, "") } else { ("", usage) };
        format!(
            r#"{{"id":"resp_mock_{}"{first},"object":"response","created_at":{},"status":"{status}","background":false,"error":{error},"incomplete_details":{incomplete},"instructions":null,"max_output_tokens":null,"model":{},"output":[{output}],"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{{"effort":null,"summary":null}},"service_tier":"default","store":false,"temperature":1.0,"text":{{"format":{{"type":"text"}}}},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled"{last},"user":null,"metadata":{{}}}}"#,
            plan.seq,
            plan.created,
            quoted(&plan.model)
        )
    }

    /// The output index of the first item after the reasoning.
    fn first(&self) -> u64 {
        u64::from(self.plan.thinks)
    }

    fn item_id(&self) -> String {
        format!("msg_mock_{}", self.plan.seq)
    }

    fn reasoning(&self) -> String {
        format!(
            r#"{{"id":"rs_mock_{}","type":"reasoning","summary":[{{"type":"summary_text","text":{}}}]}}"#,
            self.plan.seq,
            quoted(&THOUGHTS.concat())
        )
    }

    /// A message item; `text` is absent while it has none.
    fn message(&self, status: &str, text: Option<&str>) -> String {
        let content = text.map_or_else(String::new, part);
        format!(
            r#"{{"id":"{}","type":"message","status":"{status}","content":[{content}],"role":"assistant"}}"#,
            self.item_id()
        )
    }

    fn call(&self, call: u64, name: &str, status: &str, arguments: &str) -> String {
        let seq = self.plan.seq;
        format!(
            r#"{{"id":"fc_mock_{seq}_{call}","type":"function_call","status":"{status}","arguments":"{arguments}","call_id":"call_mock_{seq}_{call}","name":{name}}}"#
        )
    }

    /// All output of so many chunks.
    fn output(&self, chunks: u64) -> String {
        let content = &self.plan.content;
        let mut items = Vec::new();
        if self.plan.thinks {
            items.push(self.reasoning());
        }
        if content.calls().is_empty() {
            let status = if self.plan.limited {
                "incomplete"
            } else {
                "completed"
            };
            items.push(self.message(status, Some(&content.text(chunks))));
        }
        for (call, name) in (0..).zip(content.calls()) {
            let arguments = content.arguments(content.share(call, chunks));
            items.push(self.call(call, name, "completed", &arguments));
        }
        items.join(",")
    }

    fn status(&self) -> &'static str {
        if self.plan.limited {
            "incomplete"
        } else {
            "completed"
        }
    }

    fn failed(&self) -> String {
        let code = self
            .plan
            .behaviour
            .code
            .as_deref()
            .unwrap_or("server_error");
        format!(
            r#"{{"code":{},"message":"The server had an error while processing your request."}}"#,
            quoted(code)
        )
    }

    fn think(&mut self, out: &mut Vec<u8>) {
        let id = format!("rs_mock_{}", self.plan.seq);
        let empty = format!(r#"{{"id":"{id}","type":"reasoning","summary":[]}}"#);
        let item = format!(r#","output_index":0,"item":{empty}"#);
        self.event(out, "response.output_item.added", &item);
        let at = format!(r#","item_id":"{id}","output_index":0,"summary_index":0"#);
        let part = |text: &str| format!(r#"{at},"part":{{"type":"summary_text","text":{text}}}"#);
        let text = quoted(&THOUGHTS.concat());
        self.event(out, "response.reasoning_summary_part.added", &part("\"\""));
        for thought in THOUGHTS {
            let delta = format!(r#"{at},"delta":{}"#, quoted(thought));
            self.event(out, "response.reasoning_summary_text.delta", &delta);
        }
        let done = format!(r#"{at},"text":{text}"#);
        self.event(out, "response.reasoning_summary_text.done", &done);
        self.event(out, "response.reasoning_summary_part.done", &part(&text));
        let item = format!(r#","output_index":0,"item":{}"#, self.reasoning());
        self.event(out, "response.output_item.done", &item);
    }

    /// Where an event of the text is.
    fn text_at(&self) -> String {
        format!(
            r#","item_id":"{}","output_index":{},"content_index":0"#,
            self.item_id(),
            self.first()
        )
    }

    /// Where an event of a call is.
    fn call_at(&self, call: u64) -> String {
        format!(
            r#","item_id":"fc_mock_{}_{call}","output_index":{}"#,
            self.plan.seq,
            self.first() + call
        )
    }
}

fn part(text: &str) -> String {
    format!(r#"{{"type":"output_text","annotations":[],"logprobs":[],"text":"{text}"}}"#)
}

/// The usage object.
pub(super) fn usage(numbers: &Numbers) -> String {
    let counts = numbers.counts;
    let total = i128::from(numbers.input) + i128::from(numbers.output);
    let quote = numbers.quote;
    let write = if counts.cache_write > 0 {
        format!(r#","cache_write_tokens":{}"#, counts.cache_write)
    } else {
        String::new()
    };
    let cost = numbers.cost_text.as_ref();
    let cost = cost.map_or_else(String::new, |cost| {
        format!(r#","cost":{cost},"is_byok":false"#)
    });
    format!(
        r#"{{"input_tokens":{},"input_tokens_details":{{"cached_tokens":{}{write}}},"output_tokens":{},"output_tokens_details":{{"reasoning_tokens":{}}},"total_tokens":{quote}{total}{quote}{cost}}}"#,
        numbers.text(numbers.input),
        counts.cached,
        numbers.text(numbers.output),
        counts.reasoning,
    )
}

impl Speaker for Response<'_> {
    fn opening(&mut self, out: &mut Vec<u8>) {
        let said = if self.form() == UsageForm::Early {
            self.announced = self.plan.usage.announced();
            self.plan.usage.member("usage", usage)
        } else {
            r#","usage":null"#.to_owned()
        };
        let object = self.object("in_progress", "", "null", &said);
        let rest = format!(r#","response":{object}"#);
        self.event(out, "response.created", &rest);
        self.event(out, "response.in_progress", &rest);
        if self.plan.thinks {
            self.think(out);
        }
        let index = self.first();
        let calls = self.plan.content.calls();
        if calls.is_empty() {
            let item = self.message("in_progress", None);
            let rest = format!(r#","output_index":{index},"item":{item}"#);
            self.event(out, "response.output_item.added", &rest);
            let rest = format!(r#"{},"part":{}"#, self.text_at(), part(""));
            self.event(out, "response.content_part.added", &rest);
        }
        for (call, name) in (0..).zip(calls) {
            let item = self.call(call, name, "in_progress", "");
            let rest = format!(r#","output_index":{},"item":{item}"#, index + call);
            self.event(out, "response.output_item.added", &rest);
        }
    }

    fn chunk(&mut self, index: u64, out: &mut Vec<u8>) {
        let content = &self.plan.content;
        let calls = content.calls().len() as u64;
        let mut text = Vec::with_capacity(64);
        let (name, at, rest) = if calls == 0 {
            content.chunk(index, &mut text);
            let name = "response.output_text.delta";
            (name, self.text_at(), r#","logprobs":[]"#)
        } else {
            let call = index % calls;
            let total = content.share(call, self.plan.per_choice);
            content.argument(index / calls, total, &mut text);
            let name = "response.function_call_arguments.delta";
            (name, self.call_at(call), "")
        };
        let text = String::from_utf8_lossy(&text);
        let rest = format!(r#"{at},"delta":"{text}"{rest}"#);
        self.event(out, name, &rest);
    }

    fn closing(&mut self, out: &mut Vec<u8>) {
        let content = &self.plan.content;
        let (total, index) = (self.plan.per_choice, self.first());
        if content.calls().is_empty() {
            let (text, at) = (content.text(total), self.text_at());
            let rest = format!(r#"{at},"text":"{text}","logprobs":[]"#);
            self.event(out, "response.output_text.done", &rest);
            let rest = format!(r#"{at},"part":{}"#, part(&text));
            self.event(out, "response.content_part.done", &rest);
            let item = self.message(self.status(), Some(&text));
            let rest = format!(r#","output_index":{index},"item":{item}"#);
            self.event(out, "response.output_item.done", &rest);
        }
        for (call, name) in (0..).zip(content.calls()) {
            let arguments = content.arguments(content.share(call, total));
            let at = self.call_at(call);
            let rest = format!(r#"{at},"name":{name},"arguments":"{arguments}""#);
            self.event(out, "response.function_call_arguments.done", &rest);
            let item = self.call(call, name, "completed", &arguments);
            let rest = format!(r#","output_index":{},"item":{item}"#, index + call);
            self.event(out, "response.output_item.done", &rest);
        }
    }

    fn farewell(&mut self, out: &mut Vec<u8>) {
        let said = if self.form() == UsageForm::Early {
            String::new()
        } else {
            self.announced = self.plan.usage.announced();
            self.plan.usage.member("usage", usage)
        };
        let output = self.output(self.plan.per_choice);
        let object = self.object(self.status(), &output, "null", &said);
        let name = format!("response.{}", self.status());
        let rest = format!(r#","response":{object}"#);
        self.event(out, &name, &rest);
        if self.form() == UsageForm::Twice {
            self.event(out, &name, &rest);
        }
    }

    fn error(&mut self, produced: u64, out: &mut Vec<u8>) {
        let said = match self.plan.behaviour.error_cost {
            None => r#","usage":null"#.to_owned(),
            Some(cost) => {
                let prompt = self.plan.prompt_tokens;
                self.announced = Some(Announced {
                    prompt_tokens: saturating(prompt),
                    completion_tokens: saturating(produced),
                    cost_nanos: Some(cost.0),
                    ..Announced::default()
                });
                format!(
                    r#","usage":{{"input_tokens":{prompt},"output_tokens":{produced},"total_tokens":{},"cost":{cost}}}"#,
                    prompt.saturating_add(produced)
                )
            }
        };
        let object = self.object("failed", "", &self.failed(), &said);
        self.event(out, "response.failed", &format!(r#","response":{object}"#));
    }

    fn done(&self) -> bool {
        self.plan.behaviour.dialect == Dialect::OpenRouter && !self.plan.place.azure
    }

    fn announced(&self) -> Option<Announced> {
        self.announced
    }

    fn whole(&mut self, chunks: u64, failure: bool) -> Whole {
        let mut said = self.plan.usage.member("usage", usage);
        if self.form() == UsageForm::Twice {
            said = said.repeat(2);
        }
        self.announced = self.plan.usage.announced();
        let output = self.output(chunks);
        let object = if failure {
            self.object("failed", &output, &self.failed(), &said)
        } else {
            self.object(self.status(), &output, "null", &said)
        };
        Whole {
            status: 200,
            body: object.into_bytes(),
        }
    }
}
