//! Requests, tokens and concurrency per minute, and the size of a request.
//!
//! Decides whether a request may go on, by the limits of everything it falls under, all in one step.
//! A request that is refused does not count. Tokens are reserved at the worst case and corrected
//! once they are known. It does not know money; that is [`crate::ledger`].

/// The limits of one key, agent, user or model; `None` for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests in any minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens, input and output together, in any minute.
    pub tokens_per_minute: Option<u64>,
    /// Requests at a time.
    pub concurrent_requests: Option<u64>,
    /// Bytes of a request's body.
    pub request_bytes: Option<usize>,
}

impl Limits {
    /// Whether there is no limit at all.
    pub const fn is_none(&self) -> bool {
        self.requests_per_minute.is_none()
            && self.tokens_per_minute.is_none()
            && self.concurrent_requests.is_none()
            && self.request_bytes.is_none()
    }
}
