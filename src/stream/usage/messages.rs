//! `usage` as Anthropic's messages write it.
//!
//! Decides how the usages of one stream fall together: they are cumulative, so what a later one
//! says replaces what an earlier one said, and what it does not say stays. Cached tokens, which come
//! beside the input here, are put inside it.

use super::{MAX_TOKENS, details, set};
use crate::json::Cursor;
use crate::usage::Usage;

/// What the usages of an answer have said so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::stream) struct Counts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    five_minutes: Option<u64>,
    one_hour: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    searches: Option<u64>,
    /// What it took to sum up a conversation that had grown too long: billed, but in none of the
    /// counts above.
    compaction: Option<Usage>,
}

impl Counts {
    /// Takes in one more usage; `first` when it comes before any output, whose count is then no
    /// more than a placeholder. False for null, `Err` when it is not to be believed: nothing of it
    /// is taken then.
    pub(in crate::stream) fn take(&mut self, raw: &str, first: bool) -> Result<bool, ()> {
        if raw == "null" {
            return Ok(false);
        }
        let mut said = Self::read(raw, true).ok_or(())?;
        if first {
            said.output = None;
            said.reasoning = None;
        }
        for (kept, said) in [
            (&mut self.input, said.input),
            (&mut self.cache_read, said.cache_read),
            (&mut self.cache_write, said.cache_write),
            (&mut self.five_minutes, said.five_minutes),
            (&mut self.one_hour, said.one_hour),
            (&mut self.output, said.output),
            (&mut self.reasoning, said.reasoning),
            (&mut self.searches, said.searches),
        ] {
            *kept = said.or(*kept);
        }
        self.compaction = said.compaction.or(self.compaction);
        Ok(true)
    }

    /// Reads one usage; with its `steps`, unless it is one of them.
    fn read(raw: &str, steps: bool) -> Option<Self> {
        if !raw.starts_with('{') {
            return None;
        }
        let mut said = Self::default();
        Cursor::new(raw).object(|key, value| match key {
            "input_tokens" => set(&mut said.input, value.skip()?),
            "output_tokens" => set(&mut said.output, value.skip()?),
            "cache_read_input_tokens" => set(&mut said.cache_read, value.skip()?),
            "cache_creation_input_tokens" => set(&mut said.cache_write, value.skip()?),
            "cache_creation" => details(value, |name, raw| match name {
                "ephemeral_5m_input_tokens" => set(&mut said.five_minutes, raw),
                "ephemeral_1h_input_tokens" => set(&mut said.one_hour, raw),
                _ => Some(()),
            }),
            "output_tokens_details" => details(value, |name, raw| match name {
                "thinking_tokens" => set(&mut said.reasoning, raw),
                _ => Some(()),
            }),
            "server_tool_use" => details(value, |name, raw| match name {
                "web_search_requests" => set(&mut said.searches, raw),
                _ => Some(()),
            }),
            "iterations" if steps => {
                said.compaction = compaction(value.skip()?)?;
                Some(())
            }
            _ => value.skip().map(drop),
        })?;
        Some(said)
    }

    /// Whether the output has been counted.
    pub(in crate::stream) const fn is_final(&self) -> bool {
        self.output.is_some()
    }

    /// The counts in Weir's convention; `None` when there are none.
    pub(in crate::stream) fn usage(&self) -> Option<Usage> {
        if self.input.is_none() && self.output.is_none() {
            return None;
        }
        let cache_read = self.cache_read.unwrap_or(0);
        let one_hour = self.one_hour.unwrap_or(0);
        let five_minutes = match self.cache_write {
            Some(both) => both.saturating_sub(one_hour),
            None => self.five_minutes.unwrap_or(0),
        };
        let reasoning = self.reasoning.unwrap_or(0);
        let mut output = self.output.unwrap_or(0);
        if reasoning > output {
            // Beside its whole, where it belongs inside.
            output += reasoning;
        }
        let counted = Usage {
            input: self.input.unwrap_or(0) + cache_read + five_minutes + one_hour,
            cache_read,
            cache_write: five_minutes,
            cache_write_1h: one_hour,
            output,
            reasoning,
            searches: self.searches.unwrap_or(0),
            ..Usage::default()
        };
        Some(self.compaction.map_or(counted, |more| sum(counted, more)))
    }
}

/// The sum of the compactions among the steps of an answer; `None` within when there are none.
fn compaction(raw: &str) -> Option<Option<Usage>> {
    let mut total: Option<Usage> = None;
    Cursor::new(raw).array(|step| {
        let raw = step.skip()?;
        let mut compacts = false;
        Cursor::new(raw).object(|key, value| {
            match key {
                "type" => compacts = value.string()? == Some("compaction"),
                _ => drop(value.skip()?),
            }
            Some(())
        })?;
        if compacts && let Some(one) = Counts::read(raw, false)?.usage() {
            total = Some(sum(total.unwrap_or_default(), one));
        }
        total
            .is_none_or(|total| total.total() <= MAX_TOKENS)
            .then_some(())
    })?;
    Some(total)
}

fn sum(one: Usage, other: Usage) -> Usage {
    Usage {
        input: one.input + other.input,
        cache_read: one.cache_read + other.cache_read,
        cache_write: one.cache_write + other.cache_write,
        cache_write_1h: one.cache_write_1h + other.cache_write_1h,
        output: one.output + other.output,
        reasoning: one.reasoning + other.reasoning,
        searches: one.searches + other.searches,
        ..one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = r#"{"input_tokens":10,"cache_creation_input_tokens":300,
        "cache_read_input_tokens":4000,"output_tokens":8,
        "cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":200}}"#;

    #[test]
    fn cached_tokens_come_beside_the_input_and_go_inside() {
        let mut counts = Counts::default();
        assert_eq!(counts.take(START, true), Ok(true));
        assert!(!counts.is_final());
        let usage = Usage {
            input: 4310,
            cache_read: 4000,
            cache_write: 100,
            cache_write_1h: 200,
            ..Usage::default()
        };
        assert_eq!(counts.usage(), Some(usage));
    }

    #[test]
    fn a_later_usage_replaces_what_it_says_and_leaves_the_rest() {
        let mut counts = Counts::default();
        counts.take(START, true).unwrap();
        for output in [20, 25] {
            let delta = format!(
                r#"{{"output_tokens":{output},"cache_read_input_tokens":0,"input_tokens":null,
                    "server_tool_use":{{"web_search_requests":2,"web_fetch_requests":1}},
                    "output_tokens_details":{{"thinking_tokens":7}}}}"#
            );
            assert_eq!(counts.take(&delta, false), Ok(true));
        }
        let usage = Usage {
            input: 310,
            cache_write: 100,
            cache_write_1h: 200,
            output: 25,
            reasoning: 7,
            searches: 2,
            ..Usage::default()
        };
        assert_eq!((counts.usage(), counts.is_final()), (Some(usage), true));
    }

    #[test]
    fn writes_are_found_with_and_without_their_sum() {
        let of = |raw| {
            let mut counts = Counts::default();
            counts.take(raw, false).unwrap();
            let usage = counts.usage().unwrap();
            (usage.input, usage.cache_write, usage.cache_write_1h)
        };
        let parts = r#"{"input_tokens":1,"cache_creation":{"ephemeral_5m_input_tokens":5,"ephemeral_1h_input_tokens":3}}"#;
        assert_eq!(of(parts), (9, 5, 3));
        let sum = r#"{"input_tokens":1,"cache_creation_input_tokens":8}"#;
        assert_eq!(of(sum), (9, 8, 0));
        let odd = r#"{"input_tokens":1,"cache_creation_input_tokens":2,"cache_creation":{"ephemeral_1h_input_tokens":3}}"#;
        assert_eq!(of(odd), (4, 0, 3));
    }

    #[test]
    fn compactions_come_on_top() {
        let mut counts = Counts::default();
        counts.take(START, true).unwrap();
        let delta = r#"{"output_tokens":20,"iterations":[
            {"type":"compaction","input_tokens":5000,"output_tokens":300,"cache_read_input_tokens":7,"iterations":[1]},
            {"input_tokens":10,"output_tokens":20,"type":"message"}]}"#;
        for _ in 0..2 {
            counts.take(delta, false).unwrap();
        }
        let usage = counts.usage().unwrap();
        assert_eq!(
            (usage.input, usage.cache_read, usage.output),
            (9317, 4007, 320)
        );
        counts
            .take(r#"{"output_tokens":21,"iterations":null}"#, false)
            .unwrap();
        assert_eq!(counts.usage().unwrap().output, 321);
        for bad in [
            r#"[{"type":"compaction","output_tokens":-1}]"#,
            r#"[{"type":"compaction","output_tokens":60000000},{"type":"compaction","input_tokens":60000000}]"#,
        ] {
            let raw = format!(r#"{{"output_tokens":1,"iterations":{bad}}}"#);
            assert_eq!(counts.take(&raw, false), Err(()), "{bad}");
        }
    }

    #[test]
    fn one_absurd_number_spoils_a_usage_but_not_the_one_before() {
        let mut counts = Counts::default();
        counts.take(START, true).unwrap();
        let before = counts;
        for bad in ["-1", "1.5", "1e3", "100000001", "\"7\"", "true", "[]"] {
            for raw in [
                format!(r#"{{"output_tokens":{bad},"input_tokens":1}}"#),
                format!(r#"{{"output_tokens":1,"cache_read_input_tokens":{bad}}}"#),
                format!(
                    r#"{{"output_tokens":1,"cache_creation":{{"ephemeral_1h_input_tokens":{bad}}}}}"#
                ),
                format!(r#"{{"output_tokens":1,"server_tool_use":{bad}}}"#),
                format!(r#"[{bad}]"#),
            ] {
                assert_eq!(counts.take(&raw, false), Err(()), "{raw}");
            }
        }
        assert_eq!(counts.take("null", false), Ok(false));
        assert_eq!(counts, before);
        assert_eq!(Counts::default().usage(), None);
    }
}
