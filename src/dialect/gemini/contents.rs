//! What both sides said, in Google's words.
//!
//! Decides what a part is called, whose turn it belongs to, and where signatures go.

use super::OURS;
use super::json::Json;
use crate::dialect::form::{Feature, Inexpressible, Media, Part, Role, Turn};
use crate::json::{Limits, object};
use std::collections::HashMap;

/// What Google takes in place of a signature that was lost on the way.
const SKIP_CHECK: &str = "skip_thought_signature_validator";

/// What both sides said, turn by turn: Google wants the results of all calls of a turn in one.
#[derive(Default)]
pub(super) struct Contents<'c> {
    pub(super) all: Vec<Content<'c>>,
    /// The names of the tools called so far, by the call's id.
    calls: HashMap<&'c str, &'c str>,
}

/// One turn.
pub(super) struct Content<'c> {
    pub(super) role: &'static str,
    parts: Vec<Written<'c>>,
}

/// A part as it is written.
struct Written<'c> {
    what: What<'c>,
    signature: Option<&'c str>,
}

enum What<'c> {
    Text(&'c str),
    Thought(&'c str),
    Media(&'c Media<'c>),
    Call {
        id: &'c str,
        name: &'c str,
        arguments: &'c str,
    },
    Result {
        id: &'c str,
        name: &'c str,
        content: &'c [Part<'c>],
        error: bool,
    },
}

impl<'c> Contents<'c> {
    /// Adds a turn.
    pub(super) fn turn(&mut self, turn: &'c Turn<'_>) -> Result<(), Inexpressible> {
        let role = match turn.role {
            Role::System | Role::User => "user",
            Role::Assistant => "model",
        };
        let mut parts = Vec::with_capacity(turn.parts.len());
        let mut proof = None;
        for part in &turn.parts {
            let Some(mut written) = self.part(part)? else {
                continue;
            };
            if matches!(written.what, What::Thought(_)) {
                proof = written.signature.take();
            } else if !matches!(written.what, What::Text(""))
                && let Some(proof) = proof.take()
            {
                written.signature.get_or_insert(proof);
            }
            parts.push(written);
            if let Part::ToolResult { content, .. } = part {
                for shown in content {
                    if let Part::Image(media) | Part::Audio(media) | Part::Document { media, .. } =
                        shown
                    {
                        parts.push(What::Media(reachable(media)?).into());
                    }
                }
            }
        }
        if let (Some(proof), Some(last)) = (proof, parts.last_mut()) {
            last.signature = Some(proof);
        }
        // An empty text stands for itself only where it carries something.
        parts.retain(|part| {
            part.signature.is_some() || !matches!(part.what, What::Text("") | What::Thought(""))
        });
        if parts.is_empty() {
            return Ok(());
        }
        match self.all.last_mut() {
            Some(last) if last.role == role => last.parts.append(&mut parts),
            _ => self.all.push(Content { role, parts }),
        }
        Ok(())
    }

    fn part(&mut self, part: &'c Part<'_>) -> Result<Option<Written<'c>>, Inexpressible> {
        let what = match part {
            Part::Text { text, .. } | Part::Refusal(text) => What::Text(text),
            Part::Image(media) | Part::Audio(media) | Part::Document { media, .. } => {
                What::Media(reachable(media)?)
            }
            Part::Reasoning {
                text, signature, ..
            } => {
                // What another model thought is not for this one.
                let own = signature.as_deref().and_then(|one| one.strip_prefix(OURS));
                return Ok(own.map(|signature| Written {
                    what: What::Thought(text),
                    signature: Some(signature),
                }));
            }
            Part::ToolCall {
                id,
                name,
                arguments,
                signature,
            } => {
                self.calls.insert(id, name);
                return Ok(Some(Written {
                    what: What::Call {
                        id,
                        name,
                        arguments,
                    },
                    signature: signature.as_deref(),
                }));
            }
            Part::ToolResult { id, content, error } => {
                let name = self
                    .calls
                    .get(id.as_ref())
                    .ok_or(Inexpressible::Feature(Feature::ToolResult))?;
                What::Result {
                    id,
                    name,
                    content,
                    error: *error,
                }
            }
        };
        Ok(Some(what.into()))
    }

    /// Brings the results of each turn to its start, all of them: pictures that tools gave, and what
    /// the user says to it, follow.
    pub(super) fn results_first(&mut self) {
        for content in &mut self.all {
            content
                .parts
                .sort_by_key(|part| !matches!(part.what, What::Result { .. }));
        }
    }

    /// Puts something in the place of signatures that no client brought back: on the first call of
    /// each turn.
    pub(super) fn sign(&mut self) {
        for content in &mut self.all {
            let first = content
                .parts
                .iter_mut()
                .find(|part| matches!(part.what, What::Call { .. }));
            if let Some(call) = first {
                call.signature.get_or_insert(SKIP_CHECK);
            }
        }
    }
}

impl<'c> From<What<'c>> for Written<'c> {
    fn from(what: What<'c>) -> Self {
        Self {
            what,
            signature: None,
        }
    }
}

/// The media, if Google can get at it: it fetches nothing but its own files.
fn reachable<'c>(media: &'c Media<'_>) -> Result<&'c Media<'c>, Inexpressible> {
    let own = match media {
        Media::Inline { .. } => true,
        Media::Url(url) => {
            url.starts_with("gs://")
                || url
                    .strip_prefix("https://generativelanguage.googleapis.com/")
                    .is_some_and(|path| path.contains("files/"))
        }
    };
    own.then_some(media)
        .ok_or(Inexpressible::Feature(Feature::MediaUrl))
}

impl Content<'_> {
    /// Writes the parts as a member.
    pub(super) fn write_parts(&self, json: &mut Json) {
        json.array("parts", &self.parts, |json, part| {
            json.object(|json| {
                part.what.write(json);
                if let Some(signature) = part.signature {
                    json.string("thoughtSignature", signature);
                }
            });
        });
    }
}

impl What<'_> {
    fn write(&self, json: &mut Json) {
        match self {
            Self::Text(text) => json.string("text", text),
            Self::Thought(text) => {
                json.string("text", text);
                json.raw("thought", "true");
            }
            Self::Media(Media::Inline { mime, data }) => json.member("inlineData", |json| {
                json.string("mimeType", mime);
                json.string("data", data);
            }),
            Self::Media(Media::Url(url)) => {
                json.member("fileData", |json| json.string("fileUri", url));
            }
            Self::Call {
                id,
                name,
                arguments,
            } => json.member("functionCall", |json| {
                json.string("id", id);
                json.string("name", name);
                arguments_of(json, arguments);
            }),
            Self::Result {
                id,
                name,
                content,
                error,
            } => json.member("functionResponse", |json| {
                json.string("id", id);
                json.string("name", name);
                json.member("response", |json| {
                    let key = if *error { "error" } else { "result" };
                    json.string(key, &text_of(content));
                });
            }),
        }
    }
}

/// The arguments of an earlier call. They came from a client: what is no object is wrapped in one.
fn arguments_of(json: &mut Json, arguments: &str) {
    if arguments.trim().is_empty() {
        json.raw("args", "{}");
    } else if object(arguments.as_bytes(), Limits::default()).is_ok() {
        json.raw("args", arguments);
    } else {
        json.member("args", |json| json.string("arguments", arguments));
    }
}

fn text_of(content: &[Part<'_>]) -> String {
    let texts = content.iter().filter_map(|part| match part {
        Part::Text { text, .. } | Part::Refusal(text) => Some(text.as_ref()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}
