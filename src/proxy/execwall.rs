//! `_execwall`: what a request cost and what is left, inside the answer's body, as the Execwall OR
//! Gate wrote it.
//!
//! Decides the form: a member of a JSON answer, or a last chunk of a stream that every client of
//! the OpenAI API accepts. All but the two amounts is known when the answer begins.

use super::context::Admission;
use crate::money::{MAX_AMOUNT, Nanos};
use crate::stream::{Place, Reading};
use serde::Serialize;

/// The metadata of one answer, less its amounts.
pub(crate) struct Execwall {
    /// Up to the cost.
    before: Vec<u8>,
    /// From the models on.
    after: Vec<u8>,
}

const COST: &[u8] = br#","cost":"#;
const REMAINING: &[u8] = br#","budget_remaining":"#;

/// A chunk of a stream without choices.
#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [(); 0],
}

impl Execwall {
    /// The metadata for an admitted request.
    pub(crate) fn new(admission: &Admission) -> Self {
        let mut before = br#""_execwall":{"agent_id":"#.to_vec();
        write(&mut before, admission.journey.identity.agent.id.as_str());
        before.extend_from_slice(COST);
        let mut after = br#","models_allowed":"#.to_vec();
        let tier = admission.journey.route.tiers.get(admission.journey.tier);
        write(&mut after, tier.map_or(&[][..], |tier| &tier.models));
        after.extend_from_slice(br#","original_model":"#);
        write(&mut after, &admission.original_model);
        after.push(b'}');
        Self { before, after }
    }

    /// The most bytes that it takes as a member, with its comma. The amounts are the longest there
    /// are: negative, with all digits.
    pub(crate) fn room(&self) -> usize {
        let longest = -MAX_AMOUNT.usd_6dp() - 0.000_001;
        1 + self.member(longest, longest).len()
    }

    /// Its text for `place`.
    pub(crate) fn text(
        &self,
        place: Place,
        cost: Nanos,
        remaining: Nanos,
        reading: &Reading,
        asked: Option<&str>,
    ) -> Option<Vec<u8>> {
        let member = || self.member(cost.usd_6dp(), remaining.usd_6dp());
        match place {
            Place::Nowhere => None,
            Place::Member => Some(member()),
            Place::Event => Some(event(&member(), reading, asked)),
        }
    }

    fn member(&self, cost: f64, remaining: f64) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.before.len() + self.after.len() + 64);
        text.extend_from_slice(&self.before);
        write(&mut text, &cost);
        text.extend_from_slice(REMAINING);
        write(&mut text, &remaining);
        text.extend_from_slice(&self.after);
        text
    }
}

fn event(member: &[u8], reading: &Reading, asked: Option<&str>) -> Vec<u8> {
    let mut event = b"data: ".to_vec();
    let chunk = Chunk {
        id: reading.id.as_deref().unwrap_or_default(),
        object: "chat.completion.chunk",
        created: reading.created.unwrap_or_default(),
        model: reading.model.as_deref().or(asked).unwrap_or_default(),
        choices: [],
    };
    write(&mut event, &chunk);
    // The member goes before the closing brace.
    event.pop();
    event.push(b',');
    event.extend_from_slice(member);
    event.extend_from_slice(b"}\n\n");
    event
}

fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Texts, numbers and lists of texts into memory: there is nothing to fail.
    let _ = serde_json::to_writer(out, value);
}
