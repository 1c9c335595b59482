//! Which texts of a caller made a request an attack.
//!
//! Decides on the newest of them: a conversation comes with every turn, and what was refused before is still
//! in it. It is one text where one is enough, else the shortest row of texts that is. What is said after them
//! changes nothing about that, so that whoever blames them twice blames the same ones.

use super::Rules;
use super::judge::{NEIGHBOURS, Said};
use crate::guard::score::Score;
use std::ops::Range;

/// The longest row that is looked at: as many as are read as one, and those that a rule reaches into.
const ROW: usize = NEIGHBOURS + 2;

/// How many texts are looked at together first.
const STRIDE: usize = 64;

impl Rules {
    /// The newest texts, by their numbers among the passages, that score `from` or more. `scores` are those
    /// of single texts.
    pub(super) fn blamed(&self, said: &[Said], scores: &[(usize, Score)], from: u16) -> Vec<usize> {
        let own: Vec<(usize, u16)> = said
            .iter()
            .map(|(number, _)| {
                let at = scores.binary_search_by_key(number, |(at, _)| *at).ok();
                let score = at.and_then(|at| scores.get(at));
                (*number, score.map_or(0, |(_, score)| score.total))
            })
            .collect();
        let last = own.iter().rposition(|(_, total)| *total >= from);
        let after = last.map_or(0, |last| last + 1);
        let row = match (self.row(&said[after..], from), last) {
            (Some(row), _) => row.start + after..row.end + after,
            (None, Some(last)) => last..last + 1,
            // It is an attack only as a whole: whichever looks most like one, however it goes on.
            (None, None) => {
                let numbered = own.iter().enumerate().rev();
                let most = numbered.max_by_key(|(_, (_, total))| *total);
                most.map_or(0..0, |(most, _)| most..most + 1)
            }
        };
        let row = own.get(row).into_iter().flatten();
        row.map(|(number, _)| *number).collect()
    }

    /// The last row of texts that is an attack and would be none without its first or its last one.
    fn row(&self, said: &[Said], from: u16) -> Option<Range<usize>> {
        let attacks = |row: &[Said]| self.together(row).total >= from;
        let reach = |at: usize| said.len().min(at + ROW);
        if said.len() < 2 || !attacks(said) {
            return None;
        }
        let mut end = said.len();
        while end > 0 {
            let begin = end.saturating_sub(STRIDE);
            let starts = begin..end;
            end = begin;
            // Few strides are gone through one by one: a request may have very many texts.
            if !attacks(&said[begin..reach(starts.end)]) {
                continue;
            }
            let mut starts = starts.rev();
            if let Some(start) = starts.find(|start| attacks(&said[*start..reach(*start)])) {
                let end = (start + 2..reach(start)).find(|end| attacks(&said[start..*end]));
                return Some(start..end.unwrap_or(reach(start)));
            }
        }
        None
    }
}
