//! Errors of providers, in the common form.

/// An error of a provider, in the answer's place or in the middle of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// For people. The provider's own words, bounded; our key was taken out before.
    pub message: String,
    /// What kind it is.
    pub kind: FailureKind,
    /// The provider's own code, such as `context_length_exceeded`.
    pub code: Option<String>,
}

/// The kinds of errors that every dialect has a word for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailureKind {
    /// 400 and what is like it.
    Invalid,
    /// 401.
    Authentication,
    /// 402.
    Payment,
    /// 403.
    Permission,
    /// 404.
    NotFound,
    /// 413.
    TooLarge,
    /// 429.
    RateLimit,
    /// 529, 503.
    Overloaded,
    /// 504, 408.
    Timeout,
    /// 500 and what is like it.
    #[default]
    Server,
}

impl FailureKind {
    /// The kind that a status stands for.
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            402 => Self::Payment,
            403 => Self::Permission,
            404 => Self::NotFound,
            413 => Self::TooLarge,
            429 => Self::RateLimit,
            408 | 504 => Self::Timeout,
            503 | 529 => Self::Overloaded,
            400..=499 => Self::Invalid,
            _ => Self::Server,
        }
    }
}
