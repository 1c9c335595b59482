//! The process that takes over, started by the one that serves.
//!
//! Decides which program that is: the file that this process was started from, as it is now, with the
//! same arguments and `--upgrade`, in the same directory and environment. Whether it may have the
//! listeners is decided in [`super::handover`].

use super::place::Place;
use anyhow::{Context as _, bail};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What stands after the path of a program that has been replaced since it was started.
const REPLACED: &[u8] = b" (deleted)";

/// A process that is about to take over. Unless it does, it is ended with this.
#[derive(Debug)]
pub(super) struct Successor {
    child: Option<Child>,
}

impl Successor {
    /// Starts it.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(super) fn start() -> anyhow::Result<Self> {
        let program = program()?;
        let child = Command::new(&program)
            .args(arguments(std::env::args_os()))
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;
        tracing::info!(process = child.id(), program = %program.display(), "new process started");
        Ok(Self { child: Some(child) })
    }

    /// Waits until it waits.
    ///
    /// # Errors
    /// When it ends before that: its own message says why.
    pub(super) async fn waits(&mut self, place: &Place) -> anyhow::Result<()> {
        loop {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("the new process has ended ({status})");
            }
            if place.is_awaited()? {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// It serves: what becomes of it is no longer this process's business.
    pub(super) fn leave(mut self) {
        self.child = None;
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It has ended already, or has failed to take over.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn program() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe().context("the program of this process")?;
    Ok(without_mark(&path))
}

fn without_mark(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_suffix(REPLACED).unwrap_or(bytes);
    OsString::from_vec(bytes.to_vec()).into()
}

/// The arguments of this process, without its name, and `--upgrade`.
fn arguments(own: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = own.skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--upgrade") {
        arguments.push("--upgrade".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_is_started_from_the_same_path() {
        let plain = Path::new("/usr/local/bin/weir");
        assert_eq!(without_mark(plain), plain);
        assert_eq!(
            without_mark(Path::new("/usr/local/bin/weir (deleted)")),
            plain
        );
    }

    #[test]
    fn a_successor_of_a_successor_is_asked_to_take_over_once() {
        let of = |words: &[&str]| {
            let words = words.iter().map(OsString::from);
            let all = arguments(words);
            all.iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
        };
        let first = of(&["weir", "serve", "--policy", "p.yaml"]);
        assert_eq!(first, ["serve", "--policy", "p.yaml", "--upgrade"]);
        assert_eq!(of(&["weir", "serve", "--upgrade"]), ["serve", "--upgrade"]);
    }
}
