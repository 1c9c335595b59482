//! Legacy completions, and what they and embeddings read.

use std::io::Write as _;

use crate::mock::announced::Announced;
use crate::mock::api::{Api, Place};
use crate::mock::behaviour::{Dialect, UsageForm};
use crate::mock::dialect::strict::{self, list, optional};
use crate::mock::request::{Asked, Refused, tokens};
use crate::mock::shape::{self, quoted};
use crate::mock::speak::{Plan, Speaker, Whole};
use crate::mock::usage::whole as saturating;
use serde_json::{Map, Value};

/// What OpenAI documents of a completion and of embeddings.
const COMPLETION: &str = "model prompt best_of echo frequency_penalty logit_bias logprobs max_tokens n \
    presence_penalty seed stop stream stream_options suffix temperature top_p user";
const EMBEDDINGS: &str = "model input dimensions encoding_format user";

/// What OpenRouter takes besides.
const OPENROUTER: &str = "models provider route transforms usage top_k min_p top_a repetition_penalty reasoning \
    session_id trace plugins input_type";

/// The length of a vector unless one was asked for.
const DIMENSIONS: usize = 8;

/// Reads and checks the body.
pub(super) fn read<'a>(body: &'a [u8], place: &Place, openai: bool) -> Result<Asked<'a>, Refused> {
    parse(body, place, openai).map_err(|reason| Refused::new(400, reason))
}

fn parse<'a>(body: &'a [u8], place: &Place, openai: bool) -> Result<Asked<'a>, String> {
    let fields = strict::object(body)?;
    let embeddings = place.api == Api::Embeddings;
    let own = if embeddings { EMBEDDINGS } else { COMPLETION };
    let theirs = if openai { "" } else { OPENROUTER };
    if let Some(name) = strict::unknown(&fields, &[own, theirs]) {
        return Err(format!("Unrecognized request argument supplied: {name}"));
    }
    let names = list(fields.get("models")).iter().filter_map(Value::as_str);
    let model = optional(&fields, "model", "a string", Value::as_str)?;
    if model.is_none() && place.model.is_none() && names.clone().next().is_none() {
        return Err("you must provide a model parameter".to_owned());
    }
    let asked = Asked {
        model: model.map(str::to_owned),
        models: names.map(str::to_owned).collect(),
        body,
        messages: place.messages(),
        ..Asked::default()
    };
    if embeddings {
        return embed(&fields, asked);
    }
    let prompt = fields.get("prompt").ok_or("you must provide a prompt")?;
    let (texts, count) = inputs(prompt, "prompt")?;
    let stream = optional(&fields, "stream", "a boolean", Value::as_bool)?.unwrap_or(false);
    let options = fields
        .get("stream_options")
        .filter(|options| !options.is_null());
    if options.is_some() && !stream {
        return Err(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.".to_owned(),
        );
    }
    let n = optional(&fields, "n", "an integer", Value::as_u64)?.unwrap_or(1);
    if !(1..=128).contains(&n) {
        return Err("n must be from 1 to 128".to_owned());
    }
    let include = options.and_then(|options| options.get("include_usage"));
    Ok(Asked {
        stream,
        include_usage: include.and_then(Value::as_bool).unwrap_or(false),
        max_tokens: optional(&fields, "max_tokens", "an integer", Value::as_u64)?,
        // Every prompt gets its own choices.
        choices: n.saturating_mul(texts.len() as u64),
        prompt_tokens: count,
        ..asked
    })
}

fn embed<'a>(fields: &Map<String, Value>, asked: Asked<'a>) -> Result<Asked<'a>, String> {
    let input = fields.get("input").ok_or("you must provide an input")?;
    let (embed, prompt_tokens) = inputs(input, "input")?;
    let dimensions = optional(fields, "dimensions", "an integer", Value::as_u64)?;
    let dimensions = dimensions.map_or(Some(DIMENSIONS), |wanted| usize::try_from(wanted).ok());
    let dimensions = dimensions
        .filter(|dimensions| (1..=4096).contains(dimensions))
        .ok_or("Invalid value for 'dimensions'")?;
    let format = optional(fields, "encoding_format", "a string", Value::as_str)?;
    let base64 = match format.unwrap_or("float") {
        "float" => false,
        "base64" => true,
        other => return Err(format!("Invalid value for 'encoding_format': {other}")),
    };
    Ok(Asked {
        prompt_tokens,
        embed,
        dimensions,
        base64,
        ..asked
    })
}

/// The texts of an input, and its tokens: a quarter of the bytes of texts, or as many as there are.
fn inputs(input: &Value, name: &str) -> Result<(Vec<String>, u64), String> {
    let wrong = || format!("'$.{name}' is invalid. Please check the API reference.");
    let all = match input {
        Value::String(text) => vec![Value::from(text.as_str())],
        Value::Array(numbers) if numbers.first().is_some_and(Value::is_u64) => vec![input.clone()],
        Value::Array(texts) if (1..=2048).contains(&texts.len()) => texts.clone(),
        _ => return Err(wrong()),
    };
    let (mut texts, mut bytes, mut numbers) = (Vec::new(), 0, 0);
    for value in all {
        match &value {
            Value::String(text) if !text.is_empty() || name == "prompt" => {
                bytes += text.len() as u64;
            }
            Value::Array(ids) if !ids.is_empty() && ids.iter().all(Value::is_u64) => {
                numbers += ids.len() as u64;
            }
            _ => return Err(wrong()),
        }
        texts.push(value.to_string());
    }
    let count = if numbers > 0 { numbers } else { tokens(bytes) };
    Ok((texts, count))
}

/// A legacy completion.
pub(super) struct Completion<'p> {
    plan: &'p Plan<'p>,
    /// Whether usage is announced in this answer.
    shown: bool,
    announced: Option<Announced>,
}

impl<'p> Completion<'p> {
    pub(super) fn new(plan: &'p Plan<'p>) -> Self {
        let openai = plan.behaviour.dialect == Dialect::OpenAi || plan.place.azure;
        Self {
            plan,
            shown: !openai || !plan.stream || plan.include_usage,
            announced: None,
        }
    }

    /// The object with these choices and further members.
    fn object(&self, choices: &str, more: &str) -> String {
        format!(
            r#"{{"id":"cmpl-mock-{}","object":"text_completion","created":{},"model":{},"choices":[{choices}]{more}}}"#,
            self.plan.seq,
            self.plan.created,
            quoted(&self.plan.model)
        )
    }

    fn choice(index: u64, text: &str, finish: Option<&str>) -> String {
        let finish = finish.map_or_else(|| "null".to_owned(), quoted);
        format!(r#"{{"text":"{text}","index":{index},"logprobs":null,"finish_reason":{finish}}}"#)
    }

    fn finish(&self) -> &'static str {
        if self.plan.limited { "length" } else { "stop" }
    }

    /// The member with the usage, which counts as announced from here on.
    fn usage(&mut self) -> String {
        if !self.shown {
            return String::new();
        }
        self.announced = self.plan.usage.announced();
        self.plan.usage.member("usage", shape::usage)
    }

    fn event(&self, out: &mut Vec<u8>, choices: &str, more: &str) {
        // Writing to a `Vec` cannot fail.
        let _ = write!(out, "data: {}\n\n", self.object(choices, more));
    }

    fn failure(&self) -> String {
        let code = self.plan.behaviour.code.as_deref();
        let error = shape::error(Dialect::OpenAi, 502, "Provider returned error", code, None);
        // Only the member, for there is more in the object.
        format!(",{}", error.trim_start_matches('{').trim_end_matches('}')) + "}"
    }
}

impl Speaker for Completion<'_> {
    fn opening(&mut self, out: &mut Vec<u8>) {
        if self.plan.behaviour.usage == UsageForm::Early {
            let usage = self.usage();
            self.event(out, &Self::choice(0, "", None), &usage);
        }
    }

    fn chunk(&mut self, index: u64, out: &mut Vec<u8>) {
        let mut text = Vec::with_capacity(32);
        let (index, choice) = (index / self.plan.choices, index % self.plan.choices);
        self.plan.content.chunk(index, &mut text);
        let choice = Self::choice(choice, &String::from_utf8_lossy(&text), None);
        self.event(out, &choice, "");
    }

    fn closing(&mut self, out: &mut Vec<u8>) {
        for choice in 0..self.plan.choices {
            let choice = Self::choice(choice, "", Some(self.finish()));
            self.event(out, &choice, "");
        }
    }

    fn farewell(&mut self, out: &mut Vec<u8>) {
        let times = match self.plan.behaviour.usage {
            UsageForm::Early => 0,
            UsageForm::Twice => 2,
            _ => 1,
        };
        for _ in 0..times {
            let usage = self.usage();
            if !usage.is_empty() {
                self.event(out, "", &usage);
            }
        }
    }

    fn error(&mut self, produced: u64, out: &mut Vec<u8>) {
        let mut more = self.failure();
        if let Some(cost) = self.plan.behaviour.error_cost {
            let prompt = self.plan.prompt_tokens;
            self.announced = Some(Announced {
                prompt_tokens: saturating(prompt),
                completion_tokens: saturating(produced),
                cost_nanos: Some(cost.0),
                ..Announced::default()
            });
            more.push_str(&format!(
                r#","usage":{{"prompt_tokens":{prompt},"completion_tokens":{produced},"total_tokens":{},"cost":{cost}}}"#,
                prompt.saturating_add(produced)
            ));
        }
        let choice = Self::choice(0, "", Some("error"));
        self.event(out, &choice, &more);
    }

    fn done(&self) -> bool {
        true
    }

    fn announced(&self) -> Option<Announced> {
        self.announced
    }

    fn whole(&mut self, chunks: u64, failed: bool) -> Whole {
        let finish = if failed { "error" } else { self.finish() };
        let text = self.plan.content.text(chunks);
        let choices: Vec<String> = (0..self.plan.choices)
            .map(|choice| Self::choice(choice, &text, Some(finish)))
            .collect();
        let mut more = self.usage();
        if self.plan.behaviour.usage == UsageForm::Twice {
            more = more.repeat(2);
        }
        if failed {
            more.push_str(&self.failure());
        }
        Whole {
            status: 200,
            body: self.object(&choices.join(","), &more).into_bytes(),
        }
    }
}
