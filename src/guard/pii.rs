//! Personal data: cards, social security numbers, bank accounts, telephone numbers, addresses of mail.
//!
//! Decides what is one by its check digits, its ranges and its form, and by a word before it where its form
//! alone says too little. It does not look for names, streets, dates of birth or passports.

mod card;
mod email;
pub(super) mod iban;
pub(super) mod number;

use super::detect::About;
use std::ops::Range;
use std::sync::Arc;

/// A kind of personal data that is found by code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Card,
    Iban,
    Ssn,
    Phone,
    Email,
}

impl Kind {
    /// Every kind, with its name in the files.
    pub(super) const ALL: [(Self, &'static str); 5] = [
        (Self::Card, "card"),
        (Self::Iban, "iban"),
        (Self::Ssn, "ssn"),
        (Self::Phone, "phone"),
        (Self::Email, "email"),
    ];
}

/// The kinds that are looked for.
#[derive(Default)]
pub(super) struct Pii {
    kinds: Vec<(Kind, Arc<About>)>,
}

impl Pii {
    pub(super) fn new(kinds: Vec<(Kind, Arc<About>)>) -> Self {
        Self { kinds }
    }

    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    fn about(&self, kind: Kind) -> Option<&Arc<About>> {
        self.kinds
            .iter()
            .find(|(known, _)| *known == kind)
            .map(|(_, about)| about)
    }

    /// Tells `each` of what consists of digits, with its rank: the smaller, the surer.
    pub(super) fn numbers(
        &self,
        text: &[u8],
        range: Range<usize>,
        mut each: impl FnMut(u32, &Arc<About>, Range<usize>),
    ) {
        number::find(text, range, |kind, span| {
            if let Some(about) = self.about(kind) {
                each(u32::from(kind == Kind::Phone), about, span);
            }
        });
    }

    /// Tells `each` of the addresses whose `@` is in `range`.
    pub(super) fn addresses(
        &self,
        text: &[u8],
        range: Range<usize>,
        mut each: impl FnMut(&Arc<About>, Range<usize>),
    ) {
        let Some(about) = self.about(Kind::Email) else {
            return;
        };
        for at in memchr::memchr_iter(b'@', &text[range.clone()]) {
            if let Some(span) = email::around(text, range.start + at) {
                each(about, span);
            }
        }
    }
}
