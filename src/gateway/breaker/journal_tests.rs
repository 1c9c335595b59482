use super::*;
use crate::money::Nanos;
use std::sync::atomic::{AtomicU32, Ordering};

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-breaker-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn log(&self) -> PathBuf {
        self.0.join("spend.jsonl")
    }

    fn file(&self) -> PathBuf {
        self.0.join("spend.jsonl.breaker")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn track(at: i64) -> What {
    What::Track(Spent {
        at,
        model: "m\"\n".into(),
        user: "u".into(),
        key: "k".into(),
        agent: None,
        input: 1,
        output: 2,
        cost: Nanos(3),
    })
}

fn numbers(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.n).collect()
}

#[test]
fn two_processes_append_to_one_file_and_read_each_line_once() {
    let directory = Directory::new();
    let mut one = Journal::beside(&directory.log(), 0);
    let mut other = Journal::beside(&directory.log(), 0);
    assert!(one.news().unwrap().is_empty());
    assert_eq!(numbers(&one.append(1, |_| Some(track(1))).unwrap()), [1]);
    let both = other.append(2, |news| {
        assert_eq!(numbers(news), [1]);
        Some(What::Told { level: Level::Soft })
    });
    let both = both.unwrap();
    assert_eq!(numbers(&both), [1, 2]);
    assert_eq!(both[0].what, track(1));
    assert_eq!(numbers(&one.news().unwrap()), [2]);
    assert!(one.news().unwrap().is_empty());
    // Nothing is appended by whoever finds that it is there already.
    assert!(one.append(3, |_| None).unwrap().is_empty());
    let mut later = Journal::beside(&directory.log(), 1);
    assert_eq!(numbers(&later.news().unwrap()), [2]);
}

#[test]
fn a_line_that_was_cut_off_is_passed_over_and_the_next_is_whole() {
    let directory = Directory::new();
    let mut journal = Journal::beside(&directory.log(), 0);
    journal.append(1, |_| Some(track(1))).unwrap();
    let mut file = OpenOptions::new()
        .append(true)
        .open(directory.file())
        .unwrap();
    file.write_all(br#"{"n":2,"at":1,"event":"tra"#).unwrap();
    assert!(journal.news().unwrap().is_empty());
    let news = journal
        .append(2, |_| Some(What::Reset { until: 2 }))
        .unwrap();
    assert_eq!(numbers(&news), [2]);
    let mut again = Journal::beside(&directory.log(), 0);
    assert_eq!(numbers(&again.news().unwrap()), [1, 2]);
}

#[test]
fn a_rewritten_file_keeps_what_counts_and_the_numbers_go_on() {
    let directory = Directory::new();
    let mut journal = Journal::beside(&directory.log(), 0);
    let mut other = Journal::beside(&directory.log(), 0);
    for at in 1..=5 {
        journal.append(at, |_| Some(track(at))).unwrap();
    }
    journal
        .append(6, |_| Some(What::Reset { until: 2 }))
        .unwrap();
    journal
        .append(7, |_| Some(What::Told { level: Level::Ok }))
        .unwrap();
    assert_eq!(other.news().unwrap().len(), 7);
    other.append(8, |_| Some(track(8))).unwrap();
    // It has not read the last line, which stays whatever it is.
    journal.rewrite(|entry| entry.at > 4).unwrap();
    assert!(other.news().unwrap().is_empty());
    assert_eq!(numbers(&journal.news().unwrap()), [8]);
    let mut again = Journal::beside(&directory.log(), 0);
    assert_eq!(numbers(&again.news().unwrap()), [5, 6, 7, 8]);
    assert_eq!(numbers(&other.append(9, |_| Some(track(9))).unwrap()), [9]);
    assert_eq!(numbers(&journal.news().unwrap()), [9]);
    journal.rewrite(|_| false).unwrap();
    let last = Journal::beside(&directory.log(), 0).news().unwrap();
    assert_eq!(numbers(&last), [6, 7, 9], "the last line keeps the numbers");
}
