//! How much is thought, in Anthropic's words.
//!
//! Decides between the three ways there are. Models before Claude 4.6 take a number of tokens
//! (`enabled`), those from 4.7 on refuse it and take a word (`adaptive` with an effort), 4.6 takes
//! both. Models from 5 on think unless they are told not to. The number stays below `max_tokens`,
//! for that is what money is held for.

use super::turns::Talk;
use crate::dialect::form::{
    Conversation, Effort, Feature, Inexpressible, Json, Reasoning, ToolChoice,
};
use crate::dialect::json::Members;

/// The smallest number of tokens that Anthropic takes.
const LEAST: u64 = 1024;

/// What is said about thinking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Thinking {
    mode: Mode,
    shown: Option<bool>,
    /// `output_config.effort`.
    pub(super) effort: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Unsaid,
    Disabled,
    Adaptive,
    Enabled(u64),
}

impl Thinking {
    /// What to say.
    ///
    /// # Errors
    /// [`Feature::Reasoning`] when something else was asked for that Anthropic refuses beside it.
    pub(super) fn of(
        conversation: &Conversation<'_>,
        talk: &Talk<'_>,
        model: &str,
        max_tokens: u64,
    ) -> Result<Self, Inexpressible> {
        let Some(reasoning) = &conversation.reasoning else {
            return Ok(Self::default());
        };
        let version = version(model);
        let mut thinking = choose(reasoning, version, max_tokens);
        if matches!(thinking.mode, Mode::Enabled(_)) && talk.answers_unthought_calls() {
            // Clients that cannot hand back thoughts still want their calls answered.
            thinking.mode = Mode::Unsaid;
        }
        if !thinking.is_on() {
            return Ok(thinking);
        }
        let forced = matches!(
            conversation.tool_choice,
            Some(ToolChoice::Required | ToolChoice::Named(_))
        );
        let sampled = conversation.temperature.as_ref();
        let prefilled = matches!(thinking.mode, Mode::Enabled(_)) && talk.is_prefilled();
        if forced
            || prefilled
            || conversation.top_k.is_some()
            || sampled.is_some_and(|number| !is_one(number))
        {
            return Err(Inexpressible::Feature(Feature::Reasoning));
        }
        thinking.shown = match reasoning.shown {
            // Models that take a number show what they think anyway.
            Some(true) if version < Some((4, 6)) => None,
            shown => shown,
        };
        Ok(thinking)
    }

    /// Whether something is thought that sampling must leave alone.
    pub(super) const fn is_on(&self) -> bool {
        matches!(self.mode, Mode::Adaptive | Mode::Enabled(_))
    }

    /// Writes the field, if there is anything to say.
    pub(super) fn write(&self, members: &mut Members<'_>) {
        let (kind, budget) = match self.mode {
            Mode::Unsaid => return,
            Mode::Disabled => ("disabled", None),
            Mode::Adaptive => ("adaptive", None),
            Mode::Enabled(budget) => ("enabled", Some(budget)),
        };
        let mut field = members.object("thinking");
        field.text("type", kind);
        if let Some(budget) = budget {
            field.number("budget_tokens", budget);
        }
        if let Some(shown) = self.shown {
            field.text("display", if shown { "summarized" } else { "omitted" });
        }
        field.close();
    }
}

fn choose(reasoning: &Reasoning, version: Option<(u32, u32)>, max_tokens: u64) -> Thinking {
    let adaptive = |effort| Thinking {
        mode: Mode::Adaptive,
        effort,
        shown: None,
    };
    let plain = |mode| Thinking {
        mode,
        ..Thinking::default()
    };
    let takes_words = version >= Some((4, 6));
    match (reasoning.budget, reasoning.effort) {
        (Some(0), _) | (None, Some(Effort::None)) if version >= Some((5, 0)) => {
            plain(Mode::Disabled)
        }
        (Some(0), _) | (None, Some(Effort::None)) => plain(Mode::Unsaid),
        (Some(budget), None) if version >= Some((4, 7)) => {
            adaptive(Some(covering(budget, max_tokens)))
        }
        (Some(_), Some(effort)) if version >= Some((4, 7)) => adaptive(Some(word(effort))),
        (Some(budget), _) => plain(within(budget, max_tokens)),
        (None, Some(effort)) if takes_words => adaptive(Some(word(effort))),
        (None, Some(effort)) => plain(within(share(effort, max_tokens), max_tokens)),
        (None, None) if reasoning.shown == Some(false) => plain(Mode::Unsaid),
        (None, None) if takes_words => adaptive(None),
        (None, None) => plain(within(share(Effort::Medium, max_tokens), max_tokens)),
    }
}

/// A number of tokens that leaves room for an answer; nothing where there is none.
fn within(budget: u64, max_tokens: u64) -> Mode {
    let most = max_tokens.saturating_sub(1);
    if most < LEAST {
        return Mode::Unsaid;
    }
    Mode::Enabled(budget.clamp(LEAST, most))
}

/// The tokens that a word stands for.
fn share(effort: Effort, max_tokens: u64) -> u64 {
    let percent = match effort {
        Effort::None => 0,
        Effort::Minimal => 10,
        Effort::Low => 20,
        Effort::Medium => 50,
        Effort::High => 80,
        Effort::Highest => 95,
    };
    (max_tokens / 100)
        .saturating_mul(percent)
        .saturating_add(max_tokens % 100 * percent / 100)
}

/// Anthropic's word.
const fn word(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Highest => "max",
    }
}

/// The smallest word that covers a number of tokens, among those that every model knows.
fn covering(budget: u64, max_tokens: u64) -> &'static str {
    [Effort::Low, Effort::Medium]
        .into_iter()
        .find(|effort| share(*effort, max_tokens).max(LEAST) >= budget)
        .map_or("high", word)
}

/// The version that the name of a Claude model tells: 4.7 of `claude-opus-4-7` and of
/// `anthropic/claude-opus-4.7`, 3.7 of `claude-3-7-sonnet-20250219`, 4.0 of
/// `claude-sonnet-4-20250514`.
fn version(model: &str) -> Option<(u32, u32)> {
    let (_, name) = model.rsplit_once("claude-")?;
    let mut numbers = name
        .split(['-', '.', '@', ':'])
        .map(|part| part.parse().ok().filter(|_| part.len() <= 2))
        .skip_while(Option::is_none);
    let major = numbers.next()??;
    Some((major, numbers.next().flatten().unwrap_or(0)))
}

/// Whether a number is 1, however it is written.
fn is_one(Json(number): &Json<'_>) -> bool {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    whole == "1" && fraction.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_from_names() {
        for (name, expected) in [
            ("claude-opus-4-7", Some((4, 7))),
            ("claude-opus-4-7-20260416", Some((4, 7))),
            ("anthropic/claude-opus-4.6", Some((4, 6))),
            ("claude-3-7-sonnet-20250219", Some((3, 7))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("claude-sonnet-4-0", Some((4, 0))),
            ("claude-sonnet-5", Some((5, 0))),
            ("us.anthropic.claude-opus-4-6-v1:0", Some((4, 6))),
            ("claude-sonnet-4-5@20250929", Some((4, 5))),
            ("claude-mythos-preview", None),
            ("MiniMax-M2", None),
        ] {
            assert_eq!(version(name), expected, "{name}");
        }
    }

    #[test]
    fn one_is_one_however_it_is_written() {
        for number in ["1", "1.0", "1.00"] {
            assert!(is_one(&Json(number.into())), "{number}");
        }
        for number in ["0", "1.01", "10", "0.1", "-1", "1e1"] {
            assert!(!is_one(&Json(number.into())), "{number}");
        }
    }
}
