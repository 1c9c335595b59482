//! What happened: one type for everything that somebody may want to watch.
//!
//! Decides the names and fields of events, and nothing of where they go ([`crate::feed`]). The five events of
//! the Model Gateway have its names, and its fields come first; what else is there, and every other event, is
//! ours. Fields are only ever added within one [`VERSION`].
//!
//! No prompt, answer, key or other secret is ever part of an event.

mod write;

use crate::identity::{AccountId, AgentId, RequestId, UserId};
use crate::money::Nanos;
use std::sync::Arc;

/// The version of the fields: the field `v` of every event.
pub const VERSION: u32 = 1;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number in this process, from 1. Numbers of events that happen together may cross.
    pub seq: u64,
    /// When, in Unix milliseconds.
    pub at: u64,
    /// What.
    pub kind: Kind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `model.request.start`: a request was let in and its money is held.
    Start(Request, Begun),
    /// `model.streaming.start`: the first byte of a streamed answer is on its way to the client.
    Streaming(Request),
    /// `model.request.complete`: a request that was let in has ended.
    Complete(Request, Box<Ended>),
    /// `model.request.refused`: Weir itself refused a request.
    Refused(Refused),
    /// `model.budget.warning`: an account has passed one of its warning levels; once per level and period.
    Warning(Warning),
    /// `model.budget.exceeded`: a request was refused because a budget is used up.
    Exceeded(Exceeded),
    /// `guard.finding`: the guard found something.
    Finding(Finding),
    /// `breaker.level`: the cost breaker is at another level.
    Breaker(Breaker),
    /// `provider.ejected`: an endpoint is left alone for a while.
    Ejected(Ejected),
    /// `gateway.reload`: the files were read again.
    Reload(Reload),
    /// `gateway.upgrade`: another process takes over, or has.
    Upgrade(Upgrade),
    /// `admin.change`: somebody changed something through the admin API.
    Change(Change),
}

/// Which request an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The request: `trace_id`.
    pub id: RequestId,
    /// The model: as the client asked for it, until one has answered.
    pub model: Arc<str>,
    /// Whose budget it falls under.
    pub agent: AgentId,
    /// The person behind it.
    pub user: Option<UserId>,
}

/// How a request began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Bytes of its body.
    pub size: u64,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// The surface it came by, a closed set.
    pub surface: &'static str,
    /// The block of the provider it goes to first.
    pub provider: Arc<str>,
    /// What is held for it.
    pub held: Nanos,
    /// The tier, from 0.
    pub tier: usize,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The block of the provider that answered last.
    pub provider: Arc<str>,
    /// Input tokens.
    pub tokens_in: u64,
    /// Output tokens.
    pub tokens_out: u64,
    /// What was charged.
    pub cost: Nanos,
    /// Where the charge came from: `provider`, `usage`, `estimated`, `unresolved`; `none` when nothing was charged.
    pub source: &'static str,
    /// From the header of the request to its end, in milliseconds.
    pub latency_ms: u64,
    /// From the header of the request to the first byte of the answer.
    pub first_byte_ms: Option<u64>,
    /// The status that the client saw; 0 when it saw none.
    pub status: u16,
    /// Whether the client left before the end.
    pub gone: bool,
    /// Attempts at providers.
    pub attempts: u16,
    /// What went wrong, one of a closed set.
    pub error: Option<Arc<str>>,
}

/// A request that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The request.
    pub id: RequestId,
    /// Why: the code of the error answer.
    pub code: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// The surface, a closed set.
    pub surface: &'static str,
    /// The agent, where the caller is known.
    pub agent: Option<AgentId>,
}

/// A warning level that was passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The account.
    pub account: AccountId,
    /// The level in millionths of the limit.
    pub level: u32,
    /// What is posted: `daily_total` for its tools, whatever the account's period.
    pub total: Nanos,
    /// The limit: `daily_limit`.
    pub limit: Nanos,
    /// Start of the window in Unix seconds; 0 without periods.
    pub window: i64,
}

/// A budget that is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The account.
    pub account: AccountId,
    /// What is posted: `daily_total`.
    pub total: Nanos,
    /// The limit: `daily_limit`.
    pub limit: Nanos,
    /// The model that was asked for: `blocked_model`.
    pub model: Arc<str>,
    /// The request.
    pub id: RequestId,
    /// The agent that asked.
    pub agent: AgentId,
}

/// What the guard found. Never the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The request.
    pub id: RequestId,
    /// The agent.
    pub agent: AgentId,
    /// The control that found it: `injection`, `canary`, `secret`, `pii`, `leak`.
    pub control: &'static str,
    /// The rule's name, from the files.
    pub rule: Arc<str>,
    /// What was done: `refused`, `redacted`, `flagged`.
    pub action: &'static str,
    /// `LOW` to `CRITICAL`.
    pub severity: &'static str,
    /// How often.
    pub count: u32,
}

/// The cost breaker has changed its level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// The level it is at: `OK`, `WARNING`, `SOFT`, `HARD`, `EMERGENCY`.
    pub level: &'static str,
    /// The level it was at.
    pub before: &'static str,
    /// Spend in its window.
    pub total: Nanos,
    /// Where its level begins.
    pub threshold: Nanos,
}

/// An endpoint of a provider that is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejected {
    /// The provider's block.
    pub provider: Arc<str>,
    /// Host and port of the endpoint.
    pub endpoint: Arc<str>,
    /// For how long, in milliseconds.
    pub millis: u64,
}

/// The files were read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// `ok`, `unchanged` or `invalid`.
    pub result: &'static str,
    /// What asked for it: `api`, `signal`, `watch`.
    pub by: &'static str,
    /// Problems found.
    pub problems: usize,
}

/// A process follows another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// `leaving` from the old process, `serving` from the new one.
    pub phase: &'static str,
    /// The process.
    pub pid: u32,
}

/// A change through the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was done: `budget.push`, `budget.reset`, `quarantine.lift`, ...
    pub action: &'static str,
    /// The account or other thing it was done to.
    pub subject: Arc<str>,
    /// Where it came from.
    pub by: Arc<str>,
}

impl Kind {
    /// The names of all kinds.
    pub const NAMES: [&'static str; 12] = [
        "model.request.start",
        "model.streaming.start",
        "model.request.complete",
        "model.request.refused",
        "model.budget.warning",
        "model.budget.exceeded",
        "guard.finding",
        "breaker.level",
        "provider.ejected",
        "gateway.reload",
        "gateway.upgrade",
        "admin.change",
    ];

    /// The place of its name among [`Kind::NAMES`].
    pub const fn number(&self) -> usize {
        match self {
            Self::Start(..) => 0,
            Self::Streaming(..) => 1,
            Self::Complete(..) => 2,
            Self::Refused(..) => 3,
            Self::Warning(..) => 4,
            Self::Exceeded(..) => 5,
            Self::Finding(..) => 6,
            Self::Breaker(..) => 7,
            Self::Ejected(..) => 8,
            Self::Reload(..) => 9,
            Self::Upgrade(..) => 10,
            Self::Change(..) => 11,
        }
    }

    /// The name of the event: `event_type` and `type`.
    pub const fn name(&self) -> &'static str {
        Self::NAMES[self.number()]
    }

    /// The agent it is about, if it is about one.
    pub fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::Start(of, _) | Self::Streaming(of) | Self::Complete(of, _) => Some(&of.agent),
            Self::Refused(refused) => refused.agent.as_ref(),
            Self::Exceeded(exceeded) => Some(&exceeded.agent),
            Self::Finding(finding) => Some(&finding.agent),
            _ => None,
        }
    }

    /// The model it is about, if it is about one.
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::Start(of, _) | Self::Streaming(of) | Self::Complete(of, _) => Some(&of.model),
            Self::Exceeded(exceeded) => Some(&exceeded.model),
            _ => None,
        }
    }
}
