//! The way back: bytes pass as they are, the meter looks, metadata is added at the end; where the
//! provider speaks another dialect than the client, the answer is translated as it passes.
//!
//! Decides how an answer is passed on from its header, and settles when its end is seen (before the
//! last bytes go out, so that a client that has its answer also has its bill). What an answer costs
//! is decided elsewhere.

use super::context::{Admission, Context};
use super::ending::Ending;
use super::head::{announced_length, describe, fresh, unknown_length};
use super::journey::Failed;
use super::redact::Redactor;
use super::reply;
use super::settle::Phase;
use super::tell;
use super::upstream;
use super::verdict::{Collected, judge};
use crate::answer::Answer;
use crate::balance::Outcome;
use crate::dialect::Translator;
use crate::dialect::form::Answering;
use crate::gateway::Gateway;
use crate::secret::Secret;
use crate::stream::{AnswerKind, Finish, Meter, MeterOptions, Place};
use crate::surface::Surface;
use crate::tokens::{self, Encoding};
use crate::wire::Dialect;
use bytes::Bytes;
use http::{HeaderValue, header};
use pingora::http::ResponseHeader;
use pingora_core::{Error, ErrorType, Result};
use std::time::{Duration, Instant};

/// How an answer is passed on.
#[derive(Default)]
pub(crate) enum Relay {
    /// Its header was not seen yet.
    #[default]
    Waiting,
    /// An answer to meter; with `ending`, something is put in at its end. Where the length of the
    /// answer is announced, `room` bytes of it are for that.
    Metered {
        ending: Option<Ending>,
        room: Option<usize>,
    },
    /// An answer in another dialect than the client's: metered as it comes, and translated.
    Translated {
        translator: Box<Translator>,
        ending: Option<Ending>,
    },
    /// An answer that costs nothing.
    Plain,
    /// An error of the provider: our key is taken out, nothing is metered.
    Redacted(Redactor),
    /// An error of the provider that is read whole: it may have to be said in another dialect, and
    /// another model may take over.
    Collected(Box<Collected>),
}

/// Looks at the header before anything of it is passed on.
///
/// # Errors
/// When the answer is not passed on: because another attempt follows, or because it cannot be, as a
/// redirect, or one that is compressed although that was declined, so that it cannot be metered.
pub(crate) fn examine(
    gateway: &Gateway,
    response: &ResponseHeader,
    ctx: &mut Context,
) -> Result<()> {
    if response.status.is_informational() {
        return Ok(());
    }
    let Some(admission) = ctx.admission() else {
        return Ok(());
    };
    let status = response.status.as_u16();
    admission.exchange.answered(status);
    let failed = matches!(status, 429 | 500..=599);
    let outcome = match &admission.visit {
        Some((_, since)) if !failed => {
            Outcome::Answered(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX))
        }
        _ => Outcome::Failed,
    };
    upstream::ended(gateway, admission, outcome);
    if failed || matches!(status, 408 | 409) {
        admission.exchange.enter(Phase::Rejected);
        let block = &admission.candidate.block.name;
        gateway.metrics.upstream_error(block, "status");
        let failed = Failed::Status(retry_after(response));
        if !admission.link.client_gone() && upstream::goes_on(admission, failed) {
            admission.again = true;
            return Err(Error::explain(ErrorType::HTTPStatus(status), "tried again").into_up());
        }
    }
    let judged = judge(status, admission).is_some();
    if !judged {
        // There will be no other attempt once this header is passed on.
        admission.link.forget_body();
    }
    if response.status.is_redirection() {
        admission.exchange.enter(Phase::Rejected);
        return Err(invalid("redirected"));
    }
    if status >= 600 {
        // No status of HTTP, so no error that is known to be free.
        return Err(invalid("of no known class"));
    }
    let encoded = response
        .headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity");
    if encoded {
        if !response.status.is_success() {
            admission.exchange.enter(Phase::Rejected);
        }
        return Err(invalid("compressed although that was declined"));
    }
    Ok(())
}

fn invalid(why: &'static str) -> Box<Error> {
    Error::explain(
        ErrorType::InvalidHTTPHeader,
        format!("the upstream's answer is {why}"),
    )
    .into_up()
}

/// How long a provider wants to be left alone, where it says so in seconds.
fn retry_after(response: &ResponseHeader) -> Option<Duration> {
    let header = |name| {
        response
            .headers
            .get(name)?
            .to_str()
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    header("retry-after-ms")
        .map(Duration::from_millis)
        .or_else(|| header("retry-after").map(Duration::from_secs))
}

/// Prepares the header for the client and decides how the body is passed on.
///
/// # Errors
/// When a header of ours cannot be written.
pub(crate) fn header(response: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
    if response.status.is_informational() {
        return Ok(());
    }
    prepare(response, ctx)?;
    let mut screening = std::mem::take(&mut ctx.screening);
    let mut signing = std::mem::take(&mut ctx.signing);
    let begun = ctx.admission().map_or(Ok(()), |admission| {
        screening.begin(response, admission)?;
        signing.begin(response, admission)
    });
    ctx.signing = signing;
    ctx.screening = screening;
    begun
}

fn prepare(response: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
    let sealed = ctx.signing.closes_streams();
    let id = ctx.id.to_string();
    let created = ctx.unix_millis / 1000;
    ctx.first_byte = Some(Instant::now());
    let Some(admission) = ctx.admission() else {
        return Ok(());
    };
    *response = fresh(response)?;
    response.insert_header(reply::REQUEST_ID, &id)?;
    describe(response, admission)?;
    let surface = admission.journey.surface;
    let foreign = admission.asked_in != surface.dialect();
    if !response.status.is_success() {
        admission.exchange.enter(Phase::Rejected);
        let redactor = Redactor::new(key(admission).map(|key| key.expose().as_bytes()));
        redactor.headers(response);
        let status = response.status.as_u16();
        let judge = judge(status, admission).is_some();
        let empty = announced_length(response) == Some(0);
        admission.relay = if (foreign || judge) && !empty {
            if judge {
                admission.link.keep_back();
            }
            if foreign {
                response.insert_header(header::CONTENT_TYPE, "application/json")?;
            }
            unknown_length(response, admission)?;
            Relay::Collected(Box::new(Collected::new(redactor, status, foreign, judge)))
        } else {
            Relay::Redacted(redactor)
        };
        return Ok(());
    }
    if surface == Surface::CountTokens {
        admission.relay = Relay::Plain;
        return Ok(());
    }
    let events = response
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let kind = if events {
        AnswerKind::EventStream
    } else {
        AnswerKind::Json
    };
    if events {
        tell::streaming(admission);
    }
    let ending = Ending::of(admission);
    let engine = admission.candidate.engines.first();
    let encoding = engine.map_or(Encoding::O200k, |engine| tokens::encoding_for(engine));
    let mut options = MeterOptions {
        dialect: admission.asked_in,
        count: counter(encoding),
        keep: admission.exchange.keeps(),
        ..MeterOptions::default()
    };
    if foreign {
        let answering = Answering {
            id,
            model: admission.candidate.name().to_owned(),
            created,
            include_usage: admission.include_usage || surface == Surface::Titan,
        };
        let translator = Translator::new(admission.asked_in, surface.dialect(), kind, answering);
        let Some(translator) = translator else {
            return Err(invalid("in a dialect that nobody reads"));
        };
        let form = if events {
            "text/event-stream"
        } else {
            "application/json"
        };
        response.insert_header(header::CONTENT_TYPE, form)?;
        unknown_length(response, admission)?;
        admission.exchange.measure(Meter::new(kind, options));
        admission.relay = Relay::Translated {
            translator: Box::new(translator),
            ending,
        };
        return Ok(());
    }
    let chunks = matches!(admission.asked_in, Dialect::Chat | Dialect::Completions);
    let strip = chunks && admission.stream && !admission.include_usage;
    options.strip_usage_chunk = strip;
    // What follows `[DONE]` is waited for by nobody.
    options.insert_before_done = ending.is_some() || (sealed && events);
    let room = match (announced_length(response), &ending) {
        (Some(length), Some(ending)) if !events => {
            let room = ending.room();
            let length = HeaderValue::from(length.saturating_add(room));
            response.insert_header(header::CONTENT_LENGTH, length)?;
            Some(room)
        }
        (Some(_), ending) if ending.is_some() || strip => {
            unknown_length(response, admission)?;
            None
        }
        _ => None,
    };
    admission.exchange.measure(Meter::new(kind, options));
    admission.relay = Relay::Metered { ending, room };
    Ok(())
}

/// The key that an error answer must not show.
fn key(admission: &Admission) -> Option<&Secret> {
    let outgoing = admission
        .journey
        .live
        .outgoing(&admission.candidate.block.name)?;
    outgoing.doors.get(admission.door.0)?.secrets().next()
}

/// Passes a piece of the body on, screened and then signed.
pub(crate) fn body(gateway: &Gateway, body: &mut Option<Bytes>, end: bool, ctx: &mut Context) {
    relayed(gateway, body, end, ctx);
    let mut screening = std::mem::take(&mut ctx.screening);
    let mut signing = std::mem::take(&mut ctx.signing);
    if let Some(admission) = ctx.admission() {
        let meter = admission.exchange.meter();
        let done = end || meter.is_some_and(|meter| meter.is_finished());
        let screened = screening.pass(body.take(), done, admission);
        *body = signing.pass(screened, done, admission);
    }
    ctx.signing = signing;
    ctx.screening = screening;
}

fn relayed(gateway: &Gateway, body: &mut Option<Bytes>, end: bool, ctx: &mut Context) {
    let arrived = ctx.arrived;
    let id = ctx.id;
    let Some(admission) = ctx.admission() else {
        return;
    };
    let closing = |admission: &mut Admission, ending: &Ending, place| {
        ending.text(gateway, admission, place, arrived, id)
    };
    match std::mem::take(&mut admission.relay) {
        Relay::Waiting => {}
        Relay::Plain => admission.relay = Relay::Plain,
        Relay::Redacted(mut redactor) => {
            *body = Some(redactor.pass(body.take().unwrap_or_default(), end));
            admission.relay = Relay::Redacted(redactor);
        }
        Relay::Collected(mut collected) => {
            *body = collected.push(body.take().unwrap_or_default(), end, admission);
            admission.relay = Relay::Collected(collected);
        }
        Relay::Metered { ending, room } => {
            *body = metered(body.take(), end, ending.as_ref(), room, admission, closing);
            admission.relay = Relay::Metered { ending, room };
        }
        Relay::Translated {
            mut translator,
            ending,
        } => {
            let piece = body.take();
            *body = translated(
                piece,
                end,
                &mut translator,
                ending.as_ref(),
                admission,
                closing,
            );
            admission.relay = Relay::Translated { translator, ending };
        }
    }
}

/// Meters a piece; at the end of the answer settles first and then lets the end go out.
fn metered(
    piece: Option<Bytes>,
    end: bool,
    ending: Option<&Ending>,
    room: Option<usize>,
    admission: &mut Admission,
    closing: impl Fn(&mut Admission, &Ending, Place) -> Option<Vec<u8>>,
) -> Option<Bytes> {
    let passed = match piece {
        Some(piece) if !piece.is_empty() => admission.exchange.read(piece)?,
        _ => Bytes::new(),
    };
    let meter = admission.exchange.meter()?;
    if !end && !meter.at_done() {
        return (!passed.is_empty()).then_some(passed);
    }
    let held = meter.finish();
    let last = match ending {
        Some(ending) => closing(admission, ending, held.place),
        None => {
            admission.exchange.close();
            None
        }
    };
    joined(passed, fill(held, last.as_deref(), room))
}

/// Meters a piece and says it in the client's dialect; at the end settles first.
fn translated(
    piece: Option<Bytes>,
    end: bool,
    translator: &mut Translator,
    ending: Option<&Ending>,
    admission: &mut Admission,
    closing: impl Fn(&mut Admission, &Ending, Place) -> Option<Vec<u8>>,
) -> Option<Bytes> {
    let piece = piece.unwrap_or_default();
    let passed = if piece.is_empty() {
        Bytes::new()
    } else {
        let passed = translator.push(&piece);
        // Without an option set, a meter keeps nothing back.
        let _ = admission.exchange.read(piece)?;
        passed
    };
    let meter = admission.exchange.meter()?;
    if !end && !translator.at_end() {
        return (!passed.is_empty()).then_some(passed);
    }
    if translator.is_finished() {
        return None;
    }
    let _ = meter.finish();
    let complete = meter.reading().done;
    let finish = match translator.finish(complete) {
        Ok(finish) => finish,
        Err(failure) => {
            admission.exchange.close();
            let surface = admission.journey.surface;
            let answer = Answer::failure_in(surface.shape(), 502, &failure);
            return joined(passed, answer.body);
        }
    };
    let last = match ending {
        Some(ending) => closing(admission, ending, finish.place),
        None => {
            admission.exchange.close();
            None
        }
    };
    joined(passed, finish.with(last.as_deref()))
}

/// Both, one after the other; `None` for nothing.
pub(super) fn joined(passed: Bytes, rest: Bytes) -> Option<Bytes> {
    let all = match (passed.is_empty(), rest.is_empty()) {
        (true, _) => rest,
        (_, true) => passed,
        (false, false) => Bytes::from([passed, rest].concat()),
    };
    (!all.is_empty()).then_some(all)
}

/// The end of an answer with `last` in its place. Where room was announced for it, spaces fill what
/// is not needed: white space after a JSON value is part of JSON.
fn fill(held: Finish, last: Option<&[u8]>, room: Option<usize>) -> Bytes {
    let Some(room) = room else {
        return held.with(last);
    };
    let whole = held.before.len() + held.after.len() + room;
    let mut rest = held.clone().with(last);
    if rest.len() > whole {
        rest = held.with(None);
    }
    let mut rest = Vec::from(rest);
    rest.resize(whole, b' ');
    Bytes::from(rest)
}

fn counter(encoding: Encoding) -> fn(&str) -> u64 {
    match encoding {
        Encoding::Cl100k => |text| tokens::count(text, Encoding::Cl100k),
        Encoding::O200k => |text| tokens::count(text, Encoding::O200k),
    }
}
