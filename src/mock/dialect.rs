//! The interfaces: what each makes of a request, and how each says an answer.

mod chat;
mod embeddings;
mod gemini;
mod legacy;
mod messages;
mod responses;
mod strict;

use super::api::{Api, Place};
use super::behaviour::{Behaviour, Dialect};
use super::content::Content;
use super::record::Exchange;
use super::request::{Asked, Refused, Request};
use super::speak::{Plan, Speaker};
use super::usage::Counts;

/// Reads and checks a request.
pub(super) fn read<'a>(
    request: &'a Request,
    place: &Place,
    dialect: Dialect,
) -> Result<Asked<'a>, Refused> {
    let body = &request.body;
    let openai = responses::is_openai(dialect, place.azure);
    match place.api {
        Api::Chat => chat::read(body, dialect, place),
        Api::Completions | Api::Embeddings => legacy::read(body, place, openai),
        Api::Responses => responses::read(body, openai),
        Api::Messages | Api::CountTokens => messages::read(body, place),
        Api::Gemini | Api::GeminiCount => gemini::read(body, place),
    }
}

/// Who says the planned answer.
pub(super) fn speaker<'p>(plan: &'p Plan<'p>) -> Box<dyn Speaker + 'p> {
    match plan.place.api {
        Api::Completions => Box::new(legacy::Completion::new(plan)),
        Api::Responses => Box::new(responses::Response::new(plan)),
        Api::Messages => Box::new(messages::Message::new(plan)),
        Api::Gemini => Box::new(gemini::Generated::new(plan)),
        // The others have no content and do not come here.
        Api::Chat | Api::Embeddings | Api::CountTokens | Api::GeminiCount => {
            Box::new(chat::Chat::new(plan))
        }
    }
}

/// Checks what stands before the body: the query and the headers that the interface asks for.
pub(super) fn check_call(request: &Request, place: &Place) -> Result<(), Refused> {
    let query = request.query.as_deref().unwrap_or_default();
    let has = |name: &str| {
        let mut pairs = query.split('&');
        pairs.any(|pair| pair.split_once('=').map_or(pair, |(key, _)| key) == name)
    };
    match place.api {
        Api::Gemini | Api::GeminiCount => {
            if has("key") {
                return Refused::bad("the key is in the query, where logs keep it");
            }
            if place.stream && !query.split('&').any(|pair| pair == "alt=sse") {
                return Refused::bad("a stream that is no event stream: alt=sse is missing");
            }
        }
        Api::Messages | Api::CountTokens
            if !place.openclaw && request.header("anthropic-version").is_none() =>
        {
            return Refused::bad("anthropic-version: header is required");
        }
        _ if place.azure && !has("api-version") => {
            return Err(Refused::new(404, "Resource not found").coded("404"));
        }
        _ => {}
    }
    Ok(())
}

/// How many chunks the content has here.
pub(super) fn chunks(place: &Place, content: &Content, chunks: u64) -> u64 {
    match place.api {
        // A call is one part, never divided.
        Api::Gemini if !content.calls().is_empty() => content.calls().len() as u64,
        _ => chunks,
    }
}

/// The input tokens that a cost is computed from.
pub(super) fn priced_input(place: &Place, counts: Counts) -> u64 {
    match place.api {
        Api::Messages => counts
            .input
            .saturating_add(counts.cached)
            .saturating_add(counts.cache_write)
            .saturating_add(counts.cache_write_1h),
        _ => counts.input,
    }
}

/// An answer that has no content: vectors or a number of tokens.
pub(super) fn contentless(
    asked: &Asked<'_>,
    place: &Place,
    behaviour: &Behaviour,
    exchange: &mut Exchange,
) -> Option<Vec<u8>> {
    let tokens = behaviour.tokens_in.unwrap_or(asked.prompt_tokens);
    match place.api {
        Api::Embeddings => {
            let (body, says) = embeddings::answer(asked, place, behaviour, &exchange.record.model);
            exchange.record.announced = says;
            Some(body)
        }
        Api::CountTokens => Some(format!(r#"{{"input_tokens":{tokens}}}"#).into_bytes()),
        Api::GeminiCount => Some(format!(r#"{{"totalTokens":{tokens}}}"#).into_bytes()),
        _ => None,
    }
}
