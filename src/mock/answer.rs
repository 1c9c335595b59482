//! One request from its arrival to the end of its answer.
//!
//! Decides in this order: is the request valid, what was asked of the mock, does this attempt fail,
//! and only then what is answered.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::State;
use super::api::{self, Failure, Place};
use super::behaviour::{Behaviour, Cut};
use super::content::Content;
use super::dialect;
use super::record::{Exchange, Received, Record};
use super::reply::{failure, head, whole};
use super::request::{self, Asked, Refused, Request};
use super::speak::{Plan, Speaker};
use super::stream;
use super::usage::{Counts, Usage};
use super::wire::{Gone, Head, Wire, wait};

/// The model that answers when none was named, or only a router.
const DEFAULT_MODEL: &str = "openai/gpt-4o-mini";

/// The most content chunks of a JSON answer.
const MAX_JSON_CHUNKS: u64 = 1 << 22;

/// How an answer ended when the peer stayed.
pub(super) enum End {
    Completed,
    Cut,
}

/// Answers a request for a model.
pub(super) async fn exchange<W: Wire>(
    state: &State,
    request: &Request,
    place: &Place,
    wire: &mut W,
) {
    let mut behaviour = Cow::Borrowed(&state.behaviour);
    let read = understand(state, request, place, &mut behaviour);
    let about = record(state, request, place, &behaviour, read.as_ref().ok());
    let mut exchange = state.recorder.start(about);
    if let Some(journal) = &state.journal
        && (read.is_ok() || serde_json::from_slice::<serde::de::IgnoredAny>(&request.body).is_ok())
    {
        let _ = journal.log(request.body.clone()).await;
    }
    let ended = match &read {
        Ok((asked, _)) => {
            let asking = Asking {
                state,
                request,
                place,
                asked,
            };
            asking.answer(&mut behaviour, &mut exchange, wire).await
        }
        Err(refused) => {
            let (body, head) = refusal(place, &behaviour, &mut exchange, refused);
            whole(body, head, &Behaviour::default(), wire).await
        }
    };
    match ended {
        Ok(End::Completed) => exchange.record.completed = true,
        Ok(End::Cut) => {}
        Err(Gone) => exchange.record.peer_left = true,
    }
}

/// The answer to an invalid request.
fn refusal(
    place: &Place,
    behaviour: &Behaviour,
    exchange: &mut Exchange,
    refused: &Refused,
) -> (Vec<u8>, Head) {
    exchange.record.refused = Some(refused.reason.clone());
    let failure = Failure {
        status: refused.status,
        code: refused.code,
        message: Some(&refused.reason),
        prompt_tokens: 0,
    };
    // An error of the mock's own has nothing to do with the one that was asked for.
    let plain = Behaviour {
        dialect: behaviour.dialect,
        ..Behaviour::default()
    };
    let body = api::error(place, &plain, &failure);
    let head = head(
        place,
        behaviour,
        exchange,
        refused.status,
        "application/json",
    );
    (body.into_bytes(), head)
}

/// Reads what was asked, of the model and of the mock; and which model answers.
fn understand<'a>(
    state: &State,
    request: &'a Request,
    place: &Place,
    behaviour: &mut Cow<'_, Behaviour>,
) -> Result<(Asked<'a>, String), Refused> {
    request::check_head(request, place, state.require_key.as_deref())?;
    dialect::check_call(request, place)?;
    let mut told = || {
        if let Some(query) = &request.query {
            let ours = |pair: &&str| !place.owns(pair.split('=').next().unwrap_or(pair));
            let query: Vec<&str> = query.split('&').filter(ours).collect();
            behaviour.to_mut().apply_query(&query.join("&"))?;
        }
        if let Some(header) = request.header("x-mock") {
            behaviour.to_mut().apply(header)?;
        }
        let start = &request.body[..request.body.len().min(8192)];
        if memchr::memmem::find(start, b"[[").is_some() {
            behaviour.to_mut().apply_directives(start)?;
        }
        behaviour.check()
    };
    told().map_err(|error| Refused::new(400, error.to_string()))?;
    let asked = dialect::read(request, place, behaviour.dialect)?;
    let second = || {
        let none = || Refused::new(400, "fallback=1 needs a second model in `models`");
        asked.models.get(1).ok_or_else(none)
    };
    let named = asked
        .model
        .as_ref()
        .or(place.model.as_ref())
        .filter(|model| *model != "openrouter/auto");
    let model = match &behaviour.model {
        Some(model) => model.clone(),
        None if behaviour.fallback => second()?.clone(),
        None => asked
            .models
            .first()
            .or(named)
            .map_or(DEFAULT_MODEL, String::as_str)
            .to_owned(),
    };
    Ok((asked, model))
}

fn record(
    state: &State,
    request: &Request,
    place: &Place,
    behaviour: &Behaviour,
    read: Option<&(Asked<'_>, String)>,
) -> Record {
    let text = |name: &str| request.header(name).map(str::to_owned);
    let attempt = behaviour.key.as_ref().map(|key| {
        let mut attempts = state
            .attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(key.clone()).or_insert(0);
        *attempt += 1;
        *attempt
    });
    Record {
        path: request.path.clone(),
        dialect: place.name(),
        auth_header: request::auth_header(request),
        protocol: request.protocol,
        request_id: text("x-request-id"),
        weir_request_id: text("x-weir-request-id"),
        tag: behaviour.tag.clone(),
        key: behaviour.key.clone(),
        attempt: attempt.unwrap_or(0),
        body_bytes: request.body.len() as u64,
        stream: read.is_some_and(|(asked, _)| asked.stream),
        model_asked: read
            .and_then(|(asked, _)| asked.model.clone())
            .or_else(|| place.model.clone()),
        model: read.map(|(_, model)| model.clone()).unwrap_or_default(),
        prompt_tokens: read.map_or(0, |(asked, _)| asked.prompt_tokens),
        request: state.keep_requests.then(|| {
            Arc::new(Received {
                method: request.method.to_string(),
                query: request.query.clone(),
                headers: request.headers.clone(),
                body: request.body.clone(),
            })
        }),
        ..Record::default()
    }
}

/// A valid request.
struct Asking<'a> {
    state: &'a State,
    request: &'a Request,
    place: &'a Place,
    asked: &'a Asked<'a>,
}

impl Asking<'_> {
    async fn answer<W: Wire>(
        &self,
        behaviour: &mut Cow<'_, Behaviour>,
        exchange: &mut Exchange,
        wire: &mut W,
    ) -> Result<End, Gone> {
        if behaviour.fail_first > 0 {
            if exchange.record.attempt > behaviour.fail_first {
                behaviour.to_mut().heal();
            } else if !behaviour.fails() {
                behaviour.to_mut().status = Some(503);
            }
        }
        let behaviour: &Behaviour = behaviour;
        let (place, asked) = (self.place, self.asked);
        if behaviour.cut == Some(Cut::Accept) {
            wire.abort(Cut::Accept);
            return Ok(End::Cut);
        }
        if behaviour.hang_headers {
            wire.gone().await;
            return Err(Gone);
        }
        if behaviour.lat_ms > 0 {
            let late = Duration::from_millis(behaviour.lat_ms);
            wait(wire, Instant::now() + late).await?;
        }
        if let Some(name) = &behaviour.replay {
            return self.replay(name, behaviour, exchange, wire).await;
        }
        let failed = failure(self.request, place, behaviour, asked.prompt_tokens);
        if let Some((status, media, body)) = failed {
            let head = head(place, behaviour, exchange, status, media);
            return whole(body.into_bytes(), head, behaviour, wire).await;
        }
        if let Some(body) = dialect::contentless(asked, place, behaviour, exchange) {
            let head = head(place, behaviour, exchange, 200, "application/json");
            return whole(body, head, behaviour, wire).await;
        }
        let plan = self.plan(behaviour, exchange).await;
        let mut speaker = dialect::speaker(&plan);
        if plan.stream {
            let media = "text/event-stream; charset=utf-8";
            let head = head(place, behaviour, exchange, 200, media);
            return stream::events(&plan, &mut *speaker, &head, exchange, wire).await;
        }
        if plan.total() > MAX_JSON_CHUNKS {
            let refused = Refused::new(400, "too many chunks for a JSON answer");
            let (body, head) = refusal(place, behaviour, exchange, &refused);
            return whole(body, head, behaviour, wire).await;
        }
        json(&plan, &mut *speaker, exchange, wire).await
    }

    async fn plan<'b>(&'b self, behaviour: &'b Behaviour, exchange: &Exchange) -> Plan<'b> {
        let (place, asked) = (self.place, self.asked);
        let (content, chunks) = Content::choose(behaviour, self.request, asked).await;
        let chunks = dialect::chunks(place, &content, chunks);
        let per_choice = chunks.min(asked.max_tokens.unwrap_or(u64::MAX));
        let counts = Counts {
            input: behaviour.tokens_in.unwrap_or(asked.prompt_tokens),
            output: behaviour
                .tokens_out
                .unwrap_or(per_choice.saturating_mul(asked.choices)),
            cached: behaviour.cached,
            cache_write: behaviour.cache_write,
            cache_write_1h: behaviour.cache_write_1h,
            reasoning: behaviour.reasoning,
            tool_use: behaviour.tool_use,
        };
        let model = exchange.record.model.clone();
        Plan {
            behaviour,
            place,
            seq: exchange.record.seq,
            created: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs(),
            content,
            stream: asked.stream,
            choices: asked.choices,
            per_choice,
            limited: per_choice < chunks,
            include_usage: asked.include_usage,
            thinks: asked.thinks || behaviour.reasoning > 0,
            prompt_tokens: asked.prompt_tokens,
            usage: Usage::new(
                behaviour.usage,
                counts,
                &behaviour.cost,
                place.charges(behaviour.dialect),
                &model,
                dialect::priced_input(place, counts),
            ),
            model,
        }
    }

    async fn replay<W: Wire>(
        &self,
        name: &str,
        behaviour: &Behaviour,
        exchange: &mut Exchange,
        wire: &mut W,
    ) -> Result<End, Gone> {
        let file = match &self.state.recorded {
            Some(folder) => tokio::fs::read(folder.join(name))
                .await
                .map_err(|error| error.to_string()),
            None => Err("the mock has no folder of recorded answers".to_owned()),
        };
        let events = std::path::Path::new(name)
            .extension()
            .is_some_and(|ext| ext == "sse");
        let usual = if name.ends_with(".err.json") {
            400
        } else {
            200
        };
        let status = behaviour.status.unwrap_or(usual);
        let mut head = |media| head(self.place, behaviour, exchange, status, media);
        match file {
            Ok(recorded) if events => {
                let head = head("text/event-stream; charset=utf-8");
                stream::replay(&recorded, behaviour, &head, exchange, wire).await
            }
            Ok(recorded) => {
                let head = head("application/json");
                whole(recorded, head, behaviour, wire).await
            }
            Err(error) => {
                let refused = Refused::new(400, format!("replay={name}: {error}"));
                let (body, head) = refusal(self.place, behaviour, exchange, &refused);
                whole(body, head, behaviour, wire).await
            }
        }
    }
}

async fn json<W: Wire>(
    plan: &Plan<'_>,
    speaker: &mut dyn Speaker,
    exchange: &mut Exchange,
    wire: &mut W,
) -> Result<End, Gone> {
    let behaviour = plan.behaviour;
    let failed_at = behaviour.error_at.map(|at| at.min(plan.per_choice));
    let chunks = failed_at.unwrap_or(plan.per_choice);
    let answer = speaker.whole(chunks, failed_at.is_some());
    let head = head(
        plan.place,
        behaviour,
        exchange,
        answer.status,
        "application/json",
    );
    let end = whole(answer.body, head, behaviour, wire).await?;
    if matches!(end, End::Completed) {
        exchange.produced(chunks.saturating_mul(plan.choices));
        exchange.record.announced = speaker.announced();
    }
    Ok(end)
}
