//! One request from its arrival to the end of its answer.
//!
//! Decides in this order: is the request valid, what was asked of the mock, does this attempt fail,
//! and only then what is answered.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::State;
use super::behaviour::{Behaviour, Cut, Dialect, UsageForm};
use super::content::Content;
use super::record::{Exchange, Received, Record};
use super::reply::{failure, head, whole};
use super::request::{self, Chat, Refused, Request};
use super::shape::{self, Counts, Shape, UsageText};
use super::stream;
use super::wire::{Gone, Wire, wait};

/// The model that answers when none was named, or only a router.
const DEFAULT_MODEL: &str = "openai/gpt-4o-mini";

/// The most content chunks of a JSON answer.
const MAX_JSON_CHUNKS: u64 = 1 << 22;

/// How an answer ended when the peer stayed.
pub(super) enum End {
    Completed,
    Cut,
}

/// Everything that was decided about a content answer.
pub(super) struct Plan<'a> {
    pub(super) behaviour: &'a Behaviour,
    pub(super) shape: Shape,
    pub(super) content: Content,
    pub(super) choices: u64,
    /// Content chunks of each choice.
    pub(super) per_choice: u64,
    pub(super) finish: &'static str,
    pub(super) usage: Option<UsageText>,
    pub(super) include_usage: bool,
}

/// Answers a chat request.
pub(super) async fn chat<W: Wire>(state: &State, request: &Request, wire: &mut W) {
    let mut behaviour = Cow::Borrowed(&state.behaviour);
    let read = understand(state, request, &mut behaviour);
    let mut exchange = state
        .recorder
        .start(record(state, request, &behaviour, read.as_ref().ok()));
    if let Some(journal) = &state.journal
        && (read.is_ok() || serde_json::from_slice::<serde::de::IgnoredAny>(&request.body).is_ok())
    {
        let _ = journal.log(request.body.clone()).await;
    }
    let ended = match &read {
        Ok((chat, _)) => answer(state, request, chat, &mut behaviour, &mut exchange, wire).await,
        Err(Refused(status, reason)) => {
            exchange.record.refused = Some(reason.clone());
            let body = shape::error(behaviour.dialect, *status, reason, None);
            let head = head(&behaviour, &mut exchange, *status, "application/json");
            whole(body.into_bytes(), head, &Behaviour::default(), wire).await
        }
    };
    match ended {
        Ok(End::Completed) => exchange.record.completed = true,
        Ok(End::Cut) => {}
        Err(Gone) => exchange.record.peer_left = true,
    }
}

/// Reads what was asked, of the model and of the mock; and which model answers.
fn understand<'a>(
    state: &State,
    request: &'a Request,
    behaviour: &mut Cow<'_, Behaviour>,
) -> Result<(Chat<'a>, String), Refused> {
    request::check_head(request, state.require_key.as_deref())?;
    let mut told = || {
        if let Some(query) = &request.query {
            behaviour.to_mut().apply_query(query)?;
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
    told().map_err(|error| Refused(400, error.to_string()))?;
    let chat = request::read(&request.body, behaviour.dialect)?;
    let second = || {
        let none = || {
            Refused(
                400,
                "fallback=1 needs a second model in `models`".to_owned(),
            )
        };
        chat.models.get(1).ok_or_else(none)
    };
    let named = chat
        .model
        .as_ref()
        .filter(|model| *model != "openrouter/auto");
    let model = match &behaviour.model {
        Some(model) => model.clone(),
        None if behaviour.fallback => second()?.clone(),
        None => chat
            .models
            .first()
            .or(named)
            .map_or(DEFAULT_MODEL, String::as_str)
            .to_owned(),
    };
    Ok((chat, model))
}

fn record(
    state: &State,
    request: &Request,
    behaviour: &Behaviour,
    read: Option<&(Chat<'_>, String)>,
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
        protocol: request.protocol,
        request_id: text("x-request-id"),
        weir_request_id: text("x-weir-request-id"),
        tag: behaviour.tag.clone(),
        key: behaviour.key.clone(),
        attempt: attempt.unwrap_or(0),
        body_bytes: request.body.len() as u64,
        stream: read.is_some_and(|(chat, _)| chat.stream),
        model_asked: read.and_then(|(chat, _)| chat.model.clone()),
        model: read.map(|(_, model)| model.clone()).unwrap_or_default(),
        prompt_tokens: read.map_or(0, |(chat, _)| chat.prompt_tokens),
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

async fn answer<W: Wire>(
    state: &State,
    request: &Request,
    chat: &Chat<'_>,
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
    if behaviour.cut == Some(Cut::Accept) {
        wire.abort(Cut::Accept);
        return Ok(End::Cut);
    }
    if behaviour.hang_headers {
        wire.gone().await;
        return Err(Gone);
    }
    if behaviour.lat_ms > 0 {
        wait(
            wire,
            Instant::now() + Duration::from_millis(behaviour.lat_ms),
        )
        .await?;
    }
    if let Some(name) = &behaviour.replay {
        return replay(state, name, behaviour, exchange, wire).await;
    }
    if let Some((status, media, body)) = failure(request, behaviour) {
        let head = head(behaviour, exchange, status, media);
        return whole(body.into_bytes(), head, behaviour, wire).await;
    }
    let (content, chunks) = Content::choose(behaviour, request, chat).await;
    let per_choice = chunks.min(chat.max_tokens.unwrap_or(u64::MAX));
    let total = per_choice.saturating_mul(chat.choices);
    let counts = Counts {
        input: behaviour.tokens_in.unwrap_or(chat.prompt_tokens),
        output: behaviour.tokens_out.unwrap_or(total),
        cached: behaviour.cached,
        reasoning: behaviour.reasoning,
    };
    let model = &exchange.record.model;
    let dialect = behaviour.dialect;
    let prefix = if dialect == Dialect::OpenAi {
        "chatcmpl"
    } else {
        "gen"
    };
    let id = format!("{prefix}-mock-{}", exchange.record.seq);
    let created = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let null_usage = dialect == Dialect::OpenAi && chat.stream && chat.include_usage;
    let plan = Plan {
        behaviour,
        shape: Shape::new(dialect, chat.stream, &id, model, created, null_usage),
        choices: chat.choices,
        per_choice,
        finish: if per_choice < chunks {
            "length"
        } else {
            content.finish_reason()
        },
        usage: shape::usage(dialect, behaviour.usage, counts, &behaviour.cost, model),
        include_usage: chat.include_usage,
        content,
    };
    if chat.stream {
        let head = head(behaviour, exchange, 200, "text/event-stream; charset=utf-8");
        return stream::events(&plan, &head, exchange, wire).await;
    }
    if total > MAX_JSON_CHUNKS {
        let body = shape::error(dialect, 400, "too many chunks for a JSON answer", None);
        let head = head(behaviour, exchange, 400, "application/json");
        return whole(body.into_bytes(), head, behaviour, wire).await;
    }
    json(&plan, exchange, wire).await
}

async fn json<W: Wire>(
    plan: &Plan<'_>,
    exchange: &mut Exchange,
    wire: &mut W,
) -> Result<End, Gone> {
    let behaviour = plan.behaviour;
    let failed_at = behaviour.error_at.map(|at| at.min(plan.per_choice));
    let chunks = failed_at.unwrap_or(plan.per_choice);
    let finish = if failed_at.is_some() {
        "error"
    } else {
        plan.finish
    };
    let messages: Vec<Vec<u8>> = (0..plan.choices)
        .map(|choice| plan.content.message(choice, chunks))
        .collect();
    let copies = if behaviour.usage == UsageForm::Twice {
        2
    } else {
        1
    };
    let usage: Vec<&str> = plan
        .usage
        .iter()
        .flat_map(|usage| std::iter::repeat_n(usage.json.as_str(), copies))
        .collect();
    let first = behaviour.usage == UsageForm::Early;
    let body = plan
        .shape
        .body(&messages, finish, failed_at.is_some(), &usage, first);
    let head = head(behaviour, exchange, 200, "application/json");
    let end = whole(body, head, behaviour, wire).await?;
    if matches!(end, End::Completed) {
        exchange.produced(chunks.saturating_mul(plan.choices));
        exchange.record.announced = plan.usage.as_ref().and_then(|usage| usage.says);
    }
    Ok(end)
}

async fn replay<W: Wire>(
    state: &State,
    name: &str,
    behaviour: &Behaviour,
    exchange: &mut Exchange,
    wire: &mut W,
) -> Result<End, Gone> {
    let file = match &state.recorded {
        Some(folder) => tokio::fs::read(folder.join(name))
            .await
            .map_err(|error| error.to_string()),
        None => Err("the mock has no folder of recorded answers".to_owned()),
    };
    let events = std::path::Path::new(name)
        .extension()
        .is_some_and(|ext| ext == "sse");
    let status = behaviour.status.unwrap_or(if name.ends_with(".err.json") {
        400
    } else {
        200
    });
    match file {
        Ok(recorded) if events => {
            let head = head(
                behaviour,
                exchange,
                status,
                "text/event-stream; charset=utf-8",
            );
            stream::replay(&recorded, behaviour, &head, exchange, wire).await
        }
        Ok(recorded) => {
            let head = head(behaviour, exchange, status, "application/json");
            whole(recorded, head, behaviour, wire).await
        }
        Err(error) => {
            let reason = format!("replay={name}: {error}");
            let body = shape::error(behaviour.dialect, 400, &reason, None);
            exchange.record.refused = Some(reason);
            let head = head(behaviour, exchange, 400, "application/json");
            whole(body.into_bytes(), head, behaviour, wire).await
        }
    }
}
