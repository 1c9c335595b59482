//! What the names in a request say about the texts beside them.

use super::Source;
use crate::wire::Dialect;

/// What a top-level field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// Nothing that a model reads.
    Ignored,
    /// What no model reads, and a provider keeps.
    Carried,
    /// Schemas and descriptions of tools, which the operator wrote.
    Descriptions,
    /// Text, or parts and items, of whoever is named unless they say otherwise themselves.
    Said(Option<Source>),
    /// Messages.
    Turns,
    /// Nobody knows.
    Unknown,
}

/// What a top-level field of a dialect holds.
pub(super) fn field(dialect: Dialect, key: &str) -> Field {
    match (dialect, key) {
        (
            _,
            "model"
            | "models"
            | "user"
            | "safety_identifier"
            | "prompt_cache_key"
            | "prompt_cache_retention"
            | "stop"
            | "stop_sequences"
            | "service_tier"
            | "tool_choice"
            | "function_call"
            | "provider"
            | "plugins"
            | "transforms"
            | "route"
            | "session_id"
            | "reasoning_effort"
            | "verbosity"
            | "include"
            | "truncation"
            | "modalities"
            | "audio"
            | "previous_response_id"
            | "conversation"
            | "encoding_format"
            | "stream"
            | "stream_options"
            | "max_tokens"
            | "temperature"
            | "top_p"
            | "store"
            | "n"
            | "betas"
            | "anthropic_version"
            | "anthropic_beta"
            | "cache_control"
            | "container"
            | "usage",
        ) => Field::Ignored,
        (_, "tools" | "functions" | "response_format" | "mcp_servers" | "output_format")
        | (Dialect::Responses, "text")
        | (Dialect::Gemini, "generationConfig") => Field::Descriptions,
        (_, "metadata") => Field::Carried,
        (_, "messages" | "contents") => Field::Turns,
        (
            _,
            "system" | "instructions" | "systemInstruction" | "system_instruction"
            | "system_prompt",
        ) => Field::Said(Some(Source::System)),
        (_, "prompt" | "input" | "suffix") => Field::Said(Some(Source::User)),
        (_, "prediction") => Field::Said(Some(Source::Assistant)),
        _ => Field::Unknown,
    }
}

/// Where keys mean nothing, and what is text there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// Everything that a tool is called with.
    Arguments,
    /// What is written for a reader, among the words of a schema.
    Descriptions,
    /// Everything, but who the client says it asks for.
    Carried,
    /// Whatever could be text.
    Unknown,
}

impl Zone {
    /// Whether the string beside `key` is a text.
    pub(super) fn holds(self, key: &str, inner: &str) -> bool {
        match self {
            Self::Arguments => true,
            Self::Carried => key != "user_id",
            Self::Descriptions => key == "description" || reads_as_text(inner),
            Self::Unknown => reads_as_text(inner),
        }
    }
}

/// Who speaks in a message of a role.
pub(super) fn of_role(role: &str) -> Source {
    const ROLES: [(&str, Source); 5] = [
        ("user", Source::User),
        ("assistant", Source::Assistant),
        ("system", Source::System),
        ("developer", Source::System),
        ("model", Source::Assistant),
    ];
    // Not every server behind minds capitals.
    let role = role.trim();
    let known = ROLES
        .iter()
        .find(|(name, _)| role.eq_ignore_ascii_case(name));
    known.map_or(Source::Tool, |(_, source)| *source)
}

/// Who speaks in an item or part of a type; `None` where the message around it tells.
pub(super) fn of_kind(kind: &str) -> Option<Source> {
    match kind {
        "document" | "search_result" | "file" | "input_file" | "container_upload" => {
            Some(Source::Tool)
        }
        "thinking" | "redacted_thinking" | "reasoning" | "refusal" | "tool_use"
        | "server_tool_use" | "mcp_tool_use" => Some(Source::Assistant),
        _ if kind.ends_with("_output") || kind.ends_with("_result") || kind.ends_with("_error") => {
            Some(Source::Tool)
        }
        _ if kind.ends_with("_call") => Some(Source::Assistant),
        _ => None,
    }
}

/// Who speaks in what stands beside a key, whatever stands around it.
pub(super) fn of_key(key: &str) -> Option<Source> {
    match key {
        "tool_calls" | "function_call" | "functionCall" | "arguments" | "refusal"
        | "reasoning_content" | "reasoning_details" => Some(Source::Assistant),
        "output" | "outputs" | "results" | "functionResponse" | "function_response" => {
            Some(Source::Tool)
        }
        _ => None,
    }
}

/// Whether the string beside a key may be text: names and ids of the wire format are not.
pub(super) fn is_text(key: &str, inner: &str) -> bool {
    match key {
        "id" | "tool_call_id" | "tool_use_id" | "call_id" | "item_id" | "status" | "detail"
        | "media_type" | "mime_type" | "mimeType" | "format" | "phase" | "ttl" | "server_label"
        | "name" | "container_id" => reads_as_text(inner),
        _ => true,
    }
}

/// Whether what stands beside a key is mostly no text: pictures, sound, addresses, sealed thoughts.
pub(super) fn is_blob(key: &str) -> bool {
    matches!(
        key,
        "data"
            | "url"
            | "uri"
            | "fileUri"
            | "file_url"
            | "file_data"
            | "file_id"
            | "image_url"
            | "encrypted_content"
            | "encrypted_index"
            | "signature"
            | "thoughtSignature"
            | "thought_signature"
    )
}

/// Whether a string looks like something to read, by its beginning: there is a blank in it, or a
/// character that ids and addresses do not have.
pub(super) fn reads_as_text(inner: &str) -> bool {
    let head = inner.as_bytes().get(..256).unwrap_or(inner.as_bytes());
    head.iter()
        .any(|byte| *byte <= b' ' || !byte.is_ascii() || matches!(byte, b'<' | b'>'))
        || has_escape(head)
}

/// Whether an escape other than that of a slash is there.
fn has_escape(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\\', head).any(|at| head.get(at + 1) != Some(&b'/'))
}
