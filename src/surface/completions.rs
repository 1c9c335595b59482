//! Legacy text completions.

use super::Request;
use super::fields::{boolean, invalid, object, present, service_tier, string, tokens};
use crate::dialect::Dialect;
use crate::json::{Cursor, Limits, Object};
use crate::refusal::Refusal;

/// The most choices a request may ask for, of all its prompts together.
const MAX_CHOICES: u64 = 128;

/// Reads a request.
pub(super) fn parse(body: &[u8], limits: Limits) -> Result<Request<'_>, Refusal> {
    let object = object(body, limits)?;
    let prompts = prompts(&object)?;
    let each = number(&object, "n")?.max(number(&object, "best_of")?);
    let choices = prompts.saturating_mul(each);
    if choices > MAX_CHOICES {
        return Err(invalid("n", "at most 128 for all prompts together"));
    }
    let stream = boolean(&object, "stream")?;
    let asked = present(&object, "stream_options").is_some_and(|raw| {
        let mut asked = false;
        Cursor::new(raw).object(|key, value| {
            let raw = value.skip()?;
            asked |= key == "include_usage" && raw == "true";
            Some(())
        });
        asked
    });
    Ok(Request {
        dialect: Dialect::Completions,
        model: string(&object, "model")?,
        fallbacks: Vec::new(),
        stream,
        include_usage: asked,
        max_tokens: tokens(&object, "max_tokens")?,
        max_tokens_field: "max_tokens",
        choices,
        service_tier: service_tier(&object)?,
        server_tools: false,
        prediction_bytes: 0,
        audio_output: false,
        image_output: false,
        media_parts: 0,
        unseen_input: false,
        no_output: false,
        object,
    })
}

/// How many prompts there are: a text, texts, tokens, or lists of tokens.
fn prompts(object: &Object<'_>) -> Result<u64, Refusal> {
    let wrong = || invalid("prompt", "a string, or a non-empty array");
    let raw = present(object, "prompt").ok_or_else(wrong)?;
    if raw.starts_with('"') {
        return Ok(1);
    }
    if !raw.starts_with('[') {
        return Err(wrong());
    }
    let (mut many, mut numbers) = (0_u64, 0_u64);
    Cursor::new(raw).array(|value| {
        match value.skip()?.as_bytes().first()? {
            b'"' | b'[' => many += 1,
            _ => numbers += 1,
        }
        Some(())
    });
    match (many, numbers) {
        (0, 0) => Err(wrong()),
        (0, _) => Ok(1),
        (many, 0) => Ok(many),
        _ => Err(wrong()),
    }
}

fn number(object: &Object<'_>, field: &'static str) -> Result<u64, Refusal> {
    let Some(raw) = present(object, field) else {
        return Ok(1);
    };
    raw.parse()
        .ok()
        .filter(|number| (1..=MAX_CHOICES).contains(number))
        .ok_or_else(|| invalid(field, "a whole number from 1 to 128"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn choices(body: &str) -> Result<u64, &'static str> {
        parse(body.as_bytes(), Limits::default())
            .map(|request| request.choices)
            .map_err(|refusal| refusal.code())
    }

    #[test]
    fn every_choice_of_every_prompt_is_counted() {
        assert_eq!(choices(r#"{"prompt":"a"}"#), Ok(1));
        assert_eq!(choices(r#"{"prompt":["a","b"],"n":3,"best_of":5}"#), Ok(10));
        assert_eq!(choices(r#"{"prompt":[1,2,3],"n":2}"#), Ok(2));
        assert_eq!(choices(r#"{"prompt":[[1],[2]]}"#), Ok(2));
        for bad in [
            "{}",
            r#"{"prompt":[]}"#,
            r#"{"prompt":{}}"#,
            r#"{"prompt":["a",1]}"#,
            r#"{"prompt":"a","n":0}"#,
            r#"{"prompt":["a","b"],"n":100}"#,
        ] {
            assert_eq!(choices(bad), Err("invalid_field"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_prompt_makes_it_panic(raw in r#"[\[\]{}",0-9a-z:]{0,40}"#) {
            let _ = choices(&format!("{{\"prompt\":{raw}}}"));
        }
    }
}
