//! Writing a request that every compatible provider takes.
//!
//! Decides how turns become messages and what is left unsaid: what the model thought before is not
//! sent back, and neither are hints about caching, because providers refuse fields that they do not
//! know. OpenRouter, known by its fallbacks, takes both.

use super::reply::details;
use crate::dialect::effort;
use crate::dialect::form::{
    Conversation, Feature, Format, Inexpressible, Media, Part, Role, Text, Tool, ToolChoice, Turn,
    Writing,
};
use crate::dialect::json::{Members, string};

type Written = Result<(), Inexpressible>;

/// The most texts that may end an answer.
const MAX_STOPS: usize = 4;

/// The schema of a function without arguments.
const NO_ARGUMENTS: &str = r#"{"type":"object","properties":{}}"#;

/// Writes a request.
pub(in crate::dialect) fn write_request(
    conversation: &Conversation<'_>,
    writing: &Writing<'_>,
) -> Result<Vec<u8>, Inexpressible> {
    if conversation.top_k.is_some() {
        return Err(Inexpressible::Feature(Feature::TopK));
    }
    if conversation.stop.len() > MAX_STOPS {
        return Err(Inexpressible::Feature(Feature::Stop));
    }
    let openrouter = !writing.fallbacks.is_empty();
    let max_tokens = writing.max_tokens.or(conversation.max_tokens);
    let mut out = Vec::with_capacity(4096);
    let mut members = Members::open(&mut out);
    if openrouter {
        members.text("model", "openrouter/auto");
        members.array("models", writing.fallbacks, |out, model| string(out, model));
        members.text("route", "fallback");
    } else {
        members.text("model", writing.model);
    }
    let mut messages = Messages {
        out: members.key("messages"),
        first: true,
        openrouter,
    };
    messages.out.push(b'[');
    for turn in &conversation.turns {
        messages.turn(turn)?;
    }
    messages.out.push(b']');
    if !conversation.tools.is_empty() {
        members.array("tools", &conversation.tools, |out, one| {
            tool(out, one, openrouter);
        });
        if let Some(parallel) = conversation.parallel_tools {
            members.flag("parallel_tool_calls", parallel);
        }
        if let Some(choice) = &conversation.tool_choice {
            tool_choice(&mut members, choice);
        }
    }
    if let Some(most) = max_tokens {
        members.number(writing.max_tokens_field, most);
    }
    members.json("temperature", conversation.temperature.as_ref());
    members.json("top_p", conversation.top_p.as_ref());
    members.json("frequency_penalty", conversation.frequency_penalty.as_ref());
    members.json("presence_penalty", conversation.presence_penalty.as_ref());
    members.json("seed", conversation.seed.as_ref());
    if !conversation.stop.is_empty() {
        members.array("stop", &conversation.stop, |out, text| string(out, text));
    }
    if let Some(wanted) = &conversation.format {
        format(&mut members, wanted);
    }
    let most = max_tokens.unwrap_or(writing.default_max_tokens);
    if let Some(effort) = conversation
        .reasoning
        .as_ref()
        .and_then(|reasoning| effort::write(reasoning, most))
    {
        members.text("reasoning_effort", effort);
    }
    if let Some(user) = &conversation.user {
        members.text("user", user);
    }
    if conversation.stream {
        members.flag("stream", true);
        let mut options = members.object("stream_options");
        options.flag("include_usage", true);
        options.close();
    }
    members.close();
    Ok(out)
}

fn tool(out: &mut Vec<u8>, tool: &Tool<'_>, openrouter: bool) {
    let mut item = Members::open(out);
    item.text("type", "function");
    let mut function = item.object("function");
    function.text("name", &tool.name);
    if let Some(description) = &tool.description {
        function.text("description", description);
    }
    let schema = tool.schema.as_ref().map_or(NO_ARGUMENTS, |json| &json.0);
    function.raw("parameters", schema);
    if let Some(strict) = tool.strict {
        function.flag("strict", strict);
    }
    function.close();
    item.json("cache_control", tool.cache.as_ref().filter(|_| openrouter));
    item.close();
}

fn tool_choice(members: &mut Members<'_>, choice: &ToolChoice<'_>) {
    match choice {
        ToolChoice::Auto => members.text("tool_choice", "auto"),
        ToolChoice::None => members.text("tool_choice", "none"),
        ToolChoice::Required => members.text("tool_choice", "required"),
        ToolChoice::Named(name) => {
            let mut choice = members.object("tool_choice");
            choice.text("type", "function");
            let mut function = choice.object("function");
            function.text("name", name);
            function.close();
            choice.close();
        }
    }
}

fn format(members: &mut Members<'_>, format: &Format<'_>) {
    match format {
        Format::Text => {}
        Format::Object => members.raw("response_format", r#"{"type":"json_object"}"#),
        Format::Schema {
            name,
            description,
            schema,
            strict,
        } => {
            let mut format = members.object("response_format");
            format.text("type", "json_schema");
            let mut inner = format.object("json_schema");
            inner.text("name", name);
            if let Some(description) = description {
                inner.text("description", description);
            }
            inner.json("schema", Some(schema));
            if let Some(strict) = strict {
                inner.flag("strict", *strict);
            }
            inner.close();
            format.close();
        }
    }
}

/// The array of messages that is being written.
struct Messages<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
    openrouter: bool,
}

impl Messages<'_> {
    fn next(&mut self, role: &str) -> Members<'_> {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
        let mut message = Members::open(self.out);
        message.text("role", role);
        message
    }

    fn turn(&mut self, turn: &Turn<'_>) -> Written {
        match turn.role {
            Role::System => self.system(&turn.parts),
            Role::User => self.user(&turn.parts),
            Role::Assistant => self.assistant(&turn.parts),
        }
    }

    fn system(&mut self, parts: &[Part<'_>]) -> Written {
        if let Some(other) = parts.iter().find(|part| text(part).is_none()) {
            return Err(misplaced(other));
        }
        if parts.is_empty() {
            return Ok(());
        }
        if self.openrouter && parts.iter().any(has_cache) {
            return self.content("system", parts.iter());
        }
        // Not everyone takes an array here.
        let texts = parts.iter().filter_map(text).collect::<Vec<_>>();
        let mut message = self.next("system");
        message.text("content", &texts.join("\n\n"));
        message.close();
        Ok(())
    }

    /// Results of tools are messages of their own and come first: they must follow their calls.
    fn user(&mut self, parts: &[Part<'_>]) -> Written {
        let mut shown = Vec::new();
        for part in parts {
            if let Part::ToolResult { id, content, .. } = part {
                self.result(id, content, &mut shown)?;
            }
        }
        let own =
            |part: &&Part<'_>| !matches!(part, Part::ToolResult { .. } | Part::Reasoning { .. });
        let content = shown.iter().chain(parts.iter().filter(own));
        let content = content.collect::<Vec<_>>();
        match content.as_slice() {
            [] => {}
            [Part::Text { text, cache }] if cache.is_none() || !self.openrouter => {
                let mut message = self.next("user");
                message.text("content", text);
                message.close();
            }
            content => self.content("user", content.iter().copied())?,
        }
        Ok(())
    }

    /// A result: its texts. What a message of a tool has no place for is `shown` by the user. That
    /// the call failed is for the text to say: there is no other place for it.
    fn result<'p>(
        &mut self,
        id: &str,
        content: &'p [Part<'p>],
        shown: &mut Vec<Part<'p>>,
    ) -> Written {
        let texts = content.iter().filter_map(text).collect::<Vec<_>>();
        let others = content.iter().filter(|part| text(part).is_none());
        let others = others.cloned().collect::<Vec<_>>();
        let mut message = self.next("tool");
        message.text("tool_call_id", id);
        if texts.is_empty() && !others.is_empty() {
            message.text("content", "The result is in the next message of the user.");
        } else {
            message.text("content", &texts.join("\n"));
        }
        message.close();
        if !others.is_empty() {
            shown.push(Part::Text {
                text: format!("From the result of the tool call {id}:").into(),
                cache: None,
            });
            shown.extend(others);
        }
        Ok(())
    }

    fn assistant(&mut self, parts: &[Part<'_>]) -> Written {
        let said = |part: &Part<'_>| !matches!(part, Part::Reasoning { .. });
        let fits = |part: &&Part<'_>| {
            matches!(
                part,
                Part::Text { .. }
                    | Part::Reasoning { .. }
                    | Part::Refusal(_)
                    | Part::ToolCall { .. }
            )
        };
        if let Some(other) = parts.iter().find(|part| !fits(part)) {
            return Err(misplaced(other));
        }
        if !parts.iter().any(said) {
            return Ok(());
        }
        let openrouter = self.openrouter;
        let mut message = self.next("assistant");
        let texts = parts.iter().filter_map(text).collect::<Vec<_>>();
        match texts.as_slice() {
            [] => message.raw("content", "null"),
            texts => message.text("content", &texts.concat()),
        }
        let refusals = parts.iter().filter_map(|part| match part {
            Part::Refusal(text) => Some(&**text),
            _ => None,
        });
        let refusal = refusals.collect::<Vec<_>>().concat();
        if !refusal.is_empty() {
            message.text("refusal", &refusal);
        }
        if openrouter {
            details(&mut message, parts);
        }
        let calls = || parts.iter().filter_map(called);
        if calls().next().is_some() {
            message.array("tool_calls", calls(), call);
        }
        message.close();
        Ok(())
    }

    /// A message with its content in parts.
    fn content<'p>(&mut self, role: &str, parts: impl Iterator<Item = &'p Part<'p>>) -> Written {
        let openrouter = self.openrouter;
        let mut message = self.next(role);
        let mut result = Ok(());
        message.array("content", parts, |out, part| {
            let written = content_part(out, part, openrouter);
            if result.is_ok() {
                result = written;
            }
        });
        message.close();
        result
    }
}

fn text<'p>(part: &'p Part<'_>) -> Option<&'p str> {
    match part {
        Part::Text { text, .. } => Some(text),
        _ => None,
    }
}

const fn has_cache(part: &Part<'_>) -> bool {
    matches!(part, Part::Text { cache: Some(_), .. })
}

type Call<'p> = (&'p str, &'p str, &'p str);

fn called<'p>(part: &'p Part<'_>) -> Option<Call<'p>> {
    match part {
        Part::ToolCall {
            id,
            name,
            arguments,
            ..
        } => Some((id, name, arguments)),
        _ => None,
    }
}

fn call(out: &mut Vec<u8>, (id, name, arguments): Call<'_>) {
    let mut item = Members::open(out);
    item.text("id", id);
    item.text("type", "function");
    let mut function = item.object("function");
    function.text("name", name);
    let arguments = if arguments.is_empty() {
        "{}"
    } else {
        arguments
    };
    function.text("arguments", arguments);
    function.close();
    item.close();
}

/// What cannot stand where it stands.
fn misplaced(part: &Part<'_>) -> Inexpressible {
    Inexpressible::Feature(match part {
        Part::Image(_) => Feature::Image,
        Part::Document { .. } => Feature::Document,
        Part::Audio(_) => Feature::Audio,
        Part::ToolResult { .. } => Feature::ToolResult,
        Part::ToolCall { .. } => Feature::Tools,
        Part::Text { .. } | Part::Refusal(_) => Feature::Format,
        Part::Reasoning { .. } => Feature::Reasoning,
    })
}

fn content_part(out: &mut Vec<u8>, part: &Part<'_>, openrouter: bool) -> Written {
    let mut item = Members::open(out);
    match part {
        Part::Text { text, cache } => {
            item.text("type", "text");
            item.text("text", text);
            item.json("cache_control", cache.as_ref().filter(|_| openrouter));
        }
        Part::Refusal(text) => {
            item.text("type", "text");
            item.text("text", text);
        }
        Part::Image(media) => {
            item.text("type", "image_url");
            let mut image = item.object("image_url");
            match media {
                Media::Url(url) => image.text("url", url),
                Media::Inline { mime, data } => image.text("url", &data_url(mime, data)),
            }
            image.close();
        }
        Part::Document { media, name } => {
            let Media::Inline { mime, data } = media else {
                return Err(Inexpressible::Feature(Feature::MediaUrl));
            };
            item.text("type", "file");
            let mut file = item.object("file");
            file.text("filename", name.as_deref().unwrap_or("document.pdf"));
            file.text("file_data", &data_url(mime, data));
            file.close();
        }
        Part::Audio(media) => {
            let (format, data) = sound(media)?;
            item.text("type", "input_audio");
            let mut audio = item.object("input_audio");
            audio.text("data", data);
            audio.text("format", format);
            audio.close();
        }
        Part::Reasoning { .. } | Part::ToolCall { .. } | Part::ToolResult { .. } => {
            return Err(misplaced(part));
        }
    }
    item.close();
    Ok(())
}

fn data_url(mime: &str, data: &str) -> String {
    format!("data:{mime};base64,{data}")
}

/// The format and the bytes of sound, which may be one of two.
fn sound<'p>(media: &'p Media<'_>) -> Result<(&'static str, &'p Text<'p>), Inexpressible> {
    let Media::Inline { mime, data } = media else {
        return Err(Inexpressible::Feature(Feature::MediaUrl));
    };
    match &**mime {
        "audio/wav" | "audio/x-wav" | "audio/wave" => Ok(("wav", data)),
        "audio/mpeg" | "audio/mp3" => Ok(("mp3", data)),
        _ => Err(Inexpressible::Feature(Feature::Audio)),
    }
}
