//! Usage, as chat completions state it.

use crate::dialect::json::Members;
use crate::usage::Usage;

/// Usage, as OpenAI writes it and OpenRouter extends it.
pub(in crate::dialect) fn usage(out: &mut Vec<u8>, usage: &Usage) {
    let mut members = Members::open(out);
    members.number("prompt_tokens", usage.input);
    members.number("completion_tokens", usage.output);
    members.number("total_tokens", usage.total());
    let mut input = members.object("prompt_tokens_details");
    input.number("cached_tokens", usage.cache_read);
    input.number("audio_tokens", usage.audio_input);
    let written = usage.cache_write.saturating_add(usage.cache_write_1h);
    if written > 0 {
        input.number("cache_write_tokens", written);
    }
    input.close();
    let mut output = members.object("completion_tokens_details");
    output.number("reasoning_tokens", usage.reasoning);
    output.number("audio_tokens", usage.audio_output);
    output.close();
    members.close();
}
