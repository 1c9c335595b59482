//! The common form as a request: its items.
//!
//! Decides which item a part becomes. Texts of a side that follow each other are one message. What
//! was thought goes back only with the provider's own proof of it: anything else would be refused.

use super::OURS;
use crate::dialect::form::{Feature, Inexpressible, Media, Part, Role, Text, Turn};
use crate::dialect::json::Members;

type Written = Result<(), Inexpressible>;

/// The array of items that is being written.
pub(super) struct Items<'o> {
    out: &'o mut Vec<u8>,
    written: u32,
    /// Whether items have ids.
    ids: bool,
}

impl<'o> Items<'o> {
    pub(super) fn open(out: &'o mut Vec<u8>, ids: bool) -> Self {
        out.push(b'[');
        Self {
            out,
            written: 0,
            ids,
        }
    }

    pub(super) fn close(self) {
        self.out.push(b']');
    }

    /// Adds a turn.
    pub(super) fn turn(&mut self, turn: &Turn<'_>) -> Written {
        let mut rest = turn.parts.as_slice();
        while let Some((first, behind)) = rest.split_first() {
            match first {
                Part::Reasoning {
                    text,
                    signature,
                    redacted: false,
                } if turn.role == Role::Assistant => self.thought(text, signature.as_ref()),
                Part::Reasoning { .. } => {}
                Part::ToolCall {
                    id,
                    name,
                    arguments,
                    ..
                } if turn.role == Role::Assistant => self.call(id, name, arguments),
                Part::ToolResult { id, content, .. } if turn.role == Role::User => {
                    self.result(id, content)?;
                }
                _ => {
                    let length = rest.iter().take_while(|part| !is_item(part)).count();
                    if length == 0 {
                        return Err(misplaced(first));
                    }
                    let (message, behind) = rest.split_at(length);
                    self.message(turn.role, message)?;
                    rest = behind;
                    continue;
                }
            }
            rest = behind;
        }
        Ok(())
    }

    fn next(&mut self, kind: &str) -> Members<'_> {
        if self.written > 0 {
            self.out.push(b',');
        }
        self.written += 1;
        let mut item = Members::open(self.out);
        item.text("type", kind);
        item
    }

    /// An id that no other item of the request has.
    fn id(&self, prefix: &str) -> Option<String> {
        self.ids.then(|| format!("{prefix}_{}", self.written))
    }

    fn message(&mut self, role: Role, parts: &[Part<'_>]) -> Written {
        let id = self.id("msg").filter(|_| role == Role::Assistant);
        let mut item = self.next("message");
        if let Some(id) = id {
            item.text("id", &id);
            item.text("status", "completed");
        }
        item.text(
            "role",
            match role {
                Role::System => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
            },
        );
        let written = contents(&mut item, "content", role, parts);
        item.close();
        written
    }

    fn thought(&mut self, text: &str, signature: Option<&Text<'_>>) {
        let Some(encrypted) = signature.and_then(|one| one.strip_prefix(OURS)) else {
            return;
        };
        let id = self.id("rs");
        let mut item = self.next("reasoning");
        if let Some(id) = id {
            item.text("id", &id);
        }
        let summary = Some(text).filter(|text| !text.is_empty());
        item.array("summary", summary, |out, text| {
            let mut part = Members::open(out);
            part.text("type", "summary_text");
            part.text("text", text);
            part.close();
        });
        item.text("encrypted_content", encrypted);
        item.close();
    }

    fn call(&mut self, id: &str, name: &str, arguments: &str) {
        let mut item = self.next("function_call");
        item.text("call_id", id);
        item.text("name", name);
        let arguments = if arguments.trim().is_empty() {
            "{}"
        } else {
            arguments
        };
        item.text("arguments", arguments);
        item.close();
    }

    /// A result: its text, or its parts where there is more to it. That the call failed is for the
    /// text to say: there is no other place for it.
    fn result(&mut self, id: &str, content: &[Part<'_>]) -> Written {
        let mut item = self.next("function_call_output");
        item.text("call_id", id);
        let written = match content {
            [] => {
                item.text("output", "");
                Ok(())
            }
            [Part::Text { text, .. }] => {
                item.text("output", text);
                Ok(())
            }
            parts => contents(&mut item, "output", Role::User, parts),
        };
        item.close();
        written
    }
}

/// Whether a part is an item of its own, and not a part of a message.
const fn is_item(part: &Part<'_>) -> bool {
    matches!(
        part,
        Part::Reasoning { .. } | Part::ToolCall { .. } | Part::ToolResult { .. }
    )
}

fn contents(item: &mut Members<'_>, key: &str, role: Role, parts: &[Part<'_>]) -> Written {
    let mut result = Ok(());
    item.array(key, parts, |out, one| {
        let mut members = Members::open(out);
        let written = content(&mut members, role, one);
        members.close();
        if result.is_ok() {
            result = written;
        }
    });
    result
}

fn content(to: &mut Members<'_>, role: Role, part: &Part<'_>) -> Written {
    match (part, role) {
        (Part::Text { text, .. }, Role::Assistant) => {
            to.text("type", "output_text");
            to.text("text", text);
            to.raw("annotations", "[]");
        }
        (Part::Refusal(text), Role::Assistant) => {
            to.text("type", "refusal");
            to.text("refusal", text);
        }
        (Part::Text { text, .. } | Part::Refusal(text), _) => {
            to.text("type", "input_text");
            to.text("text", text);
        }
        (Part::Image(media), Role::User) => {
            to.text("type", "input_image");
            match media {
                Media::Url(url) => to.text("image_url", url),
                Media::Inline { mime, data } => to.text("image_url", &data_url(mime, data)),
            }
            to.text("detail", "auto");
        }
        (Part::Document { media, name }, Role::User) => {
            to.text("type", "input_file");
            match media {
                Media::Url(url) => to.text("file_url", url),
                Media::Inline { mime, data } => {
                    to.text("filename", name.as_deref().unwrap_or("document.pdf"));
                    to.text("file_data", &data_url(mime, data));
                }
            }
        }
        (Part::Audio(media), Role::User) => {
            let (format, data) = sound(media)?;
            to.text("type", "input_audio");
            let mut audio = to.object("input_audio");
            audio.text("data", data);
            audio.text("format", format);
            audio.close();
        }
        _ => return Err(misplaced(part)),
    }
    Ok(())
}

fn data_url(mime: &str, data: &str) -> String {
    format!("data:{mime};base64,{data}")
}

/// The format and the bytes of sound, which may be one of two.
fn sound<'p>(media: &'p Media<'_>) -> Result<(&'static str, &'p str), Inexpressible> {
    let Media::Inline { mime, data } = media else {
        return Err(Inexpressible::Feature(Feature::MediaUrl));
    };
    match &**mime {
        "audio/wav" | "audio/x-wav" | "audio/wave" => Ok(("wav", data)),
        "audio/mpeg" | "audio/mp3" => Ok(("mp3", data)),
        _ => Err(Inexpressible::Feature(Feature::Audio)),
    }
}

/// What cannot stand where it stands.
fn misplaced(part: &Part<'_>) -> Inexpressible {
    Inexpressible::Feature(match part {
        Part::Image(_) => Feature::Image,
        Part::Document { .. } => Feature::Document,
        Part::Audio(_) => Feature::Audio,
        Part::ToolCall { .. } => Feature::Tools,
        Part::ToolResult { .. } => Feature::ToolResult,
        Part::Reasoning { .. } => Feature::Reasoning,
        Part::Text { .. } | Part::Refusal(_) => Feature::Format,
    })
}
