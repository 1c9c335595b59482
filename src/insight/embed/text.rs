//! Which part of a request says what it asks for.
//!
//! Decides that it is what the user wrote, in the order of the conversation: what stands before it
//! (the system's instructions) is the same for all requests of one program and would make all of them
//! alike. A request without anything of a user counts as a whole.

use serde_json::Value;

/// How deep parts may be inside parts.
const DEEPEST: usize = 8;

/// The text that a request asks with, from its messages, input or prompt as they were stored.
pub fn of_request(stored: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(stored) else {
        return String::new();
    };
    let mut text = String::new();
    if let Value::Array(messages) = &value {
        let by_user = |message: &&Value| message["role"] == "user";
        for message in messages.iter().filter(by_user) {
            gather(message, &mut text, 0);
        }
    }
    if text.is_empty() {
        gather(&value, &mut text, 0);
    }
    text
}

/// Appends every text of a value: itself, its elements, and what its fields for text hold.
fn gather(value: &Value, text: &mut String, depth: usize) {
    if depth > DEEPEST {
        return;
    }
    match value {
        Value::String(part) if !part.is_empty() => {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(part);
        }
        Value::Array(parts) => {
            for part in parts {
                gather(part, text, depth + 1);
            }
        }
        Value::Object(fields) => {
            let names = ["content", "text", "parts", "input", "prompt", "messages"];
            for part in names.iter().filter_map(|name| fields.get(*name)) {
                gather(part, text, depth + 1);
            }
        }
        _ => {}
    }
}
