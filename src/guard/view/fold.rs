//! One character at a time: what it looks like, in small letters.

use std::sync::LazyLock;
use unicode_normalization::char::decompose_compatible;

/// Below this, what a character becomes is looked up.
const TABLED: u32 = 0x3000;

/// What a character becomes: a character, or up to four ASCII ones.
const PACKED: u32 = 1 << 31;

static TABLE: LazyLock<Vec<u32>> = LazyLock::new(|| {
    (0..TABLED)
        .map(|code| char::from_u32(code).map_or(0, compute))
        .collect()
});

/// Letters that the tables of Unicode leave alone and that people write others with: small capitals
/// and turned letters.
const LOOKS: &[(&str, &str)] = &[
    ("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnopqrstuvwyz"),
    ("ɐǝɟƃɓɥᴉıɾʞɯɹʇʌʍʎɔʁ", "aefggiiijkmrtvwycr"),
    ("ʜᴛкмнтɑɡ", "htkmhtag"),
];

/// Capitals that look like Latin ones, although their small letters do not.
const CAPITALS: &[(&str, &str)] = &[
    ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "abezhikmnoptyx"),
    ("АВЕЗКМНОРСТУХІЈЅ", "abe3kmhopctyxijs"),
];

/// A text on its way through [`fold`], with what was met there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    /// The folded text.
    pub text: String,
    /// How many characters were dropped because nobody sees them; emoji have some.
    pub unseen: usize,
    /// How many letters of other alphabets stood in words with Latin ones.
    pub mixed: usize,
}

/// The text in small letters, without accents, without what cannot be seen, and with letters that
/// look alike made the same. ASCII stays as it is, capitals too: whatever compares folded texts
/// compares ASCII letters without case.
pub fn fold(text: &str) -> Fold {
    let mut folded = Fold {
        text: String::with_capacity(text.len()),
        ..Fold::default()
    };
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + plain(&bytes[at..]);
        folded.text.push_str(&text[at..end]);
        at = end;
        let Some(character) = text[at..].chars().next() else {
            break;
        };
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        at += character.len_utf8();
        let beside = [before, bytes.get(at)]
            .into_iter()
            .flatten()
            .any(u8::is_ascii_alphabetic);
        folded.push(character, beside);
    }
    folded
}

/// How many bytes come before the first that is not ASCII.
fn plain(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<32>();
    let whole = blocks.iter().take_while(|block| block.is_ascii()).count();
    let from = whole * 32;
    let rest = bytes[from..].iter().position(|byte| !byte.is_ascii());
    rest.map_or(bytes.len(), |rest| from + rest)
}

impl Fold {
    /// Adds a character that is not ASCII; `beside` says whether a Latin letter stands next to it.
    fn push(&mut self, character: char, beside: bool) {
        let code = u32::from(character);
        if beside
            && (0x370..0x530).contains(&code)
            && let Some(latin) = looks_like(CAPITALS, character)
        {
            self.mixed += 1;
            self.text.push(latin);
            return;
        }
        match known(character) {
            0 => self.unseen += usize::from(!is_mark(character)),
            packed if packed & PACKED != 0 => {
                if beside && (0x370..0x600).contains(&code) {
                    self.mixed += 1;
                }
                self.text.extend(unpack(packed));
            }
            other => self.text.extend(char::from_u32(other)),
        }
    }
}

/// Hands what one character becomes to `each`. As [`fold`], without a look at its neighbours.
pub(in crate::guard) fn each(character: char, mut each: impl FnMut(char)) {
    if character.is_ascii() {
        return each(character.to_ascii_lowercase());
    }
    match known(character) {
        0 => {}
        packed if packed & PACKED != 0 => unpack(packed).for_each(each),
        other => char::from_u32(other).into_iter().for_each(each),
    }
}

fn known(character: char) -> u32 {
    let code = u32::from(character);
    match code {
        0..TABLED => TABLE[code as usize],
        // Han, kana, Hangul: as they are.
        0x3041..=0x30FF | 0x3400..=0x9FFF | 0xAC00..=0xD7A3 => code,
        _ => compute(character),
    }
}

fn unpack(packed: u32) -> impl Iterator<Item = char> {
    (0..4)
        .map(move |index| (packed >> (7 * index)) & 0x7F)
        .filter(|code| *code != 0)
        .filter_map(char::from_u32)
}

fn pack(letters: &str) -> Option<u32> {
    (letters.is_ascii() && letters.len() <= 4).then(|| {
        letters
            .bytes()
            .rev()
            .fold(0, |packed, byte| packed << 7 | u32::from(byte))
            | PACKED
    })
}

fn compute(character: char) -> u32 {
    let code = u32::from(character);
    if is_unseen(code) || is_mark(character) {
        return 0;
    }
    if character.is_whitespace() {
        return u32::from(' ') | PACKED;
    }
    if let Some(letter) = enclosed(code).or_else(|| looks_like(LOOKS, character)) {
        return pack(letter.encode_utf8(&mut [0; 4])).unwrap_or(code);
    }
    let mut parts = String::new();
    decompose_compatible(character, |part| {
        if !is_mark(part) {
            parts.extend(part.to_lowercase().filter(|part| !is_mark(*part)));
        }
    });
    // (a) is one letter in brackets.
    if let Some(inner) = parts
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
    {
        parts = inner.to_owned();
    }
    if let Some(packed) = pack(&parts) {
        return packed;
    }
    let mut looks = String::new();
    for part in unicode_security::skeleton(&parts) {
        if !is_mark(part) {
            looks.extend(part.to_lowercase());
        }
    }
    let letters = looks.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if letters && let Some(packed) = pack(&looks) {
        return packed;
    }
    let mut parts = parts.chars();
    match (parts.next(), parts.next()) {
        (Some(one), None) => looks_like(LOOKS, one)
            .and_then(|letter| pack(letter.encode_utf8(&mut [0; 4])))
            .unwrap_or(u32::from(one)),
        _ => code,
    }
}

fn looks_like(table: &[(&str, &str)], character: char) -> Option<char> {
    table.iter().find_map(|(from, to)| {
        let at = from.chars().position(|one| one == character)?;
        to.chars().nth(at)
    })
}

/// Letters in boxes and discs, and those that flags are made of.
fn enclosed(code: u32) -> Option<char> {
    let at = match code {
        0x1F130..=0x1F149 => code - 0x1F130,
        0x1F150..=0x1F169 => code - 0x1F150,
        0x1F170..=0x1F189 => code - 0x1F170,
        0x1F1E6..=0x1F1FF => code - 0x1F1E6,
        _ => return None,
    };
    char::from_u32(u32::from('a') + at)
}

/// Marks that are set on other letters.
fn is_mark(character: char) -> bool {
    matches!(u32::from(character),
        0x300..=0x36F | 0x483..=0x489 | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF
        | 0xFE20..=0xFE2F)
}

/// Characters that leave no trace on a screen, by Unicode's list of those to ignore.
fn is_unseen(code: u32) -> bool {
    matches!(code,
        0..=8 | 0xE..=0x1F | 0x7F..=0x84 | 0x86..=0x9F | 0xAD | 0x34F | 0x61C | 0x115F..=0x1160
        | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F
        | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB | 0x1BCA0..=0x1BCA3
        | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_looks_alike_becomes_the_same() {
        for written in [
            "ignore",
            "іgnоrе",
            "ｉｇｎｏｒｅ",
            "𝐢𝐠𝐧𝐨𝐫𝐞",
            "𝓲𝓰𝓷𝓸𝓻𝓮",
            "ⓘⓖⓝⓞⓡⓔ",
            "🅸🅶🅽🅾🆁🅴",
            "🇮🇬🇳🇴🇷🇪",
            "i\u{200b}g\u{200d}n\u{2060}o\u{feff}re",
            "\u{202e}ignore\u{202c}",
            "íģñöřé",
            "i̷g̷n̷o̷r̷e̷",
            "ɪɢɴᴏʀᴇ",
            "ig\u{ad}nore",
        ] {
            assert_eq!(fold(written).text, "ignore", "{written}");
        }
        for (written, read) in [
            ("ΙGΝОRЕ", "iGnoRe"),
            ("ﬁlter", "filter"),
            ("a\u{a0}b", "a b"),
        ] {
            assert_eq!(fold(written).text, read, "{written}");
        }
    }

    #[test]
    fn other_languages_fold_to_themselves_whatever_their_case() {
        for (one, other) in [
            ("ИГНОРИРУЙ инструкции", "игнорируй ИНСТРУКЦИИ"),
            ("ΑΓΝΌΗΣΕ", "αγνόησε"),
            ("İGNORE", "ignore"),
        ] {
            let folded = fold(one).text.to_lowercase().replace('ς', "σ");
            assert_eq!(folded, fold(other).text.to_lowercase().replace('ς', "σ"));
        }
        assert_eq!(fold("忽略之前的指令").text, "忽略之前的指令");
        assert_eq!(fold("이전 지시를 무시").text, "이전 지시를 무시");
    }

    #[test]
    fn what_was_met_is_counted() {
        let plain = fold("résumé — naïve “quotes” 東京 привет мир");
        assert_eq!((plain.unseen, plain.mixed), (0, 0));
        assert_eq!(fold("іgnоrе").mixed, 3);
        assert_eq!(fold("a\u{200b}b\u{200b}c").unseen, 2);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let folded = fold(&text).text;
            let mut single = String::new();
            for character in text.chars() {
                each(character, |one| single.push(one));
            }
            prop_assert!(folded.len() <= text.len() * 4 && single.len() <= text.len() * 4);
        }

        #[test]
        fn ascii_stays_as_it_is(text in "[ -~]*") {
            prop_assert_eq!(fold(&text).text, text);
        }
    }
}
