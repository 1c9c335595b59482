//! Single characters in disguise: percent signs, entities, backslashes.

/// The fewest escapes that are worth a look: addresses and markup have a few.
const FEWEST: usize = 4;

const NAMED: &[(&str, char)] = &[
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("lowbar", '_'),
    ("colon", ':'),
    ("comma", ','),
    ("period", '.'),
    ("Tab", ' '),
    ("NewLine", '\n'),
];

/// The text without its escapes, from the first to the last; nothing when there are few.
pub(super) fn unescaped(text: &str) -> Option<(usize, String)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    for at in memchr::memchr3_iter(b'%', b'&', b'\\', bytes) {
        if let Some((character, length)) = escape(bytes, at) {
            found.push((at, character, length));
        }
    }
    let hidden = found
        .iter()
        .filter(|(_, one, _)| one.is_alphanumeric())
        .count();
    let (first, last) = (found.first()?, found.last()?);
    if hidden < FEWEST {
        return None;
    }
    let start = boundary(text, first.0.saturating_sub(200));
    let end = boundary(text, last.0 + last.2 + 200);
    let mut plain = String::with_capacity(end - start);
    let mut from = start;
    for (at, character, length) in &found {
        if *at < from {
            continue;
        }
        plain.push_str(text.get(from..*at)?);
        plain.push(*character);
        from = at + length;
    }
    plain.push_str(text.get(from..end)?);
    Some((start, plain))
}

fn boundary(text: &str, at: usize) -> usize {
    (at..text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len())
}

/// The character that the escape at `at` stands for, and how long it is.
fn escape(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let rest = bytes.get(at + 1..)?;
    match bytes.get(at)? {
        b'%' => code(rest.get(..2)?, 16).map(|one| (one, 3)),
        b'&' => {
            let end = rest.iter().take(10).position(|byte| *byte == b';')?;
            let name = rest.get(..end)?;
            let one = match name {
                [b'#', b'x' | b'X', hex @ ..] => code(hex, 16),
                [b'#', decimal @ ..] => code(decimal, 10),
                name => NAMED
                    .iter()
                    .find(|(known, _)| known.as_bytes() == name)
                    .map(|(_, one)| *one),
            }?;
            Some((one, end + 2))
        }
        _ => match rest.first()? {
            b'u' if rest.get(1) == Some(&b'{') => {
                let end = rest.iter().take(9).position(|byte| *byte == b'}')?;
                code(rest.get(2..end)?, 16).map(|one| (one, end + 2))
            }
            b'u' => code(rest.get(1..5)?, 16).map(|one| (one, 6)),
            b'x' => code(rest.get(1..3)?, 16).map(|one| (one, 4)),
            b'U' => code(rest.get(1..9)?, 16).map(|one| (one, 10)),
            _ => None,
        },
    }
}

fn code(digits: &[u8], radix: u32) -> Option<char> {
    let digits = std::str::from_utf8(digits).ok()?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    u32::from_str_radix(digits, radix)
        .ok()
        .and_then(char::from_u32)
        .filter(|one| !one.is_control() || one.is_whitespace())
}
