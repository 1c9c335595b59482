//! Letters as numbers, and Morse.

use std::ops::Range;

/// The fewest letters in a row that are text.
const FEWEST: usize = 8;

const MORSE: &[(&str, char)] = &[
    (".-", 'a'),
    ("-...", 'b'),
    ("-.-.", 'c'),
    ("-..", 'd'),
    (".", 'e'),
    ("..-.", 'f'),
    ("--.", 'g'),
    ("....", 'h'),
    ("..", 'i'),
    (".---", 'j'),
    ("-.-", 'k'),
    (".-..", 'l'),
    ("--", 'm'),
    ("-.", 'n'),
    ("---", 'o'),
    (".--.", 'p'),
    ("--.-", 'q'),
    (".-.", 'r'),
    ("...", 's'),
    ("-", 't'),
    ("..-", 'u'),
    ("...-", 'v'),
    (".--", 'w'),
    ("-..-", 'x'),
    ("-.--", 'y'),
    ("--..", 'z'),
    ("-----", '0'),
    (".----", '1'),
    ("..---", '2'),
    ("...--", '3'),
    ("....-", '4'),
    (".....", '5'),
    ("-....", '6'),
    ("--...", '7'),
    ("---..", '8'),
    ("----.", '9'),
    (".-.-.-", '.'),
    ("--..--", ','),
    ("..--..", '?'),
    (".----.", '\''),
    ("-.-.--", '!'),
    ("-..-.", '/'),
    ("-....-", '-'),
    ("---...", ':'),
    (".-..-.", '"'),
    ("-.--.", '('),
    ("-.--.-", ')'),
    ("..--.-", '_'),
    (".--.-.", '@'),
];

/// The texts in rows of numbers near `places`: decimal, hexadecimal, binary.
pub(super) fn decoded(text: &str, places: &[Range<usize>]) -> Option<(usize, String)> {
    let bytes = text.as_bytes();
    let mut found = String::new();
    let mut done = 0;
    for place in places {
        let from = place.start.saturating_sub(64).max(done);
        let to = (place.end + 64).min(bytes.len());
        done = to;
        let Some(stretch) = bytes.get(from..to) else {
            continue;
        };
        for radix in [10, 16, 2] {
            row(stretch, radix, &mut found);
        }
    }
    let first = places.first()?.start;
    (!found.is_empty()).then_some((first, found))
}

/// Adds the letters of rows of numbers.
fn row(stretch: &[u8], radix: u32, found: &mut String) {
    let mut letters = String::new();
    let mut end = |letters: &mut String| {
        if letters.len() >= FEWEST {
            found.push_str(letters);
            found.push('\n');
        }
        letters.clear();
    };
    for number in stretch.split(|byte| !byte.is_ascii_alphanumeric()) {
        if number.is_empty() {
            continue;
        }
        match letter(number, radix) {
            Some(letter) => letters.push(letter),
            None => end(&mut letters),
        }
    }
    end(&mut letters);
}

fn letter(number: &[u8], radix: u32) -> Option<char> {
    let number = std::str::from_utf8(number).ok()?;
    let digits = match radix {
        10 => (2..=3).contains(&number.len()).then_some(number),
        16 => {
            let digits = number.strip_prefix("0x").or(number.strip_prefix('x'));
            Some(digits.unwrap_or(number)).filter(|digits| digits.len() == 2)
        }
        _ => (number.len() == 8 || number.len() == 7).then_some(number),
    }?;
    let code = u32::from_str_radix(digits, radix).ok()?;
    let letter = char::from_u32(code).filter(|_| (32..127).contains(&code) || code == 10)?;
    Some(letter)
}

/// The text in Morse near `places`.
pub(super) fn morse(text: &str, places: &[Range<usize>]) -> Option<(usize, String)> {
    let mut found = String::new();
    let mut first = None;
    for place in places {
        let from = place.start.saturating_sub(64);
        let from = (from..=place.start).find(|at| text.is_char_boundary(*at))?;
        let to = (place.end + 64).min(text.len());
        let to = (to..=text.len()).find(|at| text.is_char_boundary(*at))?;
        if memchr::memchr2_iter(b'.', b'-', &text.as_bytes()[from..to]).count() < 2 * FEWEST {
            continue;
        }
        let mut letters = String::new();
        let mut wrong = 0;
        for sign in text[from..to].split([' ', '\n']) {
            if sign.is_empty() || sign == "/" || sign == "|" {
                letters.push(' ');
                continue;
            }
            match MORSE.iter().find(|(morse, _)| *morse == sign) {
                Some((_, letter)) => letters.push(*letter),
                None => wrong += 1,
            }
        }
        let read = letters.bytes().filter(u8::is_ascii_lowercase).count();
        if read >= FEWEST && wrong * 2 < read {
            first.get_or_insert(from);
            // Two blanks between words leave one.
            found.extend(letters.split(' ').flat_map(|word| [word, " "]));
        }
    }
    first.map(|first| (first, found))
}
