//! Words and phrases, in any case, found in one pass over a text.
//!
//! Decides only where they are. Of each phrase three bytes that are rare in ordinary text are looked for with
//! vector instructions; the rest is compared where they are found.

use aho_corasick::packed::{self, MatchKind, Searcher};
use std::ops::Range;

/// So many spellings are looked for in one pass.
const AT_ONCE: usize = 64;

/// Below this length a text is compared byte by byte.
const SHORT: usize = 96;

/// The phrases, ready to be found.
pub(in crate::guard) struct Phrases {
    phrases: Vec<Phrase>,
    searchers: Vec<(Searcher, Vec<Vec<Place>>)>,
    first: [bool; 256],
    second: [bool; 256],
    longest: usize,
}

/// The number of a phrase, and how far from its start the bytes stand that are looked for.
type Place = (usize, usize);

struct Phrase {
    /// In lower case, at least three bytes.
    text: Vec<u8>,
    /// Whether no letter or digit may stand just before it.
    bounded: bool,
}

impl Phrases {
    /// Phrases of at least three bytes.
    pub(in crate::guard) fn new(texts: &[&str]) -> Self {
        let phrases: Vec<Phrase> = texts
            .iter()
            .map(|text| Phrase {
                bounded: text
                    .as_bytes()
                    .first()
                    .is_some_and(u8::is_ascii_alphanumeric),
                text: text.to_ascii_lowercase().into_bytes(),
            })
            .collect();
        let (mut first, mut second) = ([false; 256], [false; 256]);
        // Three bytes in every spelling, and for which phrases they stand.
        let mut spellings: Vec<([u8; 3], Vec<Place>)> = Vec::new();
        for (number, phrase) in phrases.iter().enumerate() {
            let Some(window) = rarest(&phrase.text) else {
                continue;
            };
            for (table, byte) in [(&mut first, phrase.text[0]), (&mut second, phrase.text[1])] {
                table[usize::from(byte)] = true;
                table[usize::from(byte.to_ascii_uppercase())] = true;
            }
            let three = [
                phrase.text[window],
                phrase.text[window + 1],
                phrase.text[window + 2],
            ];
            for three in cases(three) {
                match spellings.iter_mut().find(|(known, _)| *known == three) {
                    Some((_, places)) => places.push((number, window)),
                    None => spellings.push((three, vec![(number, window)])),
                }
            }
        }
        let searchers = spellings.chunks(AT_ONCE).filter_map(|some| {
            let mut builder = packed::Config::new()
                .match_kind(MatchKind::LeftmostFirst)
                .builder();
            builder.extend(some.iter().map(|(three, _)| three));
            let places = some.iter().map(|(_, places)| places.clone()).collect();
            Some((builder.build()?, places))
        });
        Self {
            searchers: searchers.collect(),
            longest: phrases
                .iter()
                .map(|phrase| phrase.text.len())
                .max()
                .unwrap_or(0),
            phrases,
            first,
            second,
        }
    }

    /// The length of the longest phrase, in bytes.
    pub(in crate::guard) const fn longest(&self) -> usize {
        self.longest
    }

    /// Tells `each` of the phrases that begin in `range` of `text`: their numbers and where. Those of one
    /// number come in order.
    pub(in crate::guard) fn find(
        &self,
        text: &[u8],
        range: Range<usize>,
        mut each: impl FnMut(usize, usize),
    ) {
        if range.len() < SHORT || self.searchers.is_empty() {
            let pairs = text[range.clone()]
                .iter()
                .zip(text[range.start..].iter().skip(1));
            for (at, (one, two)) in pairs.enumerate() {
                if self.first[usize::from(*one)] && self.second[usize::from(*two)] {
                    for number in 0..self.phrases.len() {
                        if self.is_at(text, number, range.start + at) {
                            each(number, range.start + at);
                        }
                    }
                }
            }
            return;
        }
        // What is looked for may stand anywhere in a phrase.
        let part = &text[..range.end.saturating_add(self.longest).min(text.len())];
        for (searcher, places) in &self.searchers {
            let mut at = range.start;
            while let Some(found) = searcher.find_in(part, (at..part.len()).into()) {
                at = found.start() + 1;
                let places = places.get(found.pattern().as_usize());
                for &(number, window) in places.into_iter().flatten() {
                    if let Some(start) = found.start().checked_sub(window)
                        && range.contains(&start)
                        && self.is_at(text, number, start)
                    {
                        each(number, start);
                    }
                }
            }
        }
    }

    fn is_at(&self, text: &[u8], number: usize, start: usize) -> bool {
        let Some(phrase) = self.phrases.get(number) else {
            return false;
        };
        let there = text.get(start..start + phrase.text.len());
        there.is_some_and(|there| there.eq_ignore_ascii_case(&phrase.text))
            && (!phrase.bounded || !begins_inside(text, start))
    }

    /// Where at the end of `text` one of the phrases `which` may have begun.
    pub(in crate::guard) fn begun(
        &self,
        text: &[u8],
        which: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let from = text.len().saturating_sub(self.longest.saturating_sub(1));
        (from..text.len()).find(|&start| {
            if !self.first[usize::from(text[start])] {
                return false;
            }
            let part = &text[start..];
            self.phrases.iter().enumerate().any(|(number, phrase)| {
                part.len() < phrase.text.len()
                    && part.eq_ignore_ascii_case(&phrase.text[..part.len()])
                    && (!phrase.bounded || !begins_inside(text, start))
                    && which(number)
            })
        })
    }
}

/// Whether a word goes on at `start`.
fn begins_inside(text: &[u8], start: usize) -> bool {
    start
        .checked_sub(1)
        .is_some_and(|before| text[before].is_ascii_alphanumeric())
}

/// The pairs of letters that English has most often (P. Norvig, English Letter Frequency Counts, 2012).
const PAIRS: &str = "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co \
    me de hi ri ro ic ne ea ra ce li ch ll be ma si om ur";

/// Where the three bytes are that ordinary text has least often.
fn rarest(text: &[u8]) -> Option<usize> {
    let letter = |byte: u8| match byte {
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 4,
        b' ' | b'h' | b'l' | b'd' | b'c' | b'u' => 3,
        b'm' | b'p' | b'f' | b'g' | b'y' => 2,
        b'w' | b'b' | b'v' | b'k' | b'-' | b'.' => 1,
        _ => 0,
    };
    let is_common = |pair: &[u8]| PAIRS.split(' ').any(|common| common.as_bytes() == pair);
    let pair = |pair: &[u8]| match pair {
        _ if pair.contains(&b' ') => 10,
        _ if is_common(pair) => 10,
        _ => 0,
    };
    let cost = |window: &[u8]| {
        let letters = window.iter().map(|byte| letter(*byte)).sum::<u32>();
        letters + window.windows(2).map(pair).sum::<u32>()
    };
    let windows = text.windows(3).enumerate();
    windows
        .min_by_key(|(_, window)| cost(window))
        .map(|(at, _)| at)
}

/// The bytes in every mixture of cases.
fn cases(three: [u8; 3]) -> impl Iterator<Item = [u8; 3]> {
    (0..8_u8).filter_map(move |mask| {
        let mut spelled = three;
        for (bit, byte) in spelled.iter_mut().enumerate() {
            if mask >> bit & 1 == 1 {
                if !byte.is_ascii_lowercase() {
                    return None;
                }
                byte.make_ascii_uppercase();
            }
        }
        Some(spelled)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(phrases: &Phrases, text: &str) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        phrases.find(text.as_bytes(), 0..text.len(), |number, at| {
            all.push((number, at))
        });
        all.sort_unstable();
        all
    }

    #[test]
    fn phrases_are_found_in_any_case_in_short_and_long_texts() {
        let phrases = Phrases::new(&["system prompt", "you are claude", "-----begin", "sys"]);
        for padding in ["", &"Nothing to see here. ".repeat(10)] {
            let at = padding.len();
            let text =
                format!("{padding}SYSTEM Prompt; ecosystem prompt: You ARE Claude-----BEGIN");
            assert_eq!(
                found(&phrases, &text),
                [(0, at), (1, at + 33), (2, at + 47), (3, at)],
                "{padding}"
            );
        }
    }

    #[test]
    fn many_phrases_are_found_too() {
        let texts: Vec<String> = (0..200).map(|number| format!("word{number}x")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let phrases = Phrases::new(&texts);
        let text = format!("{} WORD7x word199X", " ".repeat(200));
        assert_eq!(found(&phrases, &text), [(7, 201), (199, 208)]);
    }

    #[test]
    fn a_phrase_that_has_begun_is_seen() {
        let phrases = Phrases::new(&["system prompt", "you are claude"]);
        let begun = |text: &str| phrases.begun(text.as_bytes(), |_| true);
        assert_eq!(begun("The syst"), Some(4));
        assert_eq!(begun("The system prompt"), None);
        assert_eq!(begun("The system promp"), Some(4));
        assert_eq!(begun("ecosys"), None);
        assert_eq!(begun("You are "), Some(0));
        assert_eq!(phrases.begun(b"you", |number| number == 0), None);
    }
}
