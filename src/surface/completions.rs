//! Text completions requests, OpenAI's legacy dialect.
//!
//! Decides how many answers a request wants: each of its prompts gets its own.

use super::Request;
use super::fields::{self, invalid, tokens};
use crate::json::{Cursor, Limits};
use crate::refusal::Refusal;
use crate::wire::Dialect;

/// Reads a request.
///
/// # Errors
/// [`Refusal::InvalidJson`] for a body that [`crate::json::object`] refuses,
/// [`Refusal::InvalidField`] for a field that bears on the bound and has a type or value it must not
/// have.
pub fn parse(body: &[u8], limits: Limits) -> Result<Request<'_>, Refusal> {
    let object = fields::object(body, limits)?;
    let prompts = fields::present(&object, "prompt")
        .and_then(texts)
        .ok_or_else(|| {
            let expected = "a text, tokens, or a non-empty array of either";
            invalid("prompt", expected)
        })?;
    // The provider bills all candidates of which it returns the best.
    let best_of = fields::choices(&object, "best_of")?;
    let max_tokens = tokens(&object, "max_tokens")?;
    let include_usage = fields::include_usage(&object)?;
    let request = fields::common(Dialect::Completions, object)?;
    Ok(Request {
        max_tokens,
        include_usage,
        choices: request.choices.max(best_of).saturating_mul(prompts),
        ..request
    })
}

/// How many texts `raw` is: a string, an array of strings, the tokens of one text, or an array of
/// those. `None` when it is nothing of this kind.
pub(super) fn texts(raw: &str) -> Option<u64> {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Text,
        Token,
        Tokens,
    }
    if raw.starts_with('"') {
        return Some(1);
    }
    raw.starts_with('[').then_some(())?;
    let (mut count, mut kinds) = (0_u64, None);
    Cursor::new(raw).array(|element| {
        let kind = match element.peek()? {
            b'"' => Kind::Text,
            b'[' => Kind::Tokens,
            _ => Kind::Token,
        };
        let value = element.skip()?;
        match kind {
            Kind::Text => {}
            Kind::Token => {
                value.parse::<u32>().ok()?;
            }
            Kind::Tokens => tokens_only(value)?,
        }
        count += 1;
        (*kinds.get_or_insert(kind) == kind).then_some(())
    })?;
    kinds.map(|kind| if kind == Kind::Token { 1 } else { count })
}

/// `Some` when the array `raw` holds tokens and nothing else, and is not empty.
fn tokens_only(raw: &str) -> Option<()> {
    let mut any = false;
    Cursor::new(raw).array(|token| {
        any = true;
        token.skip()?.parse::<u32>().ok().map(drop)
    })?;
    any.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(fields: &str) -> Result<Request<'static>, Refusal> {
        parse(format!("{{{fields}}}").leak().as_bytes(), Limits::default())
    }

    #[test]
    fn every_prompt_gets_its_own_answers() {
        for (fields, choices) in [
            (r#""prompt":"x""#, 1),
            (r#""prompt":["x","y"]"#, 2),
            (r#""prompt":[1,2,3]"#, 1),
            (r#""prompt":[ [1,2], [3] , [4]]"#, 3),
            (r#""prompt":"x","n":3"#, 3),
            (r#""prompt":"x","n":3,"best_of":5"#, 5),
            (r#""prompt":["x","y"],"n":5,"best_of":4"#, 10),
            (r#""prompt":"x","best_of":null"#, 1),
        ] {
            assert_eq!(read(fields).unwrap().choices, choices, "{fields}");
        }
    }

    #[test]
    fn a_prompt_of_another_kind_is_refused() {
        for prompt in [
            "null",
            "1",
            "{}",
            "[]",
            "[[]]",
            "[[1],2]",
            "[\"x\",1]",
            "[1.5]",
            "[-1]",
            "[null]",
            "[[\"x\"]]",
            "[{}]",
            "[[[1]]]",
        ] {
            let refusal = read(&format!("\"prompt\":{prompt}")).unwrap_err();
            assert!(
                matches!(&refusal, Refusal::InvalidField { field, .. } if field == "prompt"),
                "{prompt}: {refusal:?}"
            );
        }
        assert!(read("").is_err());
    }

    #[test]
    fn limits_streams_and_usage_are_read_as_for_chat() {
        let request = read(
            r#""prompt":"x","suffix":"y","model":"m","max_tokens":7,"stream":true,"stream_options":{"include_usage":true}"#,
        )
        .unwrap();
        assert_eq!(
            (
                request.max_tokens,
                request.stream,
                request.include_usage,
                request.model.as_deref()
            ),
            (Some(7), true, true, Some("m"))
        );
        let bare = read(r#""prompt":"x""#).unwrap();
        assert_eq!((bare.max_tokens, bare.include_usage), (None, false));
        assert_eq!(bare.max_tokens_field, "max_tokens");
        for wrong in [r#""best_of":0"#, r#""n":129"#, r#""max_tokens":0"#] {
            assert!(
                read(&format!(r#""prompt":"x",{wrong}"#)).is_err(),
                "{wrong}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_written_with_json_characters_makes_it_panic(
            body in r#"\{("(prompt|n|best_of|model|max_tokens)":[\[\]{}",:0-9a-z\\-]{0,20},?){0,6}\}?"#,
        ) {
            let _ = parse(body.as_bytes(), Limits::default());
        }

        #[test]
        fn prompts_are_counted_as_a_reader_with_a_tree_counts_them(
            prompts in proptest::collection::vec("[a-z\"\\\\]{0,5}", 1..20),
            tokens in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 1..9), 1..9),
        ) {
            let text = serde_json::to_string(&prompts).unwrap();
            prop_assert_eq!(texts(&text), Some(prompts.len() as u64));
            let text = serde_json::to_string(&tokens).unwrap();
            prop_assert_eq!(texts(&text), Some(tokens.len() as u64));
        }
    }
}
