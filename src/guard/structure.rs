//! Rules about words that stand near each other.
//!
//! Decides whether a rule is met by the words of a text. One walk over the words that were found; what a
//! rule remembers does not grow, so that the time grows with the text and not faster.

use super::phrases::{Classes, Hit};
use super::score::Fired;

/// How near a word that speaks against a rule must stand before what meets it, in bytes.
const AGAINST: usize = 90;

/// A finding of a rule is told again only after this many bytes.
const AGAIN: usize = 1_000;

/// The most words that a rule of [`Shape::Many`] may ask for.
pub(super) const MOST: usize = 64;

/// What meets a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A word of each step.
    Near {
        /// The classes of each step.
        steps: Vec<Classes>,
        /// Whether the steps come in this order.
        ordered: bool,
        /// From the beginning of the first to the end of the last, in bytes.
        within: usize,
        /// Whether other sentences may begin in between.
        across: bool,
        /// Classes that make it harmless when they come shortly before, in the same sentence.
        unless: Classes,
    },
    /// So many words.
    Many {
        /// Of these classes.
        of: Classes,
        /// How many.
        least: usize,
        /// Within so many bytes.
        within: usize,
    },
}

/// Rules by the classes that bear on them.
#[derive(Debug, Default)]
pub(super) struct Structure {
    shapes: Vec<Placed>,
    /// For each class the shapes that it takes part in.
    bearing: Vec<Vec<u16>>,
    /// How much all of them remember.
    memory: usize,
}

/// A shape, its rule, and from where on it remembers.
#[derive(Debug)]
struct Placed {
    rule: u16,
    shape: Shape,
    from: usize,
}

/// What the rules remember, all in one piece: for each step of [`Shape::Near`] the best chain of words so
/// far that ends with it, where it begins and ends; for [`Shape::Many`] the last words counted, in a ring.
struct Memory {
    places: Vec<(usize, usize)>,
    counted: Vec<usize>,
    /// Where each rule was told last, and one more; 0 for never.
    told: Vec<usize>,
}

/// No place.
const NONE: (usize, usize) = (usize::MAX, usize::MAX);

impl Structure {
    /// Of rules with their numbers.
    pub(super) fn new(shapes: Vec<(u16, Shape)>) -> Self {
        let mut structure = Self {
            bearing: vec![Vec::new(); super::phrases::MOST_CLASSES],
            ..Self::default()
        };
        for (index, (rule, shape)) in shapes.into_iter().enumerate() {
            let (classes, size) = match &shape {
                Shape::Near { steps, .. } => {
                    (steps.iter().fold(0, |all, step| all | step), steps.len())
                }
                Shape::Many { of, least, .. } => (*of, (*least).clamp(1, MOST)),
            };
            for (class, list) in structure.bearing.iter_mut().enumerate() {
                if classes >> class & 1 == 1
                    && let Ok(index) = u16::try_from(index)
                {
                    list.push(index);
                }
            }
            let from = structure.memory;
            structure.memory += size;
            structure.shapes.push(Placed { rule, shape, from });
        }
        structure
    }

    /// Adds the rules that `hits`, in the order of their places, meet in `text`. `offset` is added to the
    /// places.
    pub(super) fn meet(&self, text: &str, hits: &[Hit], offset: usize, fired: &mut Vec<Fired>) {
        if hits.is_empty() {
            return;
        }
        let mut memory = Memory {
            places: vec![NONE; self.memory],
            counted: vec![0; self.shapes.len()],
            told: vec![0; self.shapes.len()],
        };
        let mut last_of_class = [None; super::phrases::MOST_CLASSES];
        for hit in hits {
            if let Some(last) = last_of_class.get_mut(usize::from(hit.class)) {
                *last = Some(hit.end);
            }
            let bearing = self.bearing.get(usize::from(hit.class));
            for index in bearing.into_iter().flatten() {
                let index = usize::from(*index);
                let placed = &self.shapes[index];
                let Some((start, end)) = memory.step(index, placed, *hit) else {
                    continue;
                };
                let told = &mut memory.told[index];
                if *told != 0 && start < *told + AGAIN {
                    continue;
                }
                if let Shape::Near { across, unless, .. } = &placed.shape
                    && ((!across && breaks(text, start, end))
                        || against(text, *unless, &last_of_class, start))
                {
                    continue;
                }
                *told = start + 1;
                fired.push(Fired {
                    at: offset + start,
                    rule: placed.rule,
                });
            }
        }
    }
}

impl Memory {
    /// One more word: from where to where it stands what the rule asks for.
    fn step(&mut self, index: usize, placed: &Placed, hit: Hit) -> Option<(usize, usize)> {
        let class: Classes = 1 << hit.class;
        match &placed.shape {
            Shape::Near {
                steps,
                ordered,
                within,
                ..
            } => {
                let chains = self
                    .places
                    .get_mut(placed.from..placed.from + steps.len())?;
                if *ordered {
                    in_order(chains, steps, class, hit, *within)
                } else {
                    in_any_order(chains, steps, class, hit, *within)
                }
            }
            Shape::Many { least, within, .. } => {
                let least = (*least).clamp(1, MOST);
                let ring = self.places.get_mut(placed.from..placed.from + least)?;
                let counted = &mut self.counted[index];
                ring[*counted % least] = (hit.start, hit.end);
                *counted += 1;
                if *counted < least {
                    return None;
                }
                let first = ring[*counted % least].0;
                (hit.end.saturating_sub(first) <= *within).then_some((first, hit.end))
            }
        }
    }
}

fn in_order(
    chains: &mut [(usize, usize)],
    steps: &[Classes],
    class: Classes,
    hit: Hit,
    within: usize,
) -> Option<(usize, usize)> {
    // From the last step on, so that no word is taken for two.
    for step in (0..steps.len()).rev() {
        if steps[step] & class == 0 {
            continue;
        }
        let start = match step.checked_sub(1).map(|before| chains[before]) {
            None => Some(hit.start),
            Some((start, end)) => (end <= hit.start && hit.end - start <= within).then_some(start),
        };
        if let Some(start) = start {
            chains[step] = (start, hit.end);
            if step + 1 == steps.len() {
                return Some((start, hit.end));
            }
        }
    }
    None
}

fn in_any_order(
    chains: &mut [(usize, usize)],
    steps: &[Classes],
    class: Classes,
    hit: Hit,
    within: usize,
) -> Option<(usize, usize)> {
    for (step, chain) in steps.iter().zip(chains.iter_mut()) {
        if step & class != 0 {
            *chain = (hit.start, hit.end);
        }
    }
    if chains.contains(&NONE) {
        return None;
    }
    let start = chains.iter().map(|(start, _)| *start).min()?;
    (hit.end.saturating_sub(start) <= within).then_some((start, hit.end))
}

/// Whether a sentence ends within a stretch of text.
fn breaks(text: &str, start: usize, end: usize) -> bool {
    let Some(between) = text.as_bytes().get(start..end) else {
        // Words of several texts.
        return false;
    };
    between.windows(2).any(|pair| {
        matches!(pair[0], b'.' | b'!' | b'?' | b';') && pair[1].is_ascii_whitespace()
            || pair == b"\n\n"
    }) || between
        .windows(3)
        .any(|three| matches!(three, [0xE3, 0x80, 0x82]))
}

fn against(
    text: &str,
    unless: Classes,
    last: &[Option<usize>; super::phrases::MOST_CLASSES],
    start: usize,
) -> bool {
    unless != 0
        && last.iter().enumerate().any(|(class, last)| {
            unless >> class & 1 == 1
                && last.is_some_and(|last| {
                    last + AGAINST >= start && !breaks(text, last.min(start), start)
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each letter of the text is a word of its class.
    fn hits(text: &str) -> Vec<Hit> {
        let letters = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| byte.is_ascii_lowercase());
        letters
            .map(|(at, byte)| Hit {
                class: byte - b'a',
                start: at,
                end: at + 1,
            })
            .collect()
    }

    fn met(shape: Shape, text: &str) -> Vec<usize> {
        let mut fired = Vec::new();
        Structure::new(vec![(7, shape)]).meet(text, &hits(text), 0, &mut fired);
        assert!(fired.iter().all(|one| one.rule == 7));
        fired.iter().map(|one| one.at).collect()
    }

    fn near(ordered: bool, within: usize) -> Shape {
        Shape::Near {
            steps: vec![1, 2, 4],
            ordered,
            within,
            across: false,
            unless: 8,
        }
    }

    #[test]
    fn words_in_order_meet_a_rule_when_they_are_near() {
        assert_eq!(met(near(true, 10), "a  b  c"), [0]);
        assert_eq!(met(near(true, 10), "a  b a b  c"), [5]);
        assert!(met(near(true, 10), "c  b  a").is_empty());
        assert!(met(near(true, 5), "a  b  c").is_empty());
        assert_eq!(met(near(false, 10), "c  b  a"), [0]);
    }

    #[test]
    fn a_sentence_in_between_or_a_word_against_it_makes_it_harmless() {
        assert!(met(near(true, 10), "a. b c").is_empty());
        assert!(met(near(true, 10), "d a b c").is_empty());
        assert_eq!(met(near(true, 10), "d. a b c"), [3]);
    }

    #[test]
    fn so_many_words_in_so_little_text_meet_a_rule() {
        let many = |least| Shape::Many {
            of: 1,
            least,
            within: 6,
        };
        assert_eq!(met(many(3), "a a a"), [0]);
        assert!(met(many(4), "a a   a a").is_empty());
        assert_eq!(met(many(1), "b a"), [2]);
    }

    #[test]
    fn a_finding_is_told_again_only_far_away() {
        let text = format!("abc abc{}abc", " ".repeat(2_000));
        assert_eq!(met(near(true, 10), &text).len(), 2);
    }
}
