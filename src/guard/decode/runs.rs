//! Long runs of letters and digits: base64 and hex.

use super::is_text;
use std::ops::Range;

/// The shortest run, in bytes.
const SHORTEST: usize = 16;

/// How much of a run is decoded to see whether it is text.
const TRIED: usize = 32;

/// Around a place, in bytes: where a run may begin or end.
const AROUND: usize = 64;

/// The texts in the runs near `places`.
pub(super) fn decoded(text: &str, places: &[Range<usize>]) -> Option<(usize, String)> {
    let bytes = text.as_bytes();
    let mut found = String::new();
    let mut first = None;
    let mut done = 0;
    for place in places {
        let mut at = place.start.saturating_sub(AROUND).max(done);
        // Not in the middle of a run.
        while at > done && is_run(bytes[at]) && is_run(bytes[at - 1]) {
            at -= 1;
        }
        let to = (place.end + AROUND).min(bytes.len());
        while at < to {
            if !is_run(bytes[at]) {
                at += 1;
                continue;
            }
            let (run, end) = take(bytes, at);
            if run.len() >= SHORTEST
                && let Some(piece) = run_text(&run)
            {
                first.get_or_insert(at);
                found.push_str(&piece);
                found.push(' ');
            }
            at = end.max(at + 1);
        }
        done = at;
    }
    first.map(|first| (first, found))
}

fn is_run(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// A run with its lines put together, and where it ends.
fn take(bytes: &[u8], start: usize) -> (Vec<u8>, usize) {
    let mut run = Vec::new();
    let mut at = start;
    loop {
        let line = bytes[at..].iter().take_while(|byte| is_run(**byte)).count();
        run.extend_from_slice(&bytes[at..at + line]);
        at += line;
        // Encoders break their lines after 64 or 76 letters.
        let gap = bytes[at..]
            .iter()
            .take(3)
            .take_while(|byte| matches!(byte, b'\n' | b'\r'))
            .count();
        let more = bytes.get(at + gap).is_some_and(|byte| is_run(*byte));
        if gap == 0 || line < 60 || !more {
            return (run, at);
        }
        at += gap;
    }
}

fn run_text(run: &[u8]) -> Option<String> {
    let head = run.get(..TRIED).unwrap_or(run);
    [hex, base64].into_iter().find_map(|decode| {
        let tried = decode(head)?;
        if !is_text(&tried) {
            return None;
        }
        let whole = decode(run)?;
        is_text(&whole).then(|| String::from_utf8_lossy(&whole).into_owned())
    })
}

fn hex(run: &[u8]) -> Option<Vec<u8>> {
    let run = run.strip_prefix(b"0x").unwrap_or(run);
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let pairs = run.as_chunks::<2>().0;
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

fn base64(run: &[u8]) -> Option<Vec<u8>> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let mut decoded = Vec::with_capacity(run.len());
    let (mut bits, mut held) = (0_u32, 0);
    for byte in run {
        bits = bits << 6 | u32::from(value(*byte)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            decoded.push(u8::try_from(bits >> held & 0xFF).unwrap_or_default());
        }
    }
    Some(decoded)
}
