//! What a log is called among the logs of other gateways.

use super::LogError;
use std::fs::{Metadata, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Random bytes in an id.
const BYTES: usize = 8;

/// The id of the log at `path`: 16 hexadecimal digits in a file beside it, `<log>.id`, made at the
/// first call. A log that is copied keeps its id, so two processes must not go on with copies of one.
///
/// # Errors
/// When the file can be neither read nor made, or holds anything else.
pub fn identity(path: &Path) -> Result<String, LogError> {
    let file = file_of(path);
    let failed = |source| LogError::io(&file)(source);
    let read = || read(&file).and_then(|id| id.ok_or_else(|| failed(ErrorKind::NotFound.into())));
    if file.exists() {
        return read();
    }
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent).map_err(LogError::io(parent))?;
    }
    let id: String = (0..BYTES)
        .map(|_| format!("{:02x}", fastrand::u8(..)))
        .collect();
    // Written whole under another name first: a process beside this one reads all of it or makes it.
    let draft = PathBuf::from(format!("{}.{}", file.display(), std::process::id()));
    let made = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(&draft);
    made.and_then(|mut draft| draft.write_all(format!("{id}\n").as_bytes()))
        .map_err(LogError::io(&draft))?;
    let linked = std::fs::hard_link(&draft, &file);
    std::fs::remove_file(&draft).map_err(LogError::io(&draft))?;
    match linked {
        Ok(()) => Ok(id),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(),
        Err(source) => Err(failed(source)),
    }
}

/// The id of the log at `path` without making one: `None` for a log that has none yet, because it was
/// never shared.
///
/// # Errors
/// When the file cannot be read, or holds anything else.
pub fn known_identity(path: &Path) -> Result<Option<String>, LogError> {
    read(&file_of(path))
}

/// Where the log at `path` is kept: the same for one process after another that goes on with it there,
/// and never for a copy of it. Empty where the system does not say.
pub fn place(path: &Path) -> String {
    let Ok(boot) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") else {
        return String::new();
    };
    let place = |about: Metadata| format!("{}:{:x}:{:x}", boot.trim(), about.dev(), about.ino());
    std::fs::metadata(file_of(path))
        .map(place)
        .unwrap_or_default()
}

fn file_of(path: &Path) -> PathBuf {
    let mut name = path.to_path_buf().into_os_string();
    name.push(".id");
    PathBuf::from(name)
}

fn read(file: &Path) -> Result<Option<String>, LogError> {
    match std::fs::read_to_string(file) {
        Ok(text) if is_id(text.trim()) => Ok(Some(text.trim().to_owned())),
        Ok(_) => Err(LogError::Damaged {
            path: file.to_owned(),
            at: 0,
            reason: "not the id of a log",
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LogError::io(file)(source)),
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 2 * BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::scratch::Scratch;

    #[test]
    fn a_log_keeps_its_id() {
        let scratch = Scratch::new();
        assert_eq!(known_identity(&scratch.log()).unwrap(), None);
        let first = identity(&scratch.log()).unwrap();
        assert_eq!(known_identity(&scratch.log()).unwrap(), Some(first.clone()));
        assert_eq!(identity(&scratch.log()).unwrap(), first);
        assert_ne!(identity(&Scratch::new().log()).unwrap(), first);
        assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 1);
    }

    #[test]
    fn an_id_that_is_none_is_an_error() {
        let scratch = Scratch::new();
        std::fs::write(scratch.0.join("spend.jsonl.id"), "half").unwrap();
        assert!(identity(&scratch.log()).is_err());
        assert!(known_identity(&scratch.log()).is_err());
    }
}
