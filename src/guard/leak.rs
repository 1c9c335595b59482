//! Words that a system prompt or an internal instruction probably has, in an answer.

use super::detect::About;
use std::sync::Arc;

/// One phrase, and how a finding of it is called.
pub(super) struct Indicator {
    /// In lower case.
    pub(super) phrase: String,
    pub(super) about: Arc<About>,
}
