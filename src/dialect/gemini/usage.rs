//! Google's `usageMetadata`.
//!
//! Decides which counts belong together. What was thought, and what Google's own tools put into the
//! prompt, come on top of the other counts; what was cached is inside. A usage is taken whole or not
//! at all: one number that no honest provider would send makes the others worthless too.

use crate::json::Cursor;
use crate::usage::Usage;

/// The largest believable token count of one answer.
const MAX_TOKENS: u64 = 100_000_000;

#[derive(Default)]
struct Counts {
    prompt: Option<u64>,
    cached: Option<u64>,
    tool_prompt: Option<u64>,
    candidates: Option<u64>,
    thoughts: Option<u64>,
    audio_input: u64,
    audio_output: u64,
}

/// Reads a usage; `None` when it says nothing, or nothing that can be believed.
pub(super) fn read(raw: &str) -> Option<Usage> {
    let mut counts = Counts::default();
    Cursor::new(raw).object(|key, value| {
        match key {
            "promptTokenCount" => counts.prompt = number(value)?,
            "cachedContentTokenCount" => counts.cached = number(value)?,
            "toolUsePromptTokenCount" => counts.tool_prompt = number(value)?,
            "candidatesTokenCount" => counts.candidates = number(value)?,
            "thoughtsTokenCount" => counts.thoughts = number(value)?,
            "promptTokensDetails" | "toolUsePromptTokensDetails" => {
                counts.audio_input += audio(value)?;
            }
            "candidatesTokensDetails" => counts.audio_output = audio(value)?,
            _ => drop(value.skip()?),
        }
        Some(())
    })?;
    if counts.prompt.is_none() && counts.candidates.is_none() && counts.thoughts.is_none() {
        return None;
    }
    let cache_read = counts.cached.unwrap_or(0);
    let mut prompt = counts.prompt.unwrap_or(0);
    if cache_read > prompt {
        // Beside its whole, where it belongs inside.
        prompt += cache_read;
    }
    let reasoning = counts.thoughts.unwrap_or(0);
    Some(Usage {
        input: prompt + counts.tool_prompt.unwrap_or(0),
        cache_read,
        audio_input: counts.audio_input,
        output: counts.candidates.unwrap_or(0) + reasoning,
        reasoning,
        audio_output: counts.audio_output,
        ..Usage::default()
    })
}

/// A count: plain digits, at most [`MAX_TOKENS`]. Null is a missing one; anything else ends the
/// walk.
fn number(value: &mut Cursor<'_>) -> Option<Option<u64>> {
    let raw = value.skip()?;
    if raw == "null" {
        return Some(None);
    }
    let plain = raw.bytes().all(|byte| byte.is_ascii_digit());
    let number = raw.parse().ok().filter(|number| *number <= MAX_TOKENS);
    plain.then_some(number?).map(Some)
}

/// The tokens that are sound in a list of counts by modality.
fn audio(value: &mut Cursor<'_>) -> Option<u64> {
    let mut sum = 0_u64;
    value.array(|value| {
        let (mut sound, mut count) = (false, None);
        value.object(|key, value| {
            match key {
                "modality" => sound = value.string()? == Some("AUDIO"),
                "tokenCount" => count = number(value)?,
                _ => drop(value.skip()?),
            }
            Some(())
        })?;
        if sound {
            sum = sum.saturating_add(count.unwrap_or(0)).min(MAX_TOKENS);
        }
        Some(())
    })?;
    Some(sum)
}
