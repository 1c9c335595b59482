//! What clients speak: one module per API, reading requests.
//!
//! A surface decides what a request asks for and whether Weir can bound it. It does not know
//! budgets, prices or the provider that will answer.

pub mod chat;
