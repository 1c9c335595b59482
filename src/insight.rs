//! Insights: every finished request as a record that can be asked about.
//!
//! The spend log stays the source of truth; what is kept here is made from it and can be made again.
//! `store` is the database, SQLite beside the log or PostgreSQL.

pub mod embed;
pub mod similar;
pub mod store;
