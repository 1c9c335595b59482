//! Watching the files.
//!
//! Decides when a look at the files is worth while, and when they have kept still long enough to be
//! read; whether they hold anything new is decided by their content. Directories are watched, not
//! files: editors and deployments put another file, or another symbolic link, in the place of the one
//! before. Because not every file system tells of changes, the files are looked at now and then anyway.

use crate::gateway::Gateway;
use crate::gateway::reload::Trigger;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long until the files are looked at although nothing was heard of them.
const REST: Duration = Duration::from_secs(10);

/// The most symbolic links on the way to a file.
const LINKS: usize = 40;

/// Reloads whenever the files hold something new, for as long as the process runs.
pub(super) async fn run(gateway: Arc<Gateway>) {
    let heard = Arc::new(Notify::new());
    let mut watched = Watched::default();
    loop {
        // Before the look, so that no change falls between the two.
        watched.renew(&gateway.files(), &heard);
        if still(&gateway).await {
            // It has said what came of it.
            let _ = gateway.reload(Trigger::Watch).await;
        }
        tokio::select! {
            () = heard.notified() => {}
            () = tokio::time::sleep(REST) => {}
        }
    }
}

/// Whether the files hold something new, once they keep still.
async fn still(gateway: &Arc<Gateway>) -> bool {
    let mut before = gateway.unread().await;
    while before.is_some() {
        tokio::time::sleep(gateway.settings.reload.debounce).await;
        let now = gateway.unread().await;
        if now == before {
            return true;
        }
        before = now;
    }
    false
}

/// What is watched at the moment.
#[derive(Default)]
struct Watched {
    places: Places,
    watcher: Option<RecommendedWatcher>,
    /// Whether it was said that watching does not work.
    told: bool,
}

impl Watched {
    /// Watches the directories that matter now, if they are others than before.
    fn renew(&mut self, files: &[PathBuf], heard: &Arc<Notify>) {
        let places = Places::of(files);
        if self.watcher.is_some() && places == self.places {
            return;
        }
        // The old one ends after the new one has begun.
        let (watcher, failures) = watch(&places, heard);
        for error in &failures {
            if !self.told {
                let every = REST.as_secs();
                tracing::warn!(%error, "files cannot be watched; they are looked at every {every} s");
            }
        }
        self.told = !failures.is_empty();
        self.watcher = watcher;
        self.places = places;
    }
}

/// Watches as many of the directories as can be, and says why it cannot watch the others.
fn watch(places: &Places, heard: &Arc<Notify>) -> (Option<RecommendedWatcher>, Vec<notify::Error>) {
    let heard = Arc::clone(heard);
    let names = places.names.clone();
    let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        match event {
            Ok(event) if !matters(&event, &names) => return,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "watching the files"),
        }
        heard.notify_one();
    });
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => return (None, vec![error]),
    };
    let directories = places.directories.keys();
    let failures = directories
        .filter_map(|directory| {
            let watched = watcher.watch(directory, RecursiveMode::NonRecursive);
            watched.err()
        })
        .collect();
    (Some(watcher), failures)
}

/// Whether an event may be about one of these: reading a file is not, nor is the spend log beside it.
fn matters(event: &Event, names: &BTreeSet<PathBuf>) -> bool {
    let changes = match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    };
    let named = || event.paths.iter().any(|path| names.contains(path));
    changes && (event.paths.is_empty() || event.need_rescan() || named())
}

/// Where changes may lead some paths to other content.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    /// The directories, and which ones they are: another may have been put in the place of one.
    directories: BTreeMap<PathBuf, (u64, u64)>,
    /// What matters in them, and themselves.
    names: BTreeSet<PathBuf>,
}

impl Places {
    fn of(files: &[PathBuf]) -> Self {
        let mut places = Self::default();
        for file in files {
            if let Ok(file) = std::path::absolute(file) {
                places.add(&file);
            }
        }
        places
    }

    /// Goes the way to a file: every symbolic link on it matters, and so does the file, or the first
    /// part of the path that is not there.
    fn add(&mut self, file: &Path) {
        let mut here = PathBuf::from("/");
        let mut ahead: Vec<OsString> = Vec::new();
        push(&mut ahead, file);
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            let found = std::fs::symlink_metadata(&next);
            let link = found.as_ref().is_ok_and(std::fs::Metadata::is_symlink);
            if link || found.is_err() || ahead.is_empty() {
                self.note(&here, &next);
            }
            if found.is_err() {
                return;
            }
            if !link {
                here = next;
                continue;
            }
            links += 1;
            let Ok(target) = std::fs::read_link(&next) else {
                return;
            };
            if links > LINKS {
                return;
            }
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            push(&mut ahead, &target);
        }
    }

    fn note(&mut self, directory: &Path, name: &Path) {
        if let Ok(found) = std::fs::metadata(directory) {
            let identity = (found.dev(), found.ino());
            self.directories.insert(directory.to_owned(), identity);
        }
        self.names.insert(directory.to_owned());
        self.names.insert(name.to_owned());
    }
}

/// Puts the parts of a path on top of what is still ahead.
fn push(ahead: &mut Vec<OsString>, path: &Path) {
    let parts = path.components().rev();
    ahead.extend(parts.filter_map(|part| match part {
        Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, ModifyKind};
    use std::os::unix::fs::symlink;

    /// A directory of its own for a test, without symbolic links on its way.
    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("weir-watch-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path.canonicalize().unwrap()
    }

    fn directories(places: &Places) -> Vec<&Path> {
        places.directories.keys().map(PathBuf::as_path).collect()
    }

    #[test]
    fn every_link_on_the_way_to_a_file_matters() {
        // As Kubernetes lays out a ConfigMap.
        let root = directory("links");
        let version = root.join("..2024");
        std::fs::create_dir_all(&version).unwrap();
        std::fs::write(version.join("policy.yaml"), "x").unwrap();
        symlink("..2024", root.join("..data")).unwrap();
        symlink("..data/policy.yaml", root.join("policy.yaml")).unwrap();
        let places = Places::of(&[root.join("policy.yaml")]);
        assert_eq!(directories(&places), [root.as_path(), version.as_path()]);
        for name in [
            root.join("policy.yaml"),
            root.join("..data"),
            version.join("policy.yaml"),
        ] {
            assert!(places.names.contains(&name), "{name:?}");
        }
        std::fs::remove_file(root.join("..data")).unwrap();
        symlink("policy.yaml", root.join("..data")).unwrap();
        // A circle of links leads nowhere, and ends.
        assert_eq!(
            directories(&Places::of(&[root.join("policy.yaml")])),
            [&root]
        );
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn of_a_file_that_is_not_there_the_first_missing_part_matters() {
        let root = directory("missing");
        let file = root.join("conf/models.yaml");
        let places = Places::of(std::slice::from_ref(&file));
        assert_eq!(directories(&places), [&root]);
        assert!(places.names.contains(&root.join("conf")));
        std::fs::create_dir(root.join("conf")).unwrap();
        let places = Places::of(std::slice::from_ref(&file));
        assert_eq!(directories(&places), [&root.join("conf")]);
        assert!(places.names.contains(&file));
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn another_directory_of_the_same_name_is_another_place() {
        let root = directory("again");
        let file = root.join("conf/policy.yaml");
        std::fs::create_dir(root.join("conf")).unwrap();
        std::fs::create_dir(root.join("other")).unwrap();
        let before = Places::of(std::slice::from_ref(&file));
        std::fs::rename(root.join("conf"), root.join("away")).unwrap();
        std::fs::rename(root.join("other"), root.join("conf")).unwrap();
        assert_ne!(Places::of(&[file]), before);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn only_changes_of_what_matters_are_heard() {
        let names = BTreeSet::from([PathBuf::from("/a/policy.yaml"), PathBuf::from("/a")]);
        let heard = |kind, path: &str| matters(&Event::new(kind).add_path(path.into()), &names);
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let created = EventKind::Create(CreateKind::File);
        let modified = EventKind::Modify(ModifyKind::Any);
        assert!(!heard(opened, "/a/policy.yaml"), "reading changes nothing");
        assert!(heard(written, "/a/policy.yaml"));
        assert!(heard(created, "/a/policy.yaml"));
        assert!(!heard(modified, "/a/spend.jsonl"));
        assert!(heard(
            EventKind::Remove(notify::event::RemoveKind::Folder),
            "/a"
        ));
        assert!(matters(&Event::new(EventKind::Other), &names));
    }
}
