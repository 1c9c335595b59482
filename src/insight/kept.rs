//! The right to write the records of a log, and the log's name in the store.
//!
//! One file beside the spend log, `….insights`, holds the name, made up once. The process that writes
//! has it locked, so that of two processes of one log one works at a time. A copy of a log keeps its
//! name, so two gateways must not go on with copies of one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// The right to write the records of a log.
pub(super) struct Home {
    log_id: Arc<str>,
    /// Locked as long as it is open.
    _lock: File,
}

impl Home {
    /// Takes the right, unless another process has it.
    pub(super) fn claim(log: &Path) -> io::Result<Option<Self>> {
        let mut path = log.as_os_str().to_owned();
        path.push(".insights");
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut id = text.trim().to_owned();
        if !is_name(&id) {
            id = new_name()?;
            file.set_len(0)?;
            writeln!(file, "{id}")?;
            file.sync_all()?;
        }
        Ok(Some(Self {
            log_id: id.into(),
            _lock: file,
        }))
    }

    /// What the log is called in the store.
    pub(super) fn log_id(&self) -> &Arc<str> {
        &self.log_id
    }
}

/// `log_` and 32 hexadecimal digits.
fn is_name(text: &str) -> bool {
    let digits = text.strip_prefix("log_").unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn new_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("log_{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_writes_and_the_name_stays() {
        let name = format!("weir-insight-home-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let log = directory.join("spend.jsonl");
        let home = Home::claim(&log).unwrap().unwrap();
        assert!(is_name(home.log_id()));
        assert!(Home::claim(&log).unwrap().is_none());
        let id = Arc::clone(home.log_id());
        drop(home);
        let home = Home::claim(&log).unwrap().unwrap();
        assert_eq!(*home.log_id(), id);
        drop(home);
        // Half of a name is what a crash may leave.
        std::fs::write(directory.join("spend.jsonl.insights"), &id[..9]).unwrap();
        let home = Home::claim(&log).unwrap().unwrap();
        assert!(is_name(home.log_id()) && *home.log_id() != id);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
