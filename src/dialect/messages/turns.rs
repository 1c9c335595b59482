//! Who says what in which message: Anthropic's rules for turns.
//!
//! Decides what goes into the field `system`, which turns become one message, in which order the
//! parts of a message stand, and what is left out because Anthropic refuses it: texts that show
//! nothing, thoughts that it did not sign.

use crate::dialect::form::{Inexpressible, Part, Role, Turn};

/// The messages of a request.
pub(super) struct Talk<'c> {
    /// The instructions before everything else.
    pub(super) system: Vec<&'c Part<'c>>,
    /// The messages, the sides in turns.
    pub(super) messages: Vec<Message<'c>>,
}

/// A message, which is the user's or the model's.
pub(super) struct Message<'c> {
    pub(super) role: Role,
    pub(super) parts: Vec<&'c Part<'c>>,
}

impl<'c> Talk<'c> {
    /// Arranges the turns.
    pub(super) fn of(turns: &'c [Turn<'c>]) -> Result<Self, Inexpressible> {
        let mut talk = Self {
            system: Vec::new(),
            messages: Vec::new(),
        };
        for turn in turns {
            talk.add(turn);
        }
        match talk.messages.first() {
            None => Err(wrong("must hold a message of the user that is not empty")),
            Some(first) if first.role == Role::Assistant => {
                Err(wrong("must begin with a message of the user"))
            }
            Some(_) => {
                for message in &mut talk.messages {
                    // The results of calls come before anything else that the user says.
                    message
                        .parts
                        .sort_by_key(|part| !matches!(part, Part::ToolResult { .. }));
                }
                Ok(talk)
            }
        }
    }

    fn add(&mut self, turn: &'c Turn<'c>) {
        let parts = turn.parts.iter().filter(|part| sayable(part));
        let role = match turn.role {
            Role::System if self.messages.is_empty() => {
                self.system.extend(parts);
                return;
            }
            // Instructions in the middle have no role of their own that every model knows.
            Role::System => Role::User,
            role => role,
        };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return;
        }
        match self.messages.last_mut() {
            Some(last) if last.role == role => last.parts.extend(parts),
            _ => self.messages.push(Message {
                role,
                parts: parts.collect(),
            }),
        }
    }

    /// Whether the model is to go on with what it is said to have said.
    pub(super) fn is_prefilled(&self) -> bool {
        self.messages
            .last()
            .is_some_and(|last| last.role == Role::Assistant)
    }

    /// Whether the last message answers calls that the model made without a thought that is kept.
    /// Anthropic wants every turn with calls to begin with its thoughts, or none to be thought.
    pub(super) fn answers_unthought_calls(&self) -> bool {
        let [.., asked, answered] = &*self.messages else {
            return false;
        };
        let result = |part: &&Part<'_>| matches!(part, Part::ToolResult { .. });
        answered.parts.first().is_some_and(result)
            && !matches!(asked.parts.first(), Some(Part::Reasoning { .. }))
    }
}

fn wrong(why: &'static str) -> Inexpressible {
    Inexpressible::Field("messages".to_owned(), why)
}

/// Whether Anthropic takes the part.
fn sayable(part: &Part<'_>) -> bool {
    match part {
        Part::Text { text, .. } | Part::Refusal(text) => !text.trim().is_empty(),
        Part::Reasoning { signature, .. } => signature.as_deref().is_some_and(is_own),
        _ => true,
    }
}

/// Whether a signature may be one of Anthropic's, which are base64. Those of others have other
/// characters.
fn is_own(signature: &str) -> bool {
    !signature.is_empty()
        && signature
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}
