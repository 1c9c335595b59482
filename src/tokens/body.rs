//! How many tokens the prompt of a request body is, when nobody else says.
//!
//! Decides what of a JSON body counts as prompt: everything, because models read roles, tool
//! schemas and punctuation too, except inline media (`data:` URLs), which are charged by the piece
//! elsewhere. Escapes are decoded first. It does not check the JSON.

use super::model::{correction_for, encoding_for};
use super::{Encoding, count};

/// The most text that is counted, in bytes; of a longer one, samples are.
const COUNTED: usize = 128 * 1024;

/// The length of a sample.
const SAMPLE: usize = 8 * 1024;

/// An estimate of the input tokens of a JSON request body for `model`, on the high side.
///
/// A prompt of more than 128 KiB is not counted as a whole: sixteen samples spread over it are, and
/// all of it is taken to be as dense in tokens as the densest. So the work is bounded, and the
/// estimate is low only where a prompt is denser between the samples than in every one of them.
pub fn prompt_estimate(body: &[u8], model: &str) -> u64 {
    let text = prompt_text(&String::from_utf8_lossy(body));
    correction_for(model).apply(estimate(&text, encoding_for(model)))
}

fn estimate(text: &str, encoding: Encoding) -> u64 {
    if text.len() <= COUNTED {
        return count(text, encoding);
    }
    let samples = COUNTED / SAMPLE;
    let step = (text.len() - SAMPLE) / (samples - 1);
    let densest = (0..samples)
        .map(|index| {
            let from = boundary(text, index * step);
            let to = boundary(text, index * step + SAMPLE);
            count(&text[from..to], encoding)
        })
        .max()
        .unwrap_or(0);
    let length = u128::try_from(text.len()).unwrap_or(u128::MAX);
    // A sample may be short of three bytes at either end.
    let whole = (u128::from(densest).saturating_mul(length)).div_ceil(SAMPLE as u128 - 6);
    u64::try_from(whole).unwrap_or(u64::MAX)
}

/// The nearest place at or before `at` where a character begins.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// The body with escapes in strings decoded and `data:` URLs taken out.
fn prompt_text(body: &str) -> String {
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(quote) = rest.find('"') {
        let (before, string) = rest.split_at(quote + 1);
        out.push_str(before);
        let end = string_end(string);
        if !string.starts_with("data:") {
            unescape(&string[..end], &mut out);
        }
        rest = &string[end..];
        if let Some(after) = rest.strip_prefix('"') {
            out.push('"');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Where the string that begins here ends: at its closing quote, else at the end of the text.
fn string_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
        let here = at + found;
        if bytes[here] == b'"' {
            return here;
        }
        // The character after a backslash is not the end; it may be longer than a byte.
        at = here + 2;
        if at > bytes.len() {
            break;
        }
    }
    text.len()
}

fn unescape(string: &str, out: &mut String) {
    let mut rest = string;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        let Some(kind) = escape.chars().next() else {
            return;
        };
        let (decoded, used) = match kind {
            'n' => ('\n', 1),
            't' => ('\t', 1),
            'r' => ('\r', 1),
            'b' => ('\u{8}', 1),
            'f' => ('\u{c}', 1),
            'u' => unicode(escape).unwrap_or(('u', 1)),
            other => (other, other.len_utf8()),
        };
        out.push(decoded);
        rest = &escape[used..];
    }
    out.push_str(rest);
}

/// The character of `uXXXX` or of a pair `uXXXX\uXXXX`, and the length of what was read.
fn unicode(escape: &str) -> Option<(char, usize)> {
    let unit = |text: &str| u32::from_str_radix(text.strip_prefix('u')?.get(..4)?, 16).ok();
    let first = unit(escape)?;
    if let Some(c) = char::from_u32(first) {
        return Some((c, 5));
    }
    let second = escape
        .get(5..)
        .and_then(|rest| unit(rest.strip_prefix('\\')?));
    let pair = second.filter(|low| (0xDC00..0xE000).contains(low) && first < 0xDC00);
    let joined =
        pair.and_then(|low| char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (low - 0xDC00)));
    Some(joined.map_or(('\u{fffd}', 5), |c| (c, 11)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_decoded_and_inline_media_is_left_out() {
        let body =
            r#"{"a":"x\n\"y\" \u00e9\ud83d\ude00\ud800","url":"data:image/png;base64,AAAA\/BBBB"}"#;
        assert_eq!(
            prompt_text(body),
            "{\"a\":\"x\n\"y\" é😀\u{fffd}\",\"url\":\"\"}"
        );
        assert_eq!(prompt_text(r#"{"cut":"of\"#), "{\"cut\":\"of");
    }

    #[test]
    fn a_megabyte_of_inline_image_costs_no_text() {
        let body = format!(
            r#"{{"url":"data:image/png;base64,{}"}}"#,
            "A".repeat(1 << 20)
        );
        assert!(prompt_estimate(body.as_bytes(), "gpt-4o") < 10);
    }

    #[test]
    fn a_small_body_is_counted_whole() {
        let body = r#"{"messages":[{"role":"user","content":"Hello, world"}]}"#;
        assert_eq!(
            prompt_estimate(body.as_bytes(), "gpt-4o"),
            count(body, Encoding::O200k)
        );
    }

    #[test]
    fn a_large_body_is_estimated_high_and_not_absurdly() {
        let words: Vec<String> = (0..80_000).map(|n| format!("word{n} and")).collect();
        let text = words.join(" ");
        let exact = count(&text, Encoding::O200k);
        let estimate = estimate(&text, Encoding::O200k);
        assert!(
            estimate >= exact && estimate < exact * 3 / 2,
            "{estimate} for {exact}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_estimated(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            prompt_estimate(&body, "gpt-4o");
        }

        #[test]
        fn what_json_writes_is_read_back(text in "\\PC{0,60}") {
            let json = serde_json::to_string(&text).unwrap();
            let shown = prompt_text(&json);
            let inner = &shown[1..shown.len() - 1];
            prop_assert!(inner == text || text.starts_with("data:"));
        }
    }
}
