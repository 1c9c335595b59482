//! Texts as a reader takes them, whatever they are written with.
//!
//! Decides which characters are the same to whoever reads them: letters of other alphabets that look
//! alike, wide and mathematical forms, capitals, accents, what cannot be seen. It does not decide what
//! the text means, and it does not undo encodings; that is [`super::decode`]'s.

mod fold;

pub(in crate::guard) use fold::each;
pub use fold::{Fold, fold};
