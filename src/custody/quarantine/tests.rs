use super::*;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

const START: u64 = 1_800_000_000_000;
const HOUR: u64 = 3_600_000;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("weir-quarantine-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("guard/quarantine.jsonl")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Clone)]
struct Time(Arc<AtomicU64>);

impl Time {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START)))
    }

    fn pass(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }

    fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0);
        Clock::new(move || now.load(Ordering::Relaxed))
    }
}

fn open(folder: &Folder, time: &Time) -> Quarantine {
    Quarantine::open(QuarantineRules::default(), time.clock(), &folder.file()).unwrap()
}

#[tokio::test]
async fn a_quarantine_outlives_the_process_and_ends_with_its_hour() {
    let (folder, time) = (Folder::new(), Time::new());
    let who = Who::of_caller("a");
    let quarantine = open(&folder, &time);
    for _ in 0..3 {
        quarantine.strike(&who, "test").await;
    }
    // As after a crash: nothing was closed.
    let again = open(&folder, &time);
    assert!(again.check(&who).is_some());
    time.pass(HOUR);
    assert_eq!(again.check(&who), None);
    let struck = again.strike(&who, "test").await;
    assert!(matches!(struck, Struck::Quarantined(_)), "four of the day");
}

#[tokio::test]
async fn a_text_that_has_struck_is_known_to_the_next_process() {
    let (folder, time) = (Folder::new(), Time::new());
    let who = Who::of_caller("a");
    let text = |said: &str| Text::of(None, &who, [said]);
    let quarantine = open(&folder, &time);
    let struck = quarantine.strike_once(&who, "test", text("purple")).await;
    assert_eq!(struck, Some(Struck::Counted(1)));
    let again = open(&folder, &time);
    for quarantine in [&quarantine, &again] {
        let struck = quarantine.strike_once(&who, "test", text("purple")).await;
        assert_eq!(struck, None);
    }
    let struck = again.strike_once(&who, "test", text("two")).await;
    assert_eq!(struck, Some(Struck::Counted(2)));
    time.pass(24 * HOUR);
    let struck = again.strike_once(&who, "test", text("purple")).await;
    assert_eq!(struck, Some(Struck::Counted(1)));
    let file = std::fs::read_to_string(folder.file()).unwrap();
    assert!(!file.contains("purple"), "{file}");
}

#[tokio::test]
async fn lifting_it_outlives_the_process_too() {
    let (folder, time) = (Folder::new(), Time::new());
    let who = Who::of_caller("a");
    let quarantine = open(&folder, &time);
    for _ in 0..10 {
        quarantine.strike(&who, "test").await;
    }
    let lifted = quarantine.lift(&who, Lift::Temporary).await;
    assert_eq!(lifted.after, Some(Quarantined::Permanent));
    let lifted = quarantine.lift(&who, Lift::Permanent).await;
    assert_eq!(
        (lifted.before, lifted.after),
        (Some(Quarantined::Permanent), None)
    );
    quarantine.close();
    assert_eq!(open(&folder, &time).check(&who), None);
}

#[tokio::test]
async fn a_file_that_a_crash_has_cut_loses_no_more_than_the_cut_line() {
    let (folder, time) = (Folder::new(), Time::new());
    let (who, other) = (Who::of_caller("a"), Who::of_caller("b"));
    let quarantine = open(&folder, &time);
    for _ in 0..3 {
        quarantine.strike(&who, "test").await;
        quarantine.strike(&other, "test").await;
    }
    quarantine.close();
    let bytes = std::fs::read(folder.file()).unwrap();
    std::fs::write(folder.file(), &bytes[..bytes.len() - 20]).unwrap();
    let again = open(&folder, &time);
    assert!(again.check(&who).is_some());
    assert_eq!(again.check(&other), None);
    assert!(matches!(
        again.strike(&other, "test").await,
        Struck::Quarantined(_)
    ));
    again.close();
    let third = open(&folder, &time);
    assert!(third.check(&who).is_some() && third.check(&other).is_some());
}

#[tokio::test]
async fn what_a_process_beside_this_one_sees_is_known_here() {
    let (folder, time) = (Folder::new(), Time::new());
    let (one, two) = (open(&folder, &time), open(&folder, &time));
    let who = Who::of_caller("a");
    one.strike(&who, "test").await;
    two.strike(&who, "test").await;
    one.strike(&who, "test").await;
    // The first has read what the second wrote when it wrote itself.
    one.close();
    let third = two.strike(&who, "test").await;
    two.close();
    assert!(open(&folder, &time).check(&who).is_some());
    assert!(matches!(third, Struck::Counted(2) | Struck::Quarantined(_)));
}

#[tokio::test]
async fn the_file_holds_no_key() {
    let (folder, time) = (Folder::new(), Time::new());
    let quarantine = open(&folder, &time);
    quarantine
        .strike(&Who::of_caller("sk-very-secret"), "test")
        .await;
    quarantine.close();
    let text = std::fs::read_to_string(folder.file()).unwrap();
    assert!(text.contains("caller:") && !text.contains("secret"));
}

#[test]
fn strikes_that_nobody_waits_for_are_kept_as_well() {
    let (folder, time) = (Folder::new(), Time::new());
    let quarantine = open(&folder, &time);
    let who = Who::of_key(&KeyId::new("k").unwrap());
    for _ in 0..3 {
        quarantine.strike_soon(&who, "test");
    }
    assert!(
        quarantine
            .check_key(Some(&KeyId::new("k").unwrap()))
            .is_some()
    );
    assert_eq!(quarantine.check_key(None), None);
    quarantine.close();
    assert!(open(&folder, &time).check(&who).is_some());
    assert_eq!(open(&folder, &time).held(), (1, 0));
}
