//! Texts as a reader takes them, whatever they are written with.
//!
//! Decides which characters are the same to whoever reads them: letters of other alphabets that look
//! alike, wide and mathematical forms, capitals, accents, what cannot be seen. Undoes what needs no key to
//! read: letters that stand apart, digits for letters, words backwards. It does not decide what the text
//! means, and it does not undo encodings; that is done beside it.

pub(super) mod disguise;
mod fold;
mod hidden;
pub(super) mod survey;

pub(super) use fold::each;
pub use fold::{Fold, fold};
pub(super) use hidden::hidden;
