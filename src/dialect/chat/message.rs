//! A message of the model, or a piece of one, as any compatible provider writes it.
//!
//! Decides which of several names for the same thought counts, and in which order parts are said:
//! thought, text, refusal. Read leniently: unknown fields and wrong types are skipped.

use crate::dialect::form::{Part, Text};
use crate::json::{Cursor, string, unescape};

/// The fields of a message or of a delta, unread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Message<'a> {
    content: Option<&'a str>,
    refusal: Option<&'a str>,
    reasoning: Option<&'a str>,
    reasoning_content: Option<&'a str>,
    details: Option<&'a str>,
    calls: Option<&'a str>,
    function: Option<&'a str>,
}

/// A call or a piece of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Call<'a> {
    pub(super) index: Option<u64>,
    pub(super) id: Option<Text<'a>>,
    pub(super) name: Option<Text<'a>>,
    pub(super) arguments: Option<Text<'a>>,
    pub(super) signature: Option<Text<'a>>,
}

impl<'a> Message<'a> {
    /// Takes the next value.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        let mut found = Self::default();
        cursor.object(|key, value| {
            let raw = value.skip()?;
            let field = match key {
                "content" => &mut found.content,
                "refusal" => &mut found.refusal,
                "reasoning" => &mut found.reasoning,
                "reasoning_content" => &mut found.reasoning_content,
                "reasoning_details" => &mut found.details,
                "tool_calls" => &mut found.calls,
                "function_call" => &mut found.function,
                _ => return Some(()),
            };
            *field = Some(raw);
            Some(())
        })?;
        Some(found)
    }

    /// Thought, text and refusal, in this order; nothing that is empty.
    pub(super) fn said(&self, each: &mut dyn FnMut(Part<'a>)) {
        self.thought(each);
        if let Some(raw) = self.content {
            content(&mut Cursor::new(raw), each);
        }
        if let Some(text) = text_of(self.refusal) {
            each(Part::Refusal(text));
        }
    }

    /// Some providers say the same thought under two or three names; the details say most.
    fn thought(&self, each: &mut dyn FnMut(Part<'a>)) {
        let details = self.details.map(details).unwrap_or_default();
        let has_text =
            |part: &Part<'_>| matches!(part, Part::Reasoning { text, .. } if !text.is_empty());
        if !details.iter().any(has_text)
            && let Some(text) = text_of(self.reasoning_content).or_else(|| text_of(self.reasoning))
        {
            each(thought(text));
        }
        details.into_iter().for_each(each);
    }

    /// The calls of tools, and the legacy call of a function.
    pub(super) fn calls(&self, each: &mut dyn FnMut(Call<'a>)) {
        if let Some(raw) = self.calls {
            Cursor::new(raw).array(|item| {
                each(call(item)?);
                Some(())
            });
        }
        if let Some(raw) = self.function.filter(|raw| raw.starts_with('{')) {
            let mut call = Call::default();
            if function(&mut Cursor::new(raw), &mut call).is_some() {
                each(call);
            }
        }
    }
}

/// The thought in a message of an earlier answer.
pub(super) fn reasoning(message: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    if let Some(message) = Message::read(&mut Cursor::new(message)) {
        message.thought(&mut |part| join(&mut parts, part));
    }
    parts
}

/// Appends a part: a signature alone belongs to the thought before it.
pub(super) fn join<'a>(parts: &mut Vec<Part<'a>>, part: Part<'a>) {
    if let Part::Reasoning {
        text,
        signature: Some(signature),
        redacted: false,
    } = &part
        && text.is_empty()
        && let Some(Part::Reasoning {
            signature: unsigned @ None,
            redacted: false,
            ..
        }) = parts.last_mut()
    {
        *unsigned = Some(signature.clone());
        return;
    }
    parts.push(part);
}

/// Google's proof in the `extra_content` of a call.
pub(super) fn thought_signature(extra: &str) -> Option<Text<'_>> {
    let mut found = None;
    Cursor::new(extra).object(|key, value| {
        if key != "google" {
            return value.skip().map(drop);
        }
        value.object(|key, value| {
            let raw = value.skip()?;
            if key == "thought_signature" {
                found = text_of(Some(raw));
            }
            Some(())
        })
    });
    found
}

fn thought(text: Text<'_>) -> Part<'_> {
    Part::Reasoning {
        text,
        signature: None,
        redacted: false,
    }
}

/// A string that is not empty.
fn text_of(raw: Option<&str>) -> Option<Text<'_>> {
    string(raw?).filter(|text| !text.is_empty())
}

/// A string, or an array of parts: texts, and thoughts in Mistral's way.
fn content<'a>(cursor: &mut Cursor<'a>, each: &mut dyn FnMut(Part<'a>)) -> Option<()> {
    if cursor.peek()? != b'[' {
        if let Some(inner) = cursor.string()?.filter(|inner| !inner.is_empty()) {
            each(Part::Text {
                text: unescape(inner),
                cache: None,
            });
        }
        return Some(());
    }
    cursor.array(|item| {
        item.object(|key, value| {
            let raw = value.skip()?;
            match key {
                "text" | "refusal" => {
                    if let Some(text) = text_of(Some(raw)) {
                        each(if key == "text" {
                            Part::Text { text, cache: None }
                        } else {
                            Part::Refusal(text)
                        });
                    }
                }
                "thinking" => thinking(raw, each),
                _ => {}
            }
            Some(())
        })
    })
}

/// Mistral's thought: a string, or an array of texts.
fn thinking<'a>(raw: &'a str, each: &mut dyn FnMut(Part<'a>)) {
    if let Some(text) = text_of(Some(raw)) {
        each(thought(text));
        return;
    }
    Cursor::new(raw).array(|item| {
        item.object(|key, value| {
            let raw = value.skip()?;
            if let ("text", Some(text)) = (key, text_of(Some(raw))) {
                each(thought(text));
            }
            Some(())
        })
    });
}

/// OpenRouter's `reasoning_details`.
fn details(raw: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    Cursor::new(raw).array(|item| {
        let (mut text, mut signature, mut data) = (None, None, None);
        let mut format = None;
        item.object(|key, value| {
            let raw = value.skip()?;
            match key {
                "text" | "summary" => text = text_of(Some(raw)),
                "signature" => signature = text_of(Some(raw)),
                "data" => data = text_of(Some(raw)),
                "format" => format = text_of(Some(raw)),
                _ => {}
            }
            Some(())
        })?;
        // Encrypted content is Anthropic's redacted thinking, unless another format is named:
        // then it is the proof of the summary before it.
        let anthropic = format.is_none_or(|format| format.starts_with("anthropic"));
        let redacted = data.is_some() && anthropic;
        let signature = data.or(signature);
        if text.is_some() || signature.is_some() {
            parts.push(Part::Reasoning {
                text: text.unwrap_or_default(),
                signature,
                redacted,
            });
        }
        Some(())
    });
    parts
}

fn call<'a>(cursor: &mut Cursor<'a>) -> Option<Call<'a>> {
    let mut call = Call::default();
    cursor.object(|key, value| {
        match key {
            "index" => call.index = value.skip()?.parse().ok(),
            "id" => call.id = text_of(Some(value.skip()?)),
            "function" => function(value, &mut call)?,
            "extra_content" => call.signature = thought_signature(value.skip()?),
            _ => drop(value.skip()?),
        }
        Some(())
    })?;
    Some(call)
}

fn function<'a>(cursor: &mut Cursor<'a>, call: &mut Call<'a>) -> Option<()> {
    cursor.object(|key, value| {
        let raw = value.skip()?;
        match key {
            "name" => call.name = text_of(Some(raw)),
            // Some write the object itself in place of its text.
            "arguments" if raw.starts_with('{') => call.arguments = Some(raw.into()),
            "arguments" => call.arguments = text_of(Some(raw)),
            _ => {}
        }
        Some(())
    })
}
