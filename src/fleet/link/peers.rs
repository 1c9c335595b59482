//! Which gateways there were, for the next process on the same log.
//!
//! Decides what a process that has just started knows of the others. When Redis loses its state while one
//! gateway after another is killed, nobody may be left who has heard of all of them: what each has written
//! down is what grants wait for then.

use super::lock;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Names of gateways in a file beside the log, `<log>.peers`, one in a line.
#[derive(Debug)]
pub(super) struct Peers {
    file: PathBuf,
    /// What is in the file.
    kept: Mutex<Vec<String>>,
}

impl Peers {
    /// Those that the processes before this one knew. A file that cannot be read is none: others may
    /// know more.
    pub(super) fn beside(log: &Path) -> Self {
        let file = with(log, ".peers");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let names = text.lines().filter(|name| is_name(name));
        let kept = Mutex::new(names.map(str::to_owned).collect());
        Self { file, kept }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<String> {
        lock(&self.kept).clone()
    }

    /// Writes down who they are, where that has changed.
    pub(super) fn keep(&self, gateways: &[String]) {
        let mut names = gateways.to_vec();
        names.sort_unstable();
        names.dedup();
        let mut kept = lock(&self.kept);
        if *kept == names {
            return;
        }
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        // Written whole under another name first, because a kill may come at any time.
        let draft = with(&self.file, &format!(".{}", std::process::id()));
        let written = std::fs::write(&draft, text);
        match written.and_then(|()| std::fs::rename(&draft, &self.file)) {
            Ok(()) => *kept = names,
            Err(error) => {
                let file = self.file.display();
                tracing::warn!(%file, %error, "cannot write down which gateways there are");
            }
        }
    }
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// Whether it is the id of a log and a chain.
fn is_name(name: &str) -> bool {
    name.split_once(':').is_some_and(|(id, chain)| {
        let chain = chain.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        chain && id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::scratch::Scratch;

    #[test]
    fn the_next_process_knows_whom_the_last_one_knew() {
        let scratch = Scratch::new();
        let peers = Peers::beside(&scratch.log());
        assert!(peers.all().is_empty());
        let (one, two) = ("00000000000000a1:", "00000000000000b2:4711-1700000000000");
        peers.keep(&[two.to_owned(), one.to_owned(), one.to_owned()]);
        assert_eq!(Peers::beside(&scratch.log()).all(), [one, two]);
        peers.keep(&[two.to_owned()]);
        assert_eq!(Peers::beside(&scratch.log()).all(), [two]);
        let file = with(&scratch.log(), ".peers");
        assert!(file.exists());
    }

    #[test]
    fn what_is_no_name_of_a_gateway_is_nobody() {
        let scratch = Scratch::new();
        let text = "half\n00000000000000a1\n00000000000000a1:x\n\n00000000000000a1:\n\u{fffd}:1\n";
        std::fs::write(with(&scratch.log(), ".peers"), text).unwrap();
        let peers = Peers::beside(&scratch.log());
        assert_eq!(peers.all(), ["00000000000000a1:"]);
        std::fs::write(with(&scratch.log(), ".peers"), [0xff, 0xfe]).unwrap();
        assert!(Peers::beside(&scratch.log()).all().is_empty());
    }
}
