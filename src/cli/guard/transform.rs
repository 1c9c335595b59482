//! Disguises for texts that are known to be attacks, to measure what is seen through.

/// A disguise: one text becomes one or more.
pub(super) type Transform = fn(&str) -> Vec<String>;

/// Every disguise by its name.
pub(super) const ALL: [(&str, Transform); 24] = [
    ("capitals", |text| vec![text.to_uppercase()]),
    ("mixed case", |text| vec![mixed(text)]),
    ("spaced", |text| vec![between(text, " ")]),
    ("hyphens", |text| vec![between(text, "-")]),
    ("dots", |text| vec![between(text, ".")]),
    ("zero width", |text| vec![after_each(text, "\u{200b}")]),
    ("soft hyphens", |text| vec![after_each(text, "\u{ad}")]),
    ("bidi", |text| {
        vec![format!("\u{202d}{}\u{202c}", after_each(text, "\u{200e}"))]
    }),
    ("homoglyphs", |text| vec![letters(text, homoglyph)]),
    ("full width", |text| {
        vec![letters(text, |one| shifted(one, '!', '~', 0xFF01))]
    }),
    ("mathematical", |text| vec![letters(text, mathematical)]),
    ("accents", |text| vec![after_each(text, "\u{301}")]),
    ("leetspeak", |text| vec![letters(text, leet)]),
    ("backwards", |text| vec![text.chars().rev().collect()]),
    ("rot13", |text| vec![letters(text, rot13)]),
    ("base64", |text| vec![base64(text.as_bytes())]),
    ("base64 twice", |text| {
        vec![base64(base64(text.as_bytes()).as_bytes())]
    }),
    ("hex", |text| {
        vec![bytes(text, |byte| format!("{byte:02x}"))]
    }),
    ("percent", |text| {
        vec![bytes(text, |byte| format!("%{byte:02X}"))]
    }),
    ("entities", |text| {
        vec![chars(text, |one| format!("&#{};", u32::from(one)))]
    }),
    ("escapes", |text| vec![chars(text, escape)]),
    ("decimal", |text| {
        vec![bytes(text, |byte| format!("{byte} "))]
    }),
    ("tags", |text| {
        vec![format!(
            "Hello! {}",
            letters(text, |one| shifted(one, ' ', '~', 0xE0020))
        )]
    }),
    ("several messages", split),
];

fn letters(text: &str, change: impl Fn(char) -> char) -> String {
    text.chars().map(change).collect()
}

fn chars(text: &str, write: impl Fn(char) -> String) -> String {
    text.chars().map(write).collect()
}

fn bytes(text: &str, write: impl Fn(u8) -> String) -> String {
    text.bytes().map(write).collect()
}

fn mixed(text: &str) -> String {
    let change = |(index, one): (usize, char)| match index % 2 {
        0 => one.to_ascii_uppercase(),
        _ => one.to_ascii_lowercase(),
    };
    text.chars().enumerate().map(change).collect()
}

/// Something between the letters of each word; words are three blanks apart.
fn between(text: &str, what: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        let letters: Vec<String> = word.chars().map(String::from).collect();
        letters.join(what)
    });
    words.collect::<Vec<_>>().join("   ")
}

fn after_each(text: &str, what: &str) -> String {
    chars(text, |one| match one.is_alphanumeric() {
        true => format!("{one}{what}"),
        false => one.to_string(),
    })
}

fn shifted(one: char, first: char, last: char, to: u32) -> char {
    if !(first..=last).contains(&one) {
        return one;
    }
    char::from_u32(u32::from(one) - u32::from(first) + to).unwrap_or(one)
}

fn homoglyph(one: char) -> char {
    match one {
        'a' => 'а',
        'c' => 'с',
        'e' => 'е',
        'i' => 'і',
        'o' => 'о',
        'p' => 'р',
        's' => 'ѕ',
        'x' => 'х',
        'y' => 'у',
        'A' => 'А',
        'E' => 'Е',
        'I' => 'І',
        'O' => 'О',
        'P' => 'Р',
        'S' => 'Ѕ',
        'T' => 'Т',
        other => other,
    }
}

fn mathematical(one: char) -> char {
    match one {
        'a'..='z' => shifted(one, 'a', 'z', 0x1D41A),
        _ => shifted(one, 'A', 'Z', 0x1D400),
    }
}

fn leet(one: char) -> char {
    match one.to_ascii_lowercase() {
        'a' => '4',
        'e' => '3',
        'i' => '1',
        'o' => '0',
        's' => '5',
        't' => '7',
        _ => one,
    }
}

fn rot13(one: char) -> char {
    match one {
        'a'..='m' | 'A'..='M' => shifted(one, 'A', 'z', u32::from('N')),
        'n'..='z' | 'N'..='Z' => char::from_u32(u32::from(one) - 13).unwrap_or(one),
        other => other,
    }
}

fn escape(one: char) -> String {
    let mut units = [0; 2];
    let units = one.encode_utf16(&mut units);
    units.iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let [a, b, c] = three;
        let four = [a >> 2, a << 4 & 48 | b >> 4, b << 2 & 60 | c >> 6, c & 63];
        for (index, value) in four.into_iter().enumerate() {
            encoded.push(match index <= chunk.len() {
                true => char::from(LETTERS[usize::from(value)]),
                false => '=',
            });
        }
    }
    encoded
}

/// Three messages, cut anywhere.
fn split(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let third = letters.len() / 3 + 1;
    letters
        .chunks(third)
        .map(|piece| piece.iter().collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disguises_are_what_they_are_called() {
        let of = |name: &str| {
            let (_, transform) = ALL.iter().find(|(known, _)| *known == name).unwrap();
            transform("Ignore me").join("|")
        };
        assert_eq!(of("spaced"), "I g n o r e   m e");
        assert_eq!(of("base64"), "SWdub3JlIG1l");
        assert_eq!(of("rot13"), "Vtaber zr");
        assert_eq!(of("leetspeak"), "1gn0r3 m3");
        assert_eq!(of("several messages"), "Igno|re m|e");
        assert_eq!(of("hex"), "49676e6f7265206d65");
    }
}
