//! How many tokens the prompt of a request body is, when nobody else says.

use super::{Encoding, count};
use std::borrow::Cow;

/// An estimate of the input tokens of a JSON request body.
pub fn prompt_estimate(body: &[u8], encoding: Encoding) -> u64 {
    let text: Cow<'_, str> = String::from_utf8_lossy(body);
    count(&text, encoding)
}
