//! Secrets and personal data at every split, in five encodings.

use super::*;
use proptest::prelude::*;

/// Values of many kinds, made from a number.
pub(super) fn values(count: usize) -> Vec<String> {
    (0..count).map(value).collect()
}

fn chance(seed: usize, length: usize, letters: &[u8]) -> String {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(letters[usize::try_from(state >> 33).unwrap() % letters.len()])
        })
        .collect()
}

fn value(seed: usize) -> String {
    const ALL: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    const HEX: &[u8] = b"0123456789abcdef";
    const CAPITAL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const DIGITS: &[u8] = b"0123456789";
    let any = |length| chance(seed, length, ALL);
    match seed % 16 {
        0 => format!("sk-ant-api03-{}", any(40)),
        1 => format!("sk-{}", any(30)),
        2 => format!("AIza{}", any(35)),
        3 => format!("am_{}", any(55)),
        4 => format!("ghp_{}", any(36)),
        5 => format!("gsk_{}", any(52)),
        6 => format!("AKIA{}", chance(seed, 16, CAPITAL)),
        7 => format!("glpat-{}", any(20)),
        8 => format!(
            "xoxb-{}-{}-{}",
            chance(seed, 12, DIGITS),
            chance(seed + 1, 12, DIGITS),
            any(24)
        ),
        9 => format!("dop_v1_{}", chance(seed, 64, HEX)),
        10 => format!("npm_{}", any(36)),
        11 => card(&format!("4{}", chance(seed, 14, DIGITS)), ' '),
        12 => card(&format!("51{}", chance(seed, 13, DIGITS)), '-'),
        13 => format!(
            "{:03}-{:02}-{:04}",
            100 + seed % 500,
            1 + seed % 99,
            1 + seed % 9998
        ),
        14 => iban(&chance(seed, 18, DIGITS)),
        _ => format!(
            "{}.{}@example.com",
            chance(seed, 6, &ALL[..26]),
            chance(seed + 1, 7, &ALL[..26])
        ),
    }
}

fn card(first: &str, sign: char) -> String {
    let sum: u32 = first
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0') * (2 - u32::try_from(place % 2).unwrap());
            if digit > 9 { digit - 9 } else { digit }
        })
        .sum();
    let digits = format!("{first}{}", (10 - sum % 10) % 10);
    let groups: Vec<&str> = (0..4)
        .map(|group| &digits[4 * group..4 * group + 4])
        .collect();
    groups.join(&sign.to_string())
}

fn iban(digits: &str) -> String {
    // D is 13 and E is 14.
    let remainder = format!("{digits}131400")
        .bytes()
        .fold(0, |rest: u32, byte| {
            (rest * 10 + u32::from(byte - b'0')) % 97
        });
    format!("DE{:02}{digits}", 98 - remainder)
}

/// The ways a text is put into events.
#[derive(Clone, Copy, Debug)]
pub(super) enum Encoding {
    Plain,
    PerCharacter,
    Escaped,
    CrLf,
    Interleaved,
}

pub(super) const ENCODINGS: [Encoding; 5] = [
    Encoding::Plain,
    Encoding::PerCharacter,
    Encoding::Escaped,
    Encoding::CrLf,
    Encoding::Interleaved,
];

fn argument(index: u64, text: &str) -> String {
    chat(
        0,
        &json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]}),
    )
}

/// A stream with the text in two pieces, or more.
fn stream(text: &str, at: usize, encoding: Encoding) -> String {
    let (one, two) = text.split_at(at);
    let pieces: Vec<String> = match encoding {
        Encoding::PerCharacter => text.chars().map(String::from).collect(),
        _ => vec![one.to_owned(), two.to_owned()],
    };
    let mut all = String::new();
    for piece in &pieces {
        match encoding {
            Encoding::Escaped => {
                let escaped: String = piece.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
                all.push_str(&content("@@").replace("@@", &escaped));
            }
            Encoding::Interleaved => {
                all.push_str(&content(piece));
                all.push_str(&chat(1, &json!({"content": piece})));
                all.push_str(&argument(0, piece));
                all.push_str(&argument(1, "{\"a\":"));
            }
            Encoding::Plain | Encoding::PerCharacter | Encoding::CrLf => {
                all.push_str(&content(piece))
            }
        }
    }
    all.push_str(&finish(0));
    all.push_str("data: [DONE]\n\n");
    match encoding {
        Encoding::CrLf => all.replace('\n', "\r\n"),
        _ => all,
    }
}

/// All texts of a stream, each put together as a client does it.
fn texts(stream: &str) -> Vec<String> {
    let mut texts = vec![String::new(); 4];
    for line in stream
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix("data: "))
    {
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let choice = &value["choices"][0];
        let index = usize::try_from(choice["index"].as_u64().unwrap_or_default()).unwrap();
        texts[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        let call = &choice["delta"]["tool_calls"][0];
        let index = usize::try_from(call["index"].as_u64().unwrap_or_default()).unwrap();
        texts[2 + index].push_str(call["function"]["arguments"].as_str().unwrap_or_default());
    }
    texts
}

/// Panics if the value leaves whole.
pub(super) fn check(value: &str, at: usize, encoding: Encoding, size: usize) {
    let text = format!("It is {value} or so.");
    let stream = stream(&text, at, encoding);
    let mut screen = super::screen(AnswerKind::EventStream, enforced());
    let mut left = Vec::new();
    for part in stream.as_bytes().chunks(size) {
        left.extend_from_slice(&screen.push(Bytes::copy_from_slice(part)));
    }
    left.extend_from_slice(&screen.finish());
    let left = String::from_utf8(left).unwrap();
    for text in texts(&left) {
        assert!(
            !text.contains(value),
            "{value} at {at}, {encoding:?}: {text}"
        );
    }
    assert!(left.contains("[REDACTED_"), "{value} at {at}, {encoding:?}");
    assert!(
        texts(&left)[0].ends_with(" or so."),
        "{value} at {at}, {encoding:?}"
    );
}

#[test]
fn no_value_leaves_whole_at_any_split_in_any_encoding() {
    for (number, value) in values(16).iter().enumerate() {
        let length = value.len() + 13;
        for encoding in ENCODINGS {
            let step = if matches!(encoding, Encoding::Plain) {
                2
            } else {
                17
            };
            for at in (number % step..length).step_by(step) {
                check(value, at, encoding, 4096);
            }
        }
        check(value, 9, ENCODINGS[number % 5], 1);
    }
}

/// All of 1,000 values, at every split.
#[test]
#[ignore = "takes minutes"]
fn none_of_a_thousand_values_leaves_whole() {
    for value in values(1000) {
        for encoding in ENCODINGS {
            for at in 0..value.len() + 13 {
                check(&value, at, encoding, 4096);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_stream_makes_it_panic(
        pieces in proptest::collection::vec("(data: |\\{\"choices\":\\[\\{\"delta\":\\{\"content\":\"|sk-ant-|\\\\u00|[a-z0-9é\"{}\\[\\]:,]{0,6}|\n|\r\n){0,4}", 0..20),
    ) {
        let mut screen = super::screen(AnswerKind::EventStream, enforced());
        for piece in pieces {
            let _ = screen.push(Bytes::from(piece));
        }
        let _ = screen.finish();
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same(
        words in proptest::collection::vec("( |[a-z]{1,8}|sk-ant-[a-z0-9]{24}|[0-9]{1,4}|4111 1111 1111 1111|\\.|=|\"|é){1,3}", 1..12),
        sizes in proptest::collection::vec(1_usize..60, 1..8),
    ) {
        let all: String = words.iter().map(|word| content(word)).collect();
        let run = |sizes: &[usize]| {
            let mut screen = super::screen(AnswerKind::EventStream, enforced());
            let mut left = Vec::new();
            let mut rest = Bytes::from(all.clone());
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let piece = rest.split_to((*size).min(rest.len()));
                left.extend_from_slice(&screen.push(piece));
            }
            left.extend_from_slice(&screen.finish());
            String::from_utf8(left).unwrap()
        };
        let whole = run(&[usize::MAX]);
        prop_assert_eq!(&run(&sizes), &whole);
        if !whole.contains("[REDACTED_") {
            prop_assert_eq!(whole, all);
        }
    }
}
