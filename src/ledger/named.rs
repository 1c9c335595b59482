//! A file beside a spend log with a name in it that was made up once.
//!
//! Decides that of all processes of a log one has the file locked: that one may do what the file is for.
//! Half of a name, as a crash may leave it, is none. A copy of a log keeps its name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The file, locked as long as this lives.
pub struct Named {
    name: String,
    _lock: File,
}

impl Named {
    /// Takes the file at `path`, unless another process has it. Its name is `kind`, `_` and 32 hexadecimal
    /// digits. A file that is new gets `mode`.
    ///
    /// # Errors
    /// When the file cannot be read, written or locked.
    pub fn claim(path: &Path, kind: &str, mode: u32) -> io::Result<Option<Self>> {
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(mode)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut name = text.trim().to_owned();
        if !is_name(&name, kind) {
            name = new_name(kind)?;
            file.set_len(0)?;
            writeln!(file, "{name}")?;
            file.sync_all()?;
        }
        Ok(Some(Self { name, _lock: file }))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn is_name(text: &str, kind: &str) -> bool {
    let rest = text.strip_prefix(kind).unwrap_or_default();
    let digits = rest.strip_prefix('_').unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn new_name(kind: &str) -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{kind}_{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_it_and_the_name_stays() {
        let name = format!("weir-ledger-named-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("spend.jsonl.name");
        let claim = || Named::claim(&path, "gw", 0o600).unwrap();
        let one = claim().unwrap();
        assert!(is_name(one.name(), "gw") && !is_name(one.name(), "log"));
        assert!(claim().is_none());
        let name = one.name().to_owned();
        drop(one);
        assert_eq!(claim().unwrap().name(), name);
        // Half of a name is what a crash may leave.
        std::fs::write(&path, &name[..9]).unwrap();
        let other = claim().unwrap();
        assert!(is_name(other.name(), "gw") && other.name() != name);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
