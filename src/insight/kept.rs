//! The right to write the records of a log, and the log's name in the store.
//!
//! One file beside the spend log, `….insights`, holds the name, made up once. The process that writes
//! has it locked, so that of two processes of one log one works at a time. A copy of a log keeps its
//! name, so two gateways must not go on with copies of one.

use crate::ledger::named::Named;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The right to write the records of a log.
pub(super) struct Home {
    log_id: Arc<str>,
    _right: Named,
}

impl Home {
    /// Takes the right, unless another process has it.
    pub(super) fn claim(log: &Path) -> io::Result<Option<Self>> {
        let mut path = log.as_os_str().to_owned();
        path.push(".insights");
        let right = Named::claim(path.as_ref(), "log", 0o600)?;
        Ok(right.map(|right| Self {
            log_id: right.name().into(),
            _right: right,
        }))
    }

    /// What the log is called in the store.
    pub(super) fn log_id(&self) -> &Arc<str> {
        &self.log_id
    }
}
