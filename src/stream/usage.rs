//! The `usage` object of an answer, in the dialects of chat completions and responses.
//!
//! Decides which of its numbers can be believed. A usage is taken whole or not at all: one number
//! that no honest provider would send makes the others worthless too.

use crate::json::Cursor;
use crate::money::Nanos;
use crate::usage::Usage;

/// The largest believable token count of one answer.
const MAX_TOKENS: u64 = 100_000_000;

/// The largest believable price of one answer.
const MAX_COST: Nanos = Nanos::usd(10_000);

/// What a believable usage says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stated {
    /// Token counts; `None` when the object has none.
    pub(crate) usage: Option<Usage>,
    /// The provider's own total.
    pub(crate) total: Option<u64>,
    /// The price that OpenRouter charges, when it is a believable number.
    pub(crate) cost: Option<Nanos>,
    /// What the upstream provider charges, when it is a believable number.
    pub(crate) upstream_cost: Option<Nanos>,
    /// Whether the upstream provider bills the client's own account.
    pub(crate) byok: bool,
}

/// Token counts as they are found; the names of both dialects fall together.
#[derive(Default)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    /// Other names for the cached tokens, for when the usual one is missing.
    cached_elsewhere: Option<u64>,
    cache_write: Option<u64>,
    audio_input: Option<u64>,
    reasoning: Option<u64>,
    audio_output: Option<u64>,
}

/// Reads a `usage` value. `Ok(None)` for null, `Err` when it is not to be believed.
pub(crate) fn read(raw: &str) -> Result<Option<Stated>, ()> {
    if raw == "null" {
        return Ok(None);
    }
    if !raw.starts_with('{') {
        return Err(());
    }
    let mut counts = Counts::default();
    let mut stated = Stated::default();
    Cursor::new(raw)
        .object(|key, value| {
            match key {
                "prompt_tokens" | "input_tokens" => set(&mut counts.input, value.skip()?)?,
                "completion_tokens" | "output_tokens" => set(&mut counts.output, value.skip()?)?,
                "total_tokens" => set(&mut counts.total, value.skip()?)?,
                "prompt_tokens_details" | "input_tokens_details" => {
                    details(value, |name, raw| match name {
                        "cached_tokens" => set(&mut counts.cached, raw),
                        "cache_write_tokens" => set(&mut counts.cache_write, raw),
                        "audio_tokens" => set(&mut counts.audio_input, raw),
                        _ => Some(()),
                    })?;
                }
                "completion_tokens_details" | "output_tokens_details" => {
                    details(value, |name, raw| match name {
                        "reasoning_tokens" => set(&mut counts.reasoning, raw),
                        "audio_tokens" => set(&mut counts.audio_output, raw),
                        _ => Some(()),
                    })?;
                }
                "prompt_cache_hit_tokens" | "num_cached_tokens" => {
                    set(&mut counts.cached_elsewhere, value.skip()?)?;
                }
                "cost" => stated.cost = price(value.skip()?),
                "cost_details" => details(value, |name, raw| {
                    if name == "upstream_inference_cost" {
                        stated.upstream_cost = price(raw);
                    }
                    Some(())
                })?,
                "is_byok" => stated.byok = value.skip()? == "true",
                _ => drop(value.skip()?),
            }
            Some(())
        })
        .ok_or(())?;
    stated.total = counts.total;
    stated.usage = counts.usage();
    Ok(Some(stated))
}

impl Counts {
    /// The counts in Weir's convention. Providers that report a part *beside* its whole, where it
    /// belongs inside, are put right: they would be billed too little otherwise.
    fn usage(&self) -> Option<Usage> {
        if self.input.is_none() && self.output.is_none() {
            return None;
        }
        let cache_read = self.cached.or(self.cached_elsewhere).unwrap_or(0);
        let cache_write = self.cache_write.unwrap_or(0);
        let mut input = self.input.unwrap_or(0);
        if cache_read + cache_write > input {
            input += cache_read + cache_write;
        }
        let reasoning = self.reasoning.unwrap_or(0);
        let mut output = self.output.unwrap_or(0);
        let beside = reasoning > 0 && self.total == Some(input + output + reasoning);
        if beside || reasoning > output {
            output += reasoning;
        }
        Some(Usage {
            input,
            cache_read,
            cache_write,
            cache_write_1h: 0,
            audio_input: self.audio_input.unwrap_or(0),
            output,
            reasoning,
            audio_output: self.audio_output.unwrap_or(0),
            searches: 0,
        })
    }
}

/// Reads a token count: plain digits, at most [`MAX_TOKENS`]. Null is a missing count; anything
/// else ends the walk.
pub(super) fn set(count: &mut Option<u64>, raw: &str) -> Option<()> {
    if raw != "null" {
        let plain = raw.bytes().all(|byte| byte.is_ascii_digit());
        let number = raw
            .parse()
            .ok()
            .filter(|number| plain && *number <= MAX_TOKENS)?;
        *count = Some(number);
    }
    Some(())
}

/// Walks through an object of details. Anything but an object or null is not to be believed.
fn details(value: &mut Cursor<'_>, mut each: impl FnMut(&str, &str) -> Option<()>) -> Option<()> {
    match value.peek()? {
        b'{' => value.object(|name, value| each(name, value.skip()?)),
        b'n' => value.skip().map(drop),
        _ => None,
    }
}

/// Reads an amount of dollars; `None` when it is no number, negative or absurd.
pub(super) fn price(raw: &str) -> Option<Nanos> {
    let cost = Nanos::parse_usd(raw).ok()?;
    (Nanos::ZERO..=MAX_COST).contains(&cost).then_some(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_are_read() {
        let chat = read(
            r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
                "prompt_tokens_details":{"cached_tokens":10,"cache_write_tokens":20,"audio_tokens":3},
                "completion_tokens_details":{"reasoning_tokens":7,"audio_tokens":2},
                "cost":0.00123,"is_byok":true,"cost_details":{"upstream_inference_cost":1e-2}}"#,
        );
        let usage = Usage {
            input: 100,
            cache_read: 10,
            cache_write: 20,
            cache_write_1h: 0,
            audio_input: 3,
            output: 50,
            reasoning: 7,
            audio_output: 2,
            searches: 0,
        };
        assert_eq!(
            chat,
            Ok(Some(Stated {
                usage: Some(usage),
                total: Some(150),
                cost: Some(Nanos(1_230_000)),
                upstream_cost: Some(Nanos(10_000_000)),
                byok: true,
            }))
        );
        let responses = read(
            r#"{"input_tokens":5,"input_tokens_details":{"cached_tokens":1},"output_tokens":6,
                "output_tokens_details":{"reasoning_tokens":4},"total_tokens":11}"#,
        );
        let usage = Usage {
            input: 5,
            cache_read: 1,
            output: 6,
            reasoning: 4,
            ..Usage::default()
        };
        assert_eq!(responses.unwrap().unwrap().usage, Some(usage));
    }

    #[test]
    fn one_absurd_number_spoils_the_usage() {
        for bad in [
            "-1",
            "1.5",
            "1e3",
            "100000001",
            "\"7\"",
            "true",
            "[]",
            "18446744073709551616",
            "+1",
            "1.0",
        ] {
            for raw in [
                format!(r#"{{"prompt_tokens":{bad},"completion_tokens":1}}"#),
                format!(r#"{{"prompt_tokens":1,"output_tokens":{bad},"cost":1}}"#),
                format!(
                    r#"{{"prompt_tokens":1,"prompt_tokens_details":{{"cached_tokens":{bad}}}}}"#
                ),
                format!(r#"{{"prompt_tokens":1,"total_tokens":{bad}}}"#),
                format!(r#"{{"prompt_tokens":1,"completion_tokens_details":{bad}}}"#),
            ] {
                assert_eq!(read(&raw), Err(()), "{raw}");
            }
        }
        for raw in ["[]", "7", "\"x\"", "true", "{\"prompt_tokens\":1"] {
            assert_eq!(read(raw), Err(()), "{raw}");
        }
    }

    #[test]
    fn null_is_missing_and_zero_is_not() {
        assert_eq!(read("null"), Ok(None));
        assert_eq!(read("{}"), Ok(Some(Stated::default())));
        let zero = read(
            r#"{"prompt_tokens":0,"completion_tokens":null,"prompt_tokens_details":null,"cost":0}"#,
        );
        let zero = zero.unwrap().unwrap();
        assert_eq!(
            (zero.usage, zero.cost),
            (Some(Usage::default()), Some(Nanos::ZERO))
        );
    }

    #[test]
    fn a_price_that_is_no_price_is_ignored_alone() {
        for bad in ["-0.1", "\"0.1\"", "NaN", "1e400", "10001", "null", "{}"] {
            let stated = read(&format!(r#"{{"prompt_tokens":3,"cost":{bad}}}"#))
                .unwrap()
                .unwrap();
            assert_eq!(
                (stated.cost, stated.usage.map(|usage| usage.input)),
                (None, Some(3)),
                "{bad}"
            );
        }
    }

    #[test]
    fn parts_beside_their_whole_are_added_to_it() {
        let of = |raw| read(raw).unwrap().unwrap().usage.unwrap();
        let grok = of(
            r#"{"prompt_tokens":10,"completion_tokens":20,"total_tokens":330,
                "completion_tokens_details":{"reasoning_tokens":300}}"#,
        );
        assert_eq!((grok.output, grok.reasoning), (320, 300));
        let inside = of(
            r#"{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30,
                "completion_tokens_details":{"reasoning_tokens":15}}"#,
        );
        assert_eq!(inside.output, 20);
        let cached = of(r#"{"prompt_tokens":10,"prompt_tokens_details":{"cached_tokens":90}}"#);
        assert_eq!((cached.input, cached.cache_read), (100, 90));
        let elsewhere = of(r#"{"prompt_tokens":64,"num_cached_tokens":32}"#);
        assert_eq!((elsewhere.input, elsewhere.cache_read), (64, 32));
    }
}
