//! What an exchange must not forget: the gateway's name, what the console has, which budgets acted.
//!
//! Two files beside the spend log. `….gateway` holds the name that this gateway made up for itself; it
//! is written once, and locked by the one process that speaks to the console. `….console` holds
//! the rest and is replaced as a whole. When that one is lost the console is asked, and nothing is
//! lost with it.

use crate::identity::AccountId;
use crate::ledger::log::tail::Position;
use crate::ledger::named::Named;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The only version of the file so far.
const VERSION: u32 = 1;

/// What is kept about one console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    version: u32,
    /// Its address, and what it calls this gateway: for another pair all of this means nothing.
    url: String,
    gateway_id: String,
    /// What it has of the spend log; `None` while that is not known.
    pub(super) cursor: Option<Position>,
    /// The last revision of each account that acted.
    pub(super) revisions: BTreeMap<AccountId, String>,
}

/// The right to speak to the console for a log.
pub(super) struct Home {
    log: PathBuf,
    right: Named,
}

impl Home {
    /// Takes the right, unless another process has it.
    pub(super) fn claim(log: &Path) -> io::Result<Option<Self>> {
        let path = beside(log, ".gateway");
        let right = Named::claim(&path, "gw", 0o666)?;
        Ok(right.map(|right| Self {
            log: log.to_owned(),
            right,
        }))
    }

    /// The name that this gateway has made up for itself.
    pub(super) fn gateway_id(&self) -> &str {
        self.right.name()
    }

    /// The spend log.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// What is kept about the console at `url` that calls this gateway `gateway_id`.
    pub(super) fn load(&self, url: &str, gateway_id: &str) -> Kept {
        let path = beside(&self.log, ".console");
        let nothing = Kept {
            version: VERSION,
            url: url.to_owned(),
            gateway_id: gateway_id.to_owned(),
            cursor: None,
            revisions: BTreeMap::new(),
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return nothing,
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "cannot be read; the console is asked what it has");
                return nothing;
            }
        };
        match serde_json::from_slice::<Kept>(&text) {
            Ok(kept) if kept.version == VERSION => {
                let same = kept.url == url && kept.gateway_id == gateway_id;
                if same { kept } else { nothing }
            }
            _ => {
                let path = path.display();
                tracing::warn!(%path, "is damaged; the console is asked what it has");
                nothing
            }
        }
    }

    /// Replaces what is kept.
    pub(super) fn save(&self, kept: &Kept) -> io::Result<()> {
        let path = beside(&self.log, ".console");
        let new = beside(&self.log, ".console.new");
        let mut file = File::create(&new)?;
        let mut text = serde_json::to_vec(kept)?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        let parent = path.parent().filter(|path| !path.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn beside(log: &Path, ending: &str) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("weir-console-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn log(&self) -> PathBuf {
            self.0.join("spend.jsonl")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn one_process_speaks_and_the_name_stays() {
        let directory = Directory::new();
        let home = Home::claim(&directory.log()).unwrap().unwrap();
        assert!(home.gateway_id().starts_with("gw_"));
        assert!(Home::claim(&directory.log()).unwrap().is_none());
        let name = home.gateway_id().to_owned();
        drop(home);
        let home = Home::claim(&directory.log()).unwrap().unwrap();
        assert_eq!(home.gateway_id(), name);
    }

    #[test]
    fn what_is_kept_is_for_one_console_and_damage_is_nothing() {
        let directory = Directory::new();
        let home = Home::claim(&directory.log()).unwrap().unwrap();
        let mut kept = home.load("https://c", "gw");
        assert_eq!(kept.cursor, None);
        let account = AccountId::new("agent:a").unwrap();
        kept.cursor = Some(serde_json::from_str(r#"{"main":"41-c471697b1fd08bda"}"#).unwrap());
        kept.revisions.insert(account, "7".into());
        home.save(&kept).unwrap();
        assert_eq!(home.load("https://c", "gw"), kept);
        for other in [home.load("https://d", "gw"), home.load("https://c", "gx")] {
            assert!(other.cursor.is_none() && other.revisions.is_empty());
        }
        let path = directory.0.join("spend.jsonl.console");
        let text = std::fs::read(&path).unwrap();
        for bad in [&text[..text.len() / 2], b"", b"{}", b"[1]"] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(home.load("https://c", "gw").cursor, None);
        }
    }
}
