//! The guard: what texts on their way in and out are searched for.
//!
//! Pure: it is handed text and says what it found. What is refused, and how, is the business of the phases
//! that ask it. It finds much and promises nothing; `docs/guard.md` says what it catches, measured.

pub mod finding;
pub mod rules;
