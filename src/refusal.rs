//! Every reason to say no, free of HTTP.
//!
//! Decides what happened and what a client may read about it (`Display`). Which status and which
//! body shape that becomes is decided in one place, [`crate::answer`]. The stable
//! [`Refusal::code`] is what clients switch on and what the metrics are labelled with.

use crate::identity::{AccountId, AgentId};
use crate::money::Nanos;
use std::borrow::Cow;
use std::fmt;

/// A request that Weir itself does not serve, and why.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The body is no JSON that Weir forwards.
    #[error("The request body is not acceptable JSON: {reason} (at byte {at})")]
    InvalidJson {
        /// What is wrong.
        reason: &'static str,
        /// Where, counted in bytes from the start of the body.
        at: usize,
    },
    /// A field has a value that Weir cannot serve.
    #[error("{message}")]
    InvalidField {
        /// The field, or its path such as `messages[3].content[1].type`.
        field: Cow<'static, str>,
        /// What is expected of it.
        message: String,
    },
    /// The provider that is to serve the request has no way to say this.
    #[error("'{field}' {why}")]
    Untranslatable {
        /// The field, or its path.
        field: String,
        /// What is the matter with it, to follow its name.
        why: String,
    },
    /// The request's framing or headers are refused.
    #[error("{0}")]
    BadRequest(&'static str),
    /// No such agent, and no `default` agent either.
    #[error("Unknown agent '{agent}', and no 'default' agent is configured")]
    UnknownAgent {
        /// The agent that was asked for, as the client wrote it (bounded, printable).
        agent: String,
        /// The agents that exist, for loopback callers; empty for others.
        available: Vec<AgentId>,
    },
    /// A model without a price, under a hard cap.
    #[error("The model '{model}' has no known price, so a hard budget cannot cover it")]
    Unpriced {
        /// The model.
        model: String,
    },
    /// No such model, as far as this caller may know.
    #[error("The model `{model}` does not exist or you do not have access to it")]
    ModelNotFound {
        /// The model that was asked for, as the client wrote it (bounded, printable).
        model: String,
    },
    /// The agent may not ask for that model.
    #[error("This agent may not use the model `{model}`")]
    ModelNotAllowed {
        /// The model that was asked for, as the client wrote it (bounded, printable).
        model: String,
    },
    /// No key was presented where one is needed.
    #[error("{0}")]
    MissingKey(&'static str),
    /// There is an `Authorization` header, and it is no bearer token.
    #[error("The Authorization header must be `Bearer <key>`")]
    AuthorizationFormat,
    /// The key presented is unknown.
    #[error("Incorrect API key provided")]
    InvalidKey,
    /// The key presented has expired.
    #[error("The API key has expired")]
    ExpiredKey,
    /// The key may not act for that agent.
    #[error("This API key may not act for agent '{agent}'")]
    ForeignAgent {
        /// The agent that was asked for, as the client wrote it (bounded, printable).
        agent: String,
    },
    /// The key may not act for that user.
    #[error("This API key may not act for user '{user}'")]
    ForeignUser {
        /// The user that was asked for, as the client wrote it (bounded, printable).
        user: String,
    },
    /// No agent by that name to report on or to change.
    #[error("No agent is named '{agent}'")]
    AgentNotFound {
        /// The name asked for, as the client wrote it (bounded, printable).
        agent: String,
    },
    /// No account by that name to report on or to change.
    #[error("No account is named '{account}'")]
    AccountNotFound {
        /// The name asked for, as the client wrote it (bounded, printable).
        account: String,
    },
    /// Too many wrong admin tokens from one address.
    #[error("Too many wrong tokens; try again in a minute")]
    TooManyAttempts,
    /// The files on disk do not make a valid configuration; nothing was changed.
    #[error("The configuration is not valid; nothing was changed")]
    InvalidConfig {
        /// Every problem found, as `weir check` prints it.
        problems: Vec<String>,
    },
    /// The admin token is missing or wrong.
    #[error("{0}")]
    AdminToken(&'static str),
    /// The caller may not use the admin API.
    #[error("{0}")]
    AdminOnly(&'static str),
    /// The budget of an account is spent.
    #[error("Budget exhausted for {}: ${} of ${} spent", .0.account, .0.spent, .0.total)]
    BudgetExhausted(Box<Exhausted>),
    /// The budget would do, but other requests in flight hold it.
    #[error("The budget of {} is held by requests in flight; try again shortly", .0.account)]
    BudgetInFlight(Box<Exhausted>),
    /// So much was spent that this does not run any more.
    #[error("Cost limit exceeded: {}", .0)]
    CostLimit(CostLimit),
    /// The agent has done something that its breaker refuses for a while.
    #[error("{why}; try again in {retry_after_seconds} s")]
    Paused {
        /// What was found: `spend_spike` or `repeated_request`.
        code: &'static str,
        /// What that means.
        why: &'static str,
        /// When it ends.
        retry_after_seconds: u64,
    },
    /// A limit of requests, tokens or concurrency.
    #[error("Rate limit reached for {scope}: {what}; try again in {retry_after_seconds} s")]
    RateLimited {
        /// What there is too much of: `requests`, `tokens` or `concurrency`.
        what: &'static str,
        /// Whose limit it is, such as `agent research`.
        scope: String,
        /// When there may be room again.
        retry_after_seconds: u64,
    },
    /// The guard found something in a request that its policy does not let through.
    #[error("The request was blocked: it looks like {0}")]
    PromptBlocked(&'static str),
    /// The guard found something in an answer that its policy does not let through.
    #[error("The answer was blocked: it holds {0}")]
    AnswerBlocked(&'static str),
    /// The guard could not do its work, and its policy is to let nothing through then.
    #[error("The request could not be checked; nothing was sent")]
    GuardUnavailable,
    /// The caller is in quarantine: too many of its requests were caught.
    #[error("This API key is in quarantine because of repeated security violations{}", .0.map_or_else(
        || "; an administrator must lift it".to_owned(),
        |left| format!("; try again in {} min", left.div_ceil(60_000)),
    ))]
    KeyQuarantined(
        /// The milliseconds that are left of it; nothing for one without an end.
        Option<u64>,
    ),
    /// No such route.
    #[error("No such route: {0}")]
    NotFound(String),
    /// The route exists, for other methods.
    #[error("This route accepts {allow} only")]
    MethodNotAllowed {
        /// The methods it accepts.
        allow: &'static str,
    },
    /// The request did not arrive in time.
    #[error("The request did not arrive within the time allowed")]
    RequestTimeout,
    /// The body is larger than the limit.
    #[error("The request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body is compressed or is no JSON.
    #[error("{0}")]
    UnsupportedMedia(&'static str),
    /// The upstream could not be reached or broke off before an answer.
    #[error("The upstream provider could not be reached")]
    UpstreamUnreachable,
    /// The upstream answered something that is no HTTP answer to the request.
    #[error("The upstream provider gave an invalid answer")]
    UpstreamInvalid,
    /// The upstream took too long.
    #[error("The upstream provider did not answer in time")]
    UpstreamTimeout,
    /// The record of truth cannot be written, so money cannot be promised.
    #[error("The spend log cannot be written; no budget can be held")]
    LedgerUnavailable,
    /// The store of insights does not answer, or there is none.
    #[error("The insights cannot be asked: {0}")]
    InsightsUnavailable(&'static str),
    /// A defect in Weir.
    #[error("Internal error")]
    Internal,
}

/// How far spending has come when it is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostLimit {
    /// The level: `HARD`, `EMERGENCY`.
    pub level: &'static str,
    /// Spend in the window.
    pub total: Nanos,
    /// Where the level begins.
    pub threshold: Nanos,
}

impl fmt::Display for CostLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            level,
            total,
            threshold,
        } = self;
        write!(f, "level {level}, ${total} spent, threshold ${threshold}")
    }
}

/// The state of the account that refused, as the reservation saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Exhausted {
    /// The account that could not carry the request.
    pub account: AccountId,
    /// The request's agent.
    pub agent: AgentId,
    /// The account's limit.
    pub total: Nanos,
    /// What is posted in the current period.
    pub spent: Nanos,
    /// What requests in flight hold.
    pub pending: Nanos,
    /// The tier's number in file order, from 0.
    pub tier: usize,
    /// The models of that tier.
    pub models: Vec<String>,
    /// Whether the cap is hard (it is, for a refusal).
    pub hard: bool,
    /// The model that was asked for; nothing when the client left that to Weir.
    pub asked: Option<String>,
    /// Whether the answer would have been a stream.
    pub stream: bool,
    /// Start of the account's window in Unix seconds; 0 without periods.
    pub window: i64,
}

impl Refusal {
    /// The stable code: `error.code` in the answer, the label in the metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidJson { .. } => "invalid_json",
            Self::InvalidField { .. } => "invalid_field",
            Self::Untranslatable { .. } => "unsupported_parameter",
            Self::BadRequest(_) => "bad_request",
            Self::UnknownAgent { .. } => "unknown_agent",
            Self::Unpriced { .. } => "model_unpriced",
            Self::ModelNotFound { .. } => "model_not_found",
            Self::ModelNotAllowed { .. } => "model_not_allowed",
            Self::MissingKey(_) => "missing_api_key",
            Self::AuthorizationFormat => "invalid_authorization",
            Self::InvalidKey => "invalid_api_key",
            Self::ExpiredKey => "expired_api_key",
            Self::ForeignAgent { .. } => "agent_not_allowed",
            Self::ForeignUser { .. } => "user_not_allowed",
            Self::AgentNotFound { .. } => "agent_not_found",
            Self::AccountNotFound { .. } => "account_not_found",
            Self::TooManyAttempts => "too_many_attempts",
            Self::InvalidConfig { .. } => "invalid_config",
            Self::AdminToken(_) => "invalid_admin_token",
            Self::AdminOnly(_) => "admin_only",
            Self::BudgetExhausted(_) => "budget_exhausted",
            Self::BudgetInFlight(_) => "budget_in_flight",
            Self::CostLimit(_) => "cost_limit_exceeded",
            Self::Paused { code, .. } => code,
            Self::RateLimited { .. } => "rate_limit_exceeded",
            Self::PromptBlocked(_) => "prompt_blocked",
            Self::AnswerBlocked(_) => "answer_blocked",
            Self::GuardUnavailable => "guard_unavailable",
            Self::KeyQuarantined(_) => "api_key_quarantined",
            Self::NotFound(_) => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::TooLarge { .. } => "request_too_large",
            Self::UnsupportedMedia(_) => "unsupported_media_type",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamInvalid => "upstream_invalid",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::LedgerUnavailable => "ledger_unavailable",
            Self::InsightsUnavailable(_) => "insights_unavailable",
            Self::Internal => "internal_error",
        }
    }
}
