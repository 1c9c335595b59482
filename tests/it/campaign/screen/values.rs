//! Secrets and personal data of many kinds, each made from a number. None of them opens anything.
//!
//! The library's own tests use this file, too.

const ALL: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const SMALL: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const HEX: &[u8] = b"0123456789abcdef";
const CAPITAL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const DIGITS: &[u8] = b"0123456789";

/// How many kinds there are: as many numbers in a row give one of each.
pub(crate) const KINDS: usize = 20;

/// Letters by chance, always the same for a number.
fn letters(number: usize, length: usize, of: &[u8]) -> String {
    let mut state = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(of[usize::try_from(state >> 33).unwrap() % of.len()])
        })
        .collect()
}

/// The value of a number.
pub(crate) fn value(number: usize) -> String {
    let any = |length| letters(number, length, ALL);
    let digits = |length| letters(number, length, DIGITS);
    match number % KINDS {
        0 => format!("sk-ant-api03-{}", any(40)),
        1 => format!("sk-{}", any(30)),
        2 => format!("AIza{}", any(35)),
        3 => format!("am_{}", any(55)),
        4 => format!("ghp_{}", any(36)),
        5 => format!("gsk_{}", any(52)),
        6 => format!("AKIA{}", letters(number, 16, CAPITAL)),
        7 => format!("glpat-{}", any(20)),
        8 => format!(
            "xoxb-{}-{}-{}",
            digits(12),
            letters(number + 1, 12, DIGITS),
            any(24)
        ),
        9 => format!("dop_v1_{}", letters(number, 64, HEX)),
        10 => format!("npm_{}", any(36)),
        11 => card(&format!("4{}", digits(14)), ' '),
        12 => card(&format!("51{}", digits(13)), '-'),
        13 => format!(
            "{:03}-{:02}-{:04}",
            100 + number % 500,
            1 + number % 99,
            1 + number % 9998
        ),
        14 => iban(&digits(18)),
        15 => format!(
            "{}.{}@example.com",
            letters(number, 6, SMALL),
            letters(number + 1, 7, SMALL)
        ),
        16 => format!("sk_live_{}", any(24)),
        17 => format!("hf_{}", letters(number, 34, SMALL)),
        18 => format!("eyJ{}.eyJ{}.{}", any(30), any(40), any(43)),
        _ => format!("+49 30 9{}", digits(7)),
    }
}

/// A card of sixteen digits whose last one is right.
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
