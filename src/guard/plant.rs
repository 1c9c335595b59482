//! A sentence behind the system prompt of a request, in the words of each dialect.
//!
//! Decides where in the body that is. What the sentence says is its caller's business. Nothing else of the
//! body changes.

use crate::json::{self, Cursor};
use crate::wire::Dialect;
use std::ops::Range;

/// The body with `sentence` at the end of its system prompt, which it may have to get first; `None` where the
/// dialect has no such thing, and for a body of another form.
pub fn behind_system(dialect: Dialect, body: &str, sentence: &str) -> Option<String> {
    let edit = match dialect {
        Dialect::Chat => in_messages(body, sentence),
        Dialect::Messages => in_field(body, "system", sentence),
        Dialect::Responses => in_field(body, "instructions", sentence),
        Dialect::Completions | Dialect::Embeddings | Dialect::Gemini => None,
    }?;
    Some(edit.applied(body))
}

/// Replaces texts of a body: each place is a whole JSON string, with its quotation marks.
pub fn replaced(body: &str, texts: &[(Range<usize>, String)]) -> String {
    let mut order: Vec<&(Range<usize>, String)> = texts.iter().collect();
    order.sort_by_key(|(at, _)| at.start);
    let mut out = String::with_capacity(body.len() + 256 * texts.len());
    let mut from = 0;
    for (at, text) in order {
        if at.start < from || at.end > body.len() {
            continue;
        }
        out.push_str(&body[from..at.start]);
        out.push_str(&quoted(text));
        from = at.end;
    }
    out.push_str(&body[from..]);
    out
}

/// What is put in, and where.
struct Edit {
    at: Range<usize>,
    text: String,
}

impl Edit {
    fn at(place: usize, text: String) -> Self {
        Self {
            at: place..place,
            text,
        }
    }

    fn applied(self, body: &str) -> String {
        [&body[..self.at.start], &self.text, &body[self.at.end..]].concat()
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The same without quotation marks.
fn inside(text: &str) -> String {
    let quoted = quoted(text);
    quoted[1..quoted.len() - 1].to_owned()
}

/// Where a part of the body stands in it.
fn place(body: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(body.as_ptr().addr());
    start..start + part.len()
}

/// Behind a prompt that is a text or a list of blocks.
fn behind(body: &str, prompt: &str, sentence: &str) -> Option<Edit> {
    let at = place(body, prompt);
    let last = at.end.checked_sub(1)?;
    match prompt.as_bytes().first()? {
        b'"' => Some(Edit::at(last, inside(sentence))),
        b'[' => {
            let empty = prompt[1..prompt.len() - 1].trim().is_empty();
            let comma = if empty { "" } else { "," };
            let block = format!(
                r#"{comma}{{"type":"text","text":{}}}"#,
                quoted(sentence.trim_start())
            );
            Some(Edit::at(last, block))
        }
        b'n' => Some(Edit {
            at,
            text: quoted(sentence.trim_start()),
        }),
        _ => None,
    }
}

/// A top-level field that is the prompt.
fn in_field(body: &str, name: &str, sentence: &str) -> Option<Edit> {
    let mut prompt = None;
    let mut cursor = Cursor::new(body);
    cursor.object(|key, value| {
        let raw = value.skip()?;
        if key == name {
            prompt = Some(raw);
        }
        Some(())
    })?;
    match prompt {
        Some(prompt) => behind(body, prompt, sentence),
        None => {
            let field = format!("{}:{}", quoted(name), quoted(sentence.trim_start()));
            let at = body.find('{')? + 1;
            Some(first_at(body, at, &field))
        }
    }
}

/// The first message of the system's, which there may not be yet.
fn in_messages(body: &str, sentence: &str) -> Option<Edit> {
    let mut list = None;
    let mut prompt = None;
    // Ends where the prompt was found: nobody needs the rest.
    let walked = Cursor::new(body).object(|key, value| {
        if key != "messages" {
            return value.skip().map(drop);
        }
        list = (value.peek()? == b'[').then_some(value.at());
        value.array(|element| {
            prompt = system_content(element)?;
            prompt.is_none().then_some(())
        })
    });
    if let Some(edit) = prompt.and_then(|content| behind(body, content, sentence)) {
        return Some(edit);
    }
    walked.or(prompt.map(drop))?;
    let message = format!(
        r#"{{"role":"system","content":{}}}"#,
        quoted(sentence.trim_start())
    );
    Some(first_at(body, list? + 1, &message))
}

/// What a message of the system's says.
fn system_content<'a>(message: &mut Cursor<'a>) -> Option<Option<&'a str>> {
    let (mut system, mut content) = (false, None);
    message.object(|key, value| {
        let raw = value.skip()?;
        match key {
            "role" => {
                let role = json::string(raw);
                system = matches!(role.as_deref(), Some("system" | "developer"));
            }
            "content" => content = Some(raw),
            _ => {}
        }
        Some(())
    })?;
    Some(content.filter(|_| system))
}

/// Puts something first into an object or a list, which begins before `at`.
fn first_at(body: &str, at: usize, what: &str) -> Edit {
    let empty = body[at..].trim_start().starts_with(['}', ']']);
    let comma = if empty { "" } else { "," };
    Edit::at(at, format!("{what}{comma}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn planted(dialect: Dialect, body: &Value) -> Value {
        let body = body.to_string();
        let after = behind_system(dialect, &body, "\n\n[\"x\"]").unwrap();
        serde_json::from_str(&after).unwrap()
    }

    #[test]
    fn the_sentence_stands_behind_whatever_prompt_there_is() {
        let user = json!({"role": "user", "content": "hi"});
        for (before, after) in [
            (
                json!({"messages": [{"role": "system", "content": "be"}, user]}),
                json!({"messages": [{"role": "system", "content": "be\n\n[\"x\"]"}, user]}),
            ),
            (
                json!({"messages": [user, {"content": [{"type": "text", "text": "be"}], "role": "developer"}]}),
                json!({"messages": [user, {"content": [
                    {"type": "text", "text": "be"}, {"type": "text", "text": "[\"x\"]"}], "role": "developer"}]}),
            ),
            (
                json!({"messages": [user]}),
                json!({"messages": [{"role": "system", "content": "[\"x\"]"}, user]}),
            ),
            (
                json!({"messages": []}),
                json!({"messages": [{"role": "system", "content": "[\"x\"]"}]}),
            ),
        ] {
            assert_eq!(planted(Dialect::Chat, &before), after);
        }
        for (before, after) in [
            (json!({"system": "be"}), json!("be\n\n[\"x\"]")),
            (json!({"system": null}), json!("[\"x\"]")),
            (json!({"model": "m"}), json!("[\"x\"]")),
            (json!({}), json!("[\"x\"]")),
            (
                json!({"system": [{"type": "text", "text": "be"}]}),
                json!([{"type": "text", "text": "be"}, {"type": "text", "text": "[\"x\"]"}]),
            ),
        ] {
            assert_eq!(planted(Dialect::Messages, &before)["system"], after);
        }
        let asked = json!({"instructions": "be", "input": "hi"});
        let planted = planted(Dialect::Responses, &asked);
        assert_eq!(planted["instructions"], "be\n\n[\"x\"]");
        assert_eq!(behind_system(Dialect::Embeddings, "{}", "x"), None);
        assert_eq!(
            behind_system(Dialect::Chat, r#"{"messages": 3}"#, "x"),
            None
        );
    }

    #[test]
    fn texts_are_replaced_where_they_stand() {
        let body = r#"{"a":"one","b":["two"]}"#;
        let texts = [(16..21, "2\"".to_owned()), (5..10, "1".to_owned())];
        assert_eq!(replaced(body, &texts), r#"{"a":"1","b":["2\""]}"#);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in ".{0,200}") {
            for dialect in [Dialect::Chat, Dialect::Messages, Dialect::Responses] {
                let _ = behind_system(dialect, &body, "x");
            }
        }
    }
}
