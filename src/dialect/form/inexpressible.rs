//! What a dialect cannot say, and the field of the client's request that asks for it.

use crate::wire::Dialect;

/// What a dialect cannot say: the answer to the client is a 400 that names the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inexpressible {
    /// A field of the client's request, found while reading it: its path, and what is wrong.
    Field(String, &'static str),
    /// Something of the common form, found while writing.
    Feature(Feature),
}

/// What not every dialect can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Top-k sampling.
    TopK,
    /// A frequency penalty.
    FrequencyPenalty,
    /// A presence penalty.
    PresencePenalty,
    /// A seed.
    Seed,
    /// Texts that end an answer, or more of them than there may be.
    Stop,
    /// Tools.
    Tools,
    /// A choice of tools.
    ToolChoice,
    /// A result of a tool.
    ToolResult,
    /// JSON as the answer's form.
    Format,
    /// An amount of reasoning.
    Reasoning,
    /// An image.
    Image,
    /// An image, document or sound at an address.
    MediaUrl,
    /// A document.
    Document,
    /// Sound.
    Audio,
}

impl Inexpressible {
    /// The client's field, in the words of its dialect, and what is wrong with it.
    pub fn explain(&self, client: Dialect) -> (String, String) {
        match self {
            Self::Field(field, why) => (field.clone(), (*why).to_owned()),
            Self::Feature(feature) => (
                feature.field(client).to_owned(),
                "cannot be said to the provider of this model".to_owned(),
            ),
        }
    }
}

impl Feature {
    /// The field of a request of that dialect which asks for it.
    const fn field(self, client: Dialect) -> &'static str {
        let responses = matches!(client, Dialect::Responses);
        let messages = matches!(client, Dialect::Messages);
        match self {
            Self::TopK => "top_k",
            Self::FrequencyPenalty => "frequency_penalty",
            Self::PresencePenalty => "presence_penalty",
            Self::Seed => "seed",
            Self::Stop if messages => "stop_sequences",
            Self::Stop => "stop",
            Self::Tools => "tools",
            Self::ToolChoice => "tool_choice",
            Self::Format if messages => "output_config.format",
            Self::Format if responses => "text.format",
            Self::Format => "response_format",
            Self::Reasoning if messages => "thinking",
            Self::Reasoning if responses => "reasoning",
            Self::Reasoning => "reasoning_effort",
            Self::ToolResult | Self::Image | Self::MediaUrl | Self::Document | Self::Audio => {
                if responses {
                    "input"
                } else {
                    "messages"
                }
            }
        }
    }
}
