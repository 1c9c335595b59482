//! What is remembered of callers for the guard: quarantine, the canaries of sessions, the audit.
//!
//! Decides where that is kept: in memory, in files beside the spend log that outlive the process, and, where
//! gateways share a Redis, there too. Who is in quarantine and when a canary changes is decided in
//! [`crate::guard`]; who is asked and what is refused is the business of the phases.
//!
//! Nothing here is waited for by a request that nothing was found in: asking whether a caller is in quarantine
//! looks into memory only.

pub mod audit;
mod files;
mod journal;
mod quarantine;
mod sessions;

pub use audit::{Audit, AuditFiles};
pub use quarantine::{Lifted, Quarantine};
pub use sessions::{Canaries, NoCanary};
