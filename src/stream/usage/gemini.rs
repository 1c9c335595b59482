//! `usageMetadata` as Google writes it.
//!
//! Decides which of its counts lie inside each other: cached tokens are inside the prompt, thoughts
//! and what Google's own tools put into the prompt come on top.

use super::{MAX_TOKENS, Stated, set};
use crate::json::Cursor;
use crate::usage::Usage;

#[derive(Default)]
struct Counts {
    prompt: Option<u64>,
    cached: Option<u64>,
    tools: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    audio_prompt: u64,
    audio_tools: u64,
    audio_output: u64,
}

/// Reads a usage. `Ok(None)` for null, `Err` when it is not to be believed.
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
                "promptTokenCount" => set(&mut counts.prompt, value.skip()?)?,
                "cachedContentTokenCount" => set(&mut counts.cached, value.skip()?)?,
                "toolUsePromptTokenCount" => set(&mut counts.tools, value.skip()?)?,
                "candidatesTokenCount" => set(&mut counts.candidates, value.skip()?)?,
                "thoughtsTokenCount" => set(&mut counts.thoughts, value.skip()?)?,
                "totalTokenCount" => set(&mut stated.total, value.skip()?)?,
                "promptTokensDetails" => counts.audio_prompt = audio(value)?,
                "toolUsePromptTokensDetails" => counts.audio_tools = audio(value)?,
                "candidatesTokensDetails" => counts.audio_output = audio(value)?,
                _ => drop(value.skip()?),
            }
            Some(())
        })
        .ok_or(())?;
    stated.usage = counts.usage();
    Ok(Some(stated))
}

impl Counts {
    fn usage(&self) -> Option<Usage> {
        if self.prompt.is_none() && self.candidates.is_none() && self.thoughts.is_none() {
            return None;
        }
        let cache_read = self.cached.unwrap_or(0);
        let mut prompt = self.prompt.unwrap_or(0);
        if cache_read > prompt {
            // Beside its whole, where it belongs inside.
            prompt += cache_read;
        }
        let reasoning = self.thoughts.unwrap_or(0);
        Some(Usage {
            input: prompt + self.tools.unwrap_or(0),
            cache_read,
            audio_input: self.audio_prompt + self.audio_tools,
            output: self.candidates.unwrap_or(0) + reasoning,
            reasoning,
            audio_output: self.audio_output,
            ..Usage::default()
        })
    }
}

/// The sound in a list of counts by modality.
fn audio(value: &mut Cursor<'_>) -> Option<u64> {
    let mut sum = 0_u64;
    value.array(|value| {
        let (mut sound, mut count) = (false, None);
        value.object(|key, value| {
            match key {
                "modality" => sound = value.string()? == Some("AUDIO"),
                "tokenCount" => set(&mut count, value.skip()?)?,
                _ => drop(value.skip()?),
            }
            Some(())
        })?;
        if sound {
            sum += count.unwrap_or(0);
        }
        (sum <= MAX_TOKENS).then_some(())
    })?;
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_are_inside_and_thoughts_and_tools_on_top() {
        let stated = read(
            r#"{"promptTokenCount":100,"cachedContentTokenCount":60,"toolUsePromptTokenCount":30,
                "candidatesTokenCount":20,"thoughtsTokenCount":7,"totalTokenCount":157,
                "promptTokensDetails":[{"modality":"TEXT","tokenCount":90},{"modality":"AUDIO","tokenCount":10}],
                "toolUsePromptTokensDetails":[{"tokenCount":2,"modality":"AUDIO"}],
                "candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":4}],"serviceTier":"standard"}"#,
        );
        let stated = stated.unwrap().unwrap();
        let usage = Usage {
            input: 130,
            cache_read: 60,
            audio_input: 12,
            output: 27,
            reasoning: 7,
            audio_output: 4,
            ..Usage::default()
        };
        assert_eq!((stated.usage, stated.total), (Some(usage), Some(157)));
    }

    #[test]
    fn null_is_missing_and_zero_is_not() {
        assert_eq!(read("null"), Ok(None));
        assert_eq!(read("{}"), Ok(Some(Stated::default())));
        let zero = read(r#"{"promptTokenCount":0,"candidatesTokenCount":null}"#);
        assert_eq!(zero.unwrap().unwrap().usage, Some(Usage::default()));
    }

    #[test]
    fn one_absurd_number_spoils_the_usage() {
        for bad in ["-1", "1.5", "1e3", "100000001", "\"7\"", "true", "{}"] {
            for raw in [
                format!(r#"{{"promptTokenCount":{bad},"candidatesTokenCount":1}}"#),
                format!(r#"{{"promptTokenCount":1,"thoughtsTokenCount":{bad}}}"#),
                format!(r#"{{"promptTokenCount":1,"totalTokenCount":{bad}}}"#),
                format!(
                    r#"{{"promptTokenCount":1,"promptTokensDetails":[{{"modality":"AUDIO","tokenCount":{bad}}}]}}"#
                ),
                format!("[{bad}]"),
            ] {
                assert_eq!(read(&raw), Err(()), "{raw}");
            }
        }
    }
}
