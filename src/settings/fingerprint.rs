//! What files held at a moment, so that a change of their content can be told from a change of their
//! dates.

use super::yaml::LARGEST_FILE;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A digest of each file; nothing for one that is not there or cannot be read. Of a file that is larger
/// than any that is read, the beginning counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl Fingerprint {
    /// What these files hold now.
    pub fn of<'p>(files: impl IntoIterator<Item = &'p Path>) -> Self {
        let files = files.into_iter();
        Self(
            files
                .map(|path| (path.to_owned(), digest(path).ok()))
                .collect(),
        )
    }

    /// With a file that was read: this is its text.
    pub fn add(&mut self, path: &Path, text: &str) {
        let digest = Sha256::digest(text.as_bytes()).into();
        self.0.insert(path.to_owned(), Some(digest));
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        let others = other.0.iter();
        self.0
            .extend(others.map(|(path, digest)| (path.clone(), *digest)));
        self
    }

    /// Whether that file held the same in both.
    pub fn agrees_on(&self, other: &Self, path: &Path) -> bool {
        self.0.get(path) == other.0.get(path)
    }
}

fn digest(path: &Path) -> std::io::Result<[u8; 32]> {
    let limit = u64::try_from(LARGEST_FILE).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok(Sha256::digest(&bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_counts_and_dates_and_names_of_links_do_not() {
        let directory = std::env::temp_dir().join(format!("weir-print-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (file, link) = (directory.join("file"), directory.join("link"));
        let print = || Fingerprint::of([file.as_path(), link.as_path()]);
        let none = print();
        std::fs::write(&file, "one").unwrap();
        let one = print();
        assert!(!none.agrees_on(&one, &file) && none.agrees_on(&one, &link));
        std::fs::write(&file, "one").unwrap();
        assert_eq!(print(), one);
        std::os::unix::fs::symlink("file", &link).unwrap();
        let linked = print();
        assert!(linked.agrees_on(&one, &file) && !linked.agrees_on(&one, &link));
        std::fs::write(&file, "two").unwrap();
        assert!(
            !print().agrees_on(&linked, &link),
            "a link is what it leads to"
        );
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
