//! The words of OpenTelemetry's conventions for what Weir has words of its own for.

/// What a surface does, as `gen_ai.operation.name`. Surfaces are called as in metrics.
pub fn operation(surface: &str) -> &'static str {
    match surface {
        "completions" => "text_completion",
        "embeddings" => "embeddings",
        "count_tokens" => "count_tokens",
        _ => "chat",
    }
}

/// The path of a surface, as `http.route`; `None` for what is no surface.
pub fn path(surface: &str) -> Option<&'static str> {
    Some(match surface {
        "chat" => "/v1/chat/completions",
        "completions" => "/v1/completions",
        "responses" => "/v1/responses",
        "messages" => "/v1/messages",
        "count_tokens" => "/v1/messages/count_tokens",
        "embeddings" => "/v1/embeddings",
        "titan" => "/proxy/{model}",
        _ => return None,
    })
}

/// A provider, as `gen_ai.provider.name`: by its kind, else by the name of its block.
pub fn provider<'a>(kind: &str, block: &'a str) -> &'a str {
    match (kind, block) {
        ("openai", _) => "openai",
        ("azure", _) => "azure.ai.openai",
        ("anthropic", _) => "anthropic",
        ("google", _) => "gcp.gemini",
        ("openrouter", _) => "openrouter",
        (_, "mistral") => "mistral_ai",
        (_, "xai" | "x-ai") => "x_ai",
        (_, block) => block,
    }
}

/// A status of HTTP that is an error, as `error.type`.
pub fn status(status: u16) -> Option<&'static str> {
    const KNOWN: [(u16, &str); 16] = [
        (400, "400"),
        (401, "401"),
        (402, "402"),
        (403, "403"),
        (404, "404"),
        (408, "408"),
        (409, "409"),
        (413, "413"),
        (415, "415"),
        (422, "422"),
        (429, "429"),
        (500, "500"),
        (502, "502"),
        (503, "503"),
        (504, "504"),
        (529, "529"),
    ];
    let known = KNOWN.iter().find(|(known, _)| *known == status);
    match (known, status) {
        (Some((_, text)), _) => Some(text),
        (None, 400..=499) => Some("4xx"),
        (None, 500..) => Some("5xx"),
        _ => None,
    }
}
