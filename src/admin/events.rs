//! `/events`: what happens, for whoever watches.
//!
//! Decides who may watch (whoever may use the admin API, and web pages that are named in the settings) and how
//! many. Who asks to change to a WebSocket gets one, everybody else an answer that does not end. Both are sent the
//! same JSON, from the moment they ask on.

mod door;
mod lines;
mod socket;

pub use door::Door;
pub(super) use lines::Endless;

use super::{Peer, Refused, Shared};
use crate::auth;
use crate::feed::filter::Filter;
use crate::feed::{Place, Sink};
use crate::refusal::Refusal;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use std::time::Duration;

/// When somebody who found no place should try again, in seconds.
const TRY_AGAIN: u64 = 30;

/// How often it is looked whether somebody who takes nothing has lost events by now.
const LOOK: Duration = Duration::from_millis(250);

/// How long events are gathered after a batch that was not full: nobody has to be woken for each of them.
const GATHER: Duration = Duration::from_millis(5);

/// The most events of one batch.
const BATCH: usize = 64;

/// The parameters of a query as they came.
type Pairs = Query<Vec<(String, String)>>;

/// `GET /events`.
pub(super) async fn events(
    State(shared): State<Shared>,
    Extension(peer): Peer,
    cut: Option<Extension<door::Cut>>,
    headers: HeaderMap,
    query: Result<Pairs, axum::extract::rejection::QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refused> {
    let Query(pairs) = query.map_err(|_| Refusal::BadRequest("The query cannot be read"))?;
    let pairs = || pairs.iter().map(|(name, value)| (&**name, &**value));
    let page = page(&shared, &headers)?;
    let token = pairs().find(|(name, _)| *name == "token");
    let header = headers.get(header::AUTHORIZATION);
    let header = header.and_then(|value| value.to_str().ok());
    let presented = auth::presented(header, None).or(token.map(|(_, token)| token));
    shared.allow_presented(presented, peer)?;
    let filter = Filter::of(pairs()).map_err(|unclear| Refusal::BadRequest(unclear.0))?;

    let sink = if upgrade.is_ok() {
        Sink::WebSocket
    } else {
        Sink::Sse
    };
    let gateway = &shared.gateway;
    let settings = &gateway.settings.events;
    let place = Place::take(&gateway.feed, sink, settings.watchers);
    let place = place.ok_or_else(|| Refusal::RateLimited {
        what: "watchers",
        scope: format!("this gateway (limit {})", settings.watchers),
        retry_after_seconds: TRY_AGAIN,
    })?;
    let wish = Wish {
        watch: gateway.feed.watch(),
        filter,
        place,
        ping: settings.ping,
    };
    let mut response = match upgrade {
        Ok(upgrade) => socket::answer(upgrade, wish, gateway),
        Err(_) => lines::answer(wish, gateway, cut.map(|Extension(cut)| cut)),
    };
    if let Some(page) = page {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    Ok(response)
}

/// Somebody who watches, and what.
struct Wish {
    watch: crate::feed::Watch,
    filter: Filter,
    place: Place,
    ping: Duration,
}

impl Wish {
    /// Somebody was too slow and is sent away; `lost` events are known to be gone.
    fn too_slow(&self, lost: u64) {
        let left = u64::try_from(self.watch.behind()).unwrap_or(u64::MAX);
        self.place.tally().lose(lost.saturating_add(left));
        self.place.tally().drop_watcher();
    }
}

/// The web page that asks, if one does.
fn page(shared: &Shared, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Ok(None);
    };
    let settings = &shared.gateway.settings;
    if settings.admin.token.is_none() {
        return Err(Refusal::AdminOnly(
            "Web pages may watch with ADMIN_TOKEN only",
        ));
    }
    let shown = origin.to_str().unwrap_or_default().to_ascii_lowercase();
    let known = settings.events.origins.contains(&shown);
    if !known || origins.next().is_some() {
        return Err(Refusal::AdminOnly(
            "This web page may not watch; events.origins names those that may",
        ));
    }
    Ok(Some(origin.clone()))
}
