//! Embeddings: input only.

use super::Request;
use super::fields::{invalid, object, present, string};
use crate::dialect::Dialect;
use crate::json::Limits;
use crate::refusal::Refusal;

/// Reads a request.
pub(super) fn parse(body: &[u8], limits: Limits) -> Result<Request<'_>, Refusal> {
    let object = object(body, limits)?;
    let input = present(&object, "input");
    let filled = |raw: &&str| raw.starts_with('"') || (raw.starts_with('[') && raw.len() > 2);
    if input.filter(filled).is_none() {
        return Err(invalid("input", "a string, or a non-empty array"));
    }
    Ok(Request {
        dialect: Dialect::Embeddings,
        model: string(&object, "model")?,
        fallbacks: Vec::new(),
        stream: false,
        include_usage: false,
        max_tokens: None,
        max_tokens_field: "max_tokens",
        choices: 1,
        service_tier: None,
        server_tools: false,
        prediction_bytes: 0,
        audio_output: false,
        image_output: false,
        media_parts: 0,
        unseen_input: false,
        no_output: true,
        object,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_a_text_or_a_list() {
        for good in [r#""a""#, r#"["a","b"]"#, "[1,2]", "[[1],[2]]"] {
            let body = format!("{{\"input\":{good}}}");
            let request = parse(body.as_bytes(), Limits::default()).unwrap();
            assert!(request.no_output && !request.stream);
        }
        for bad in ["null", "[]", "{}", "1"] {
            let body = format!("{{\"input\":{bad}}}");
            let refusal = parse(body.as_bytes(), Limits::default()).unwrap_err();
            assert_eq!(refusal.code(), "invalid_field", "{bad}");
        }
    }
}
