//! Digits in groups: cards, social security numbers, telephone numbers, accounts.

use super::{Kind, card, iban};
use std::ops::Range;

/// The most digits that any of them has, and one group before.
const MOST: usize = 24;

/// The most groups that are looked at together.
const GROUPS: usize = 8;

/// How far before a number a word may say what it is.
const CONTEXT: usize = 40;

/// Digits without anything between them.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    start: usize,
    end: usize,
    /// What stands before it: the sign between it and the group before, or 0.
    sign: u8,
}

impl Group {
    const fn len(&self) -> usize {
        self.end - self.start
    }
}

/// Tells `each` of all numbers that begin in `range`.
pub(super) fn find(text: &[u8], range: Range<usize>, mut each: impl FnMut(Kind, Range<usize>)) {
    let end = range.end.min(text.len());
    let mut at = range.start;
    while at < end {
        if !text[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        if at > range.start && text[at - 1].is_ascii_digit() {
            at += 1;
            continue;
        }
        let start = at;
        if let Some(letters) = account(text, start) {
            each(Kind::Iban, letters.clone());
            at = letters.end;
            continue;
        }
        let groups = Groups::read(text, start);
        at = match groups.first() {
            Some((kind, span)) => {
                let end = span.end;
                each(kind, span);
                end
            }
            None => groups.all[0].end,
        };
    }
}

/// The account whose two check digits begin at `digits`.
fn account(text: &[u8], digits: usize) -> Option<Range<usize>> {
    let start = digits.checked_sub(2)?;
    let letters = text[start..digits].iter().all(u8::is_ascii_uppercase);
    if letters { iban::at(text, start) } else { None }
}

/// Groups of digits that belong together, from the first on.
struct Groups<'t> {
    text: &'t [u8],
    all: [Group; GROUPS],
    count: usize,
}

impl<'t> Groups<'t> {
    fn read(text: &'t [u8], start: usize) -> Self {
        let mut groups = Self {
            text,
            all: [Group::default(); GROUPS],
            count: 0,
        };
        let mut sign = 0;
        let mut at = start;
        while groups.count < GROUPS {
            let length = text[at..]
                .iter()
                .take(MOST + 1)
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            groups.all[groups.count] = Group {
                start: at,
                end: at + length,
                sign,
            };
            groups.count += 1;
            at += length;
            let Some((next, length)) = between(text, at) else {
                break;
            };
            sign = next;
            at += length;
        }
        groups
    }

    fn get(&self, index: usize) -> Option<&Group> {
        self.all[..self.count].get(index)
    }

    /// Whether the first groups have these lengths.
    fn are(&self, lengths: &[usize]) -> bool {
        lengths.len() <= self.count
            && lengths
                .iter()
                .zip(&self.all)
                .all(|(length, group)| group.len() == *length)
    }

    fn signs(&self, count: usize, allowed: &[u8]) -> bool {
        self.all[1..count]
            .iter()
            .all(|group| allowed.contains(&group.sign))
    }

    /// The digits of the first `count` groups.
    fn digits(&self, count: usize, into: &mut [u8; MOST]) -> usize {
        let bytes = self.all[..count]
            .iter()
            .flat_map(|group| &self.text[group.start..group.end]);
        let mut length = 0;
        for (digit, byte) in into.iter_mut().zip(bytes) {
            *digit = byte - b'0';
            length += 1;
        }
        length
    }

    fn total(&self, count: usize) -> usize {
        self.all[..count].iter().map(Group::len).sum()
    }

    fn span(&self, count: usize) -> Range<usize> {
        self.all[0].start..self.all[count - 1].end
    }

    fn before(&self) -> u8 {
        let at = self.all[0].start;
        at.checked_sub(1).map_or(b' ', |before| self.text[before])
    }

    /// Whether a word, or a longer number, goes on before the first group.
    fn inside(&self) -> bool {
        let before = self.before();
        before.is_ascii_alphanumeric() || before == b'_' || !before.is_ascii()
    }

    /// Whether nothing that belongs to it follows the first `count` groups.
    fn ends(&self, count: usize) -> bool {
        let end = self.all[count - 1].end;
        let after = self.text.get(end).copied().unwrap_or(b' ');
        let goes_on = self.get(count).is_some_and(|next| next.sign == b'-');
        !after.is_ascii_alphanumeric() && after != b'_' && !goes_on
    }

    /// What begins with the first group.
    fn first(&self) -> Option<(Kind, Range<usize>)> {
        if self.inside() {
            return None;
        }
        self.card()
            .map(|span| (Kind::Card, span))
            .or_else(|| self.ssn().map(|span| (Kind::Ssn, span)))
            .or_else(|| self.phone().map(|span| (Kind::Phone, span)))
    }

    fn card(&self) -> Option<Range<usize>> {
        let mut digits = [0; MOST];
        let first = self.all[0].len();
        if (12..=19).contains(&first) {
            let length = self.digits(1, &mut digits);
            let decimal =
                self.before() == b'.' || self.get(1).is_some_and(|next| next.sign == b'.');
            return (!decimal && self.ends(1) && card::is_card(&digits[..length]))
                .then(|| self.span(1));
        }
        let forms: [&[usize]; 6] = [
            &[4, 4, 4, 4, 3],
            &[4, 4, 4, 4],
            &[4, 6, 5],
            &[4, 6, 4],
            &[4, 4, 4, 2],
            &[4, 4, 4, 1],
        ];
        let count = forms.iter().find(|form| self.are(form))?.len();
        // Columns of numbers look like one, too.
        if !self.signs(count, b" -.")
            || self
                .get(count)
                .is_some_and(|next| next.len() == 4 && next.sign == b' ')
        {
            return None;
        }
        let length = self.digits(count, &mut digits);
        let digits = &digits[..length];
        (self.ends(count) && card::is_branded(digits) && card::luhn(digits))
            .then(|| self.span(count))
    }

    fn ssn(&self) -> Option<Range<usize>> {
        let mut digits = [0; MOST];
        let count = if self.are(&[3, 2, 4]) {
            let sign = self.all[1].sign;
            if !matches!(sign, b'-' | b' ') || self.all[2].sign != sign {
                return None;
            }
            3
        } else if self.are(&[9]) && self.said(&["ssn", "social security"]) {
            1
        } else {
            return None;
        };
        self.digits(count, &mut digits);
        let number = |range: Range<usize>| {
            digits[range]
                .iter()
                .fold(0, |number, digit| number * 10 + u32::from(*digit))
        };
        let (area, group, serial) = (number(0..3), number(3..5), number(5..9));
        let given = !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0;
        (given && self.ends(count) && !matches!(self.before(), b'-' | b'.'))
            .then(|| self.span(count))
    }

    fn phone(&self) -> Option<Range<usize>> {
        let before = self.before();
        if before == b'+' {
            return self.international();
        }
        if matches!(before, b'.' | b'-' | b'/' | b'$' | b'#') {
            return None;
        }
        let open = before == b'(';
        let skip = usize::from(self.all[0].len() == 1 && self.text[self.all[0].start] == b'1');
        let three = |index: usize| self.get(index).is_some_and(|group| group.len() == 3);
        if three(skip)
            && three(skip + 1)
            && self.get(skip + 2).is_some_and(|group| group.len() == 4)
        {
            let bracket = self.all[skip + 1].sign == b')';
            let spaces = self.all[skip + 1].sign == b' ' && self.all[skip + 2].sign == b' ';
            let starts = [skip, skip + 1].map(|index| self.text[self.all[index].start]);
            let named = skip == 1 || bracket || !spaces || self.said(PHONE);
            let right = starts.iter().all(|digit| (b'2'..=b'9').contains(digit));
            let span = self.span(skip + 3);
            return (right && named && open <= bracket && self.ends(skip + 3))
                .then(|| span.start - usize::from(open)..span.end);
        }
        if self.are(&[10]) && self.said(PHONE) && self.ends(1) {
            return Some(self.span(1));
        }
        self.trunk()
    }

    /// `+49 30 1234567`.
    fn international(&self) -> Option<Range<usize>> {
        let plus = self.all[0].start - 1;
        let inside = plus
            .checked_sub(1)
            .is_some_and(|before| self.text[before].is_ascii_alphanumeric());
        if inside || self.text[self.all[0].start] == b'0' {
            return None;
        }
        let count = (1..=self.count).rev().find(|count| {
            let least = if *count == 1 { 10 } else { 8 };
            (least..=15).contains(&self.total(*count)) && self.ends(*count)
        })?;
        Some(plus..self.span(count).end)
    }

    /// `090-1234-5678`: with the zero that calls within a country begin with.
    fn trunk(&self) -> Option<Range<usize>> {
        let first = &self.text[self.all[0].start..self.all[0].end];
        if !(2..=5).contains(&first.len()) || first[0] != b'0' || first[1] == b'0' {
            return None;
        }
        let count = (2..=self.count.min(4))
            .rev()
            .find(|count| (10..=11).contains(&self.total(*count)))?;
        let dashes = self.signs(count, b"-/");
        let said = self.signs(count, b" -/") && self.said(PHONE);
        ((dashes || said) && self.ends(count)).then(|| self.span(count))
    }

    /// Whether one of the words stands before the number.
    fn said(&self, words: &[&str]) -> bool {
        let start = self.all[0].start;
        let before = self.text[start.saturating_sub(CONTEXT)..start].to_ascii_lowercase();
        words
            .iter()
            .any(|word| memchr::memmem::find(&before, word.as_bytes()).is_some())
    }
}

const PHONE: &[&str] = &["phone", "tel", "call", "mobile", "cell", "fax", "whatsapp"];

/// What stands between two groups of digits at `at`: the sign, and how long it is.
fn between(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    match text.get(at)? {
        sign @ (b' ' | b'-' | b'.' | b'/') if is_digit(at + 1) => Some((*sign, 1)),
        b')' if is_digit(at + 1) => Some((b')', 1)),
        b')' if matches!(text.get(at + 1), Some(b' ' | b'-' | b'.')) && is_digit(at + 2) => {
            Some((b')', 2))
        }
        b' ' | b'-' if text.get(at + 1) == Some(&b'(') && is_digit(at + 2) => Some((b' ', 2)),
        // A space that does not break.
        0xC2 if text.get(at + 1) == Some(&0xA0) && is_digit(at + 2) => Some((b' ', 2)),
        _ => None,
    }
}

/// Where at the end of a text a number may have begun.
pub(in crate::guard) fn open(text: &[u8]) -> usize {
    let (mut start, mut digits, mut signs) = (text.len(), 0, 0);
    for (at, byte) in text.iter().enumerate().rev() {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                signs = 0;
                if digits > MOST {
                    break;
                }
                start = at;
            }
            b'+' | b'(' if start == at + 1 => start = at,
            b' ' | b'-' | b'.' | b'/' | b'(' | b')' | 0xC2 | 0xA0 if signs < 2 => signs += 1,
            _ => break,
        }
    }
    start
}

#[cfg(test)]
mod tests;
