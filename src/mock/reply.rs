//! Answers that are sent as a whole: their heads, error bodies, and a body of known length.

use std::borrow::Cow;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::answer::End;
use super::api::{self, Api, Failure, Place};
use super::behaviour::{Behaviour, Dialect};
use super::record::Exchange;
use super::request::{self, Request};
use super::shape;
use super::stream::Fault;
use super::wire::{Gone, Head, Wire};

/// The error answer that was asked for, if one was.
pub(super) fn failure(
    request: &Request,
    place: &Place,
    behaviour: &Behaviour,
    prompt_tokens: u64,
) -> Option<(u16, &'static str, String)> {
    let error = |status, message| {
        let failure = Failure {
            status,
            code: behaviour.code.as_deref(),
            message,
            prompt_tokens,
        };
        api::error(place, behaviour, &failure)
    };
    let status = |default: u16| behaviour.status.unwrap_or(default);
    if behaviour.redirect.is_some() {
        return Some((status(307), "text/plain", String::new()));
    }
    if behaviour.html {
        let status = status(502);
        let page = format!(
            "<!DOCTYPE html>\n<html><head><title>{status}</title></head><body><h1>{status} {}</h1><hr>mock</body></html>\n",
            shape::message(status)
        );
        return Some((status, "text/html; charset=utf-8", page));
    }
    if behaviour.echo_auth {
        let status = status(401);
        let header = request::auth_header(request).unwrap_or("authorization");
        let shown = request.header(header).unwrap_or("nothing");
        let message = format!("Invalid credentials: got `{shown}`");
        return Some((status, "application/json", error(status, Some(&message))));
    }
    let status = behaviour.status?;
    Some((status, "application/json", error(status, None)))
}

/// The head of an answer; its status goes into the record.
pub(super) fn head(
    place: &Place,
    behaviour: &Behaviour,
    exchange: &mut Exchange,
    status: u16,
    media: &'static str,
) -> Head {
    exchange.record.status = Some(status);
    let mut headers: Vec<(Cow<'static, str>, Cow<'static, str>)> = Vec::with_capacity(8);
    let mut add = |name: &'static str, value: Cow<'static, str>| headers.push((name.into(), value));
    add("content-type", media.into());
    add(
        "x-request-id",
        format!("req_mock_{}", exchange.record.seq).into(),
    );
    if media.starts_with("text/event-stream") {
        add("cache-control", "no-cache".into());
    }
    match place.api {
        Api::Messages | Api::CountTokens => {
            add(
                "request-id",
                format!("req_mock_{}", exchange.record.seq).into(),
            );
            add("anthropic-ratelimit-requests-remaining", "9999".into());
            add("anthropic-ratelimit-tokens-remaining", "1999999".into());
        }
        Api::Gemini | Api::GeminiCount => add("server-timing", "gfet4t7; dur=12".into()),
        _ if place.azure => {
            add(
                "apim-request-id",
                format!("mock-{}", exchange.record.seq).into(),
            );
            add("x-ratelimit-remaining-requests", "-1".into());
            add("x-ratelimit-remaining-tokens", "-1".into());
        }
        _ if behaviour.dialect == Dialect::OpenAi => {
            add("openai-processing-ms", "12".into());
            add("x-ratelimit-remaining-requests", "9999".into());
            add("x-ratelimit-remaining-tokens", "1999999".into());
        }
        _ => {}
    }
    if behaviour.gzip {
        add("content-encoding", "gzip".into());
    }
    if status >= 300 {
        if let Some(seconds) = &behaviour.retry_after {
            add("retry-after", seconds.clone().into());
        }
        if let Some(place) = &behaviour.redirect {
            add("location", place.clone().into());
        }
    }
    for index in 0..behaviour.headers {
        headers.push((format!("x-mock-{index}").into(), "x".repeat(88).into()));
    }
    Head {
        status,
        headers,
        length: None,
    }
}

/// Sends a body whose length is known; faults count its bytes.
pub(super) async fn whole<W: Wire>(
    mut body: Vec<u8>,
    mut head: Head,
    behaviour: &Behaviour,
    wire: &mut W,
) -> Result<End, Gone> {
    if behaviour.gzip {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to a `Vec` cannot fail.
        body = gzip
            .write_all(&body)
            .and_then(|()| gzip.finish())
            .unwrap_or_default();
    }
    head.length = Some(body.len());
    wire.head(&head);
    let at = behaviour.cut_at.or(behaviour.hang_at);
    let fault = at.and_then(|at| Fault::after(at, behaviour));
    let size = behaviour.split.unwrap_or(usize::MAX);
    let stop = at.filter(|_| fault.is_some()).map_or(body.len(), |at| {
        usize::try_from(at).unwrap_or(usize::MAX).min(body.len())
    });
    let mut sent = 0_usize;
    loop {
        let end = stop.min(sent.saturating_add(size));
        wire.write(&body[sent..end], fault.is_none() && end == body.len())
            .await?;
        sent = end;
        if sent == stop {
            break;
        }
        tokio::task::yield_now().await;
    }
    match fault {
        Some(Fault::Cut(cut)) => {
            wire.abort(cut);
            Ok(End::Cut)
        }
        Some(_) => {
            wire.gone().await;
            Err(Gone)
        }
        None => Ok(End::Completed),
    }
}
