use super::*;
use crate::guard::quarantine::Who;
use std::sync::atomic::AtomicU64;

const START: u64 = 1_800_000_000_000;
const DAY: u64 = 86_400_000;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("weir-audit-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn files(&self, size: u64) -> AuditFiles {
        AuditFiles {
            path: self.0.join("audit.jsonl"),
            size,
            retention: Duration::from_secs(90 * 86_400),
        }
    }

    fn verify(&self) -> Verified {
        verify(&files(&self.0.join("audit.jsonl")).unwrap()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn clock() -> (Clock, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(START));
    let read = Arc::clone(&now);
    (Clock::new(move || read.load(Ordering::Relaxed)), now)
}

fn entry(severity: Severity, outcome: &'static str) -> Entry {
    let mut entry = Entry::new(Event::InputValidation, severity, outcome);
    entry.who = Some(Who::of_caller("a"));
    entry
}

fn write(files: AuditFiles, clock: &Clock, count: usize) {
    let audit = Audit::start(files, clock.clone()).unwrap();
    for _ in 0..count {
        audit.record(entry(Severity::Low, "passed"));
    }
    audit.close();
}

#[test]
fn the_chain_goes_on_over_processes_and_files() {
    let folder = Folder::new();
    let (clock, _) = clock();
    for _ in 0..6 {
        write(folder.files(4 << 10), &clock, 20);
    }
    let verified = folder.verify();
    assert!(verified.wrong.is_none() && verified.cut == 0);
    assert_eq!(
        (verified.verifier.first(), verified.verifier.lines()),
        (1, 120)
    );
    assert!(files(&folder.files(0).path).unwrap().len() > 2);
}

#[test]
fn a_line_that_a_crash_has_cut_does_not_break_the_chain() {
    let folder = Folder::new();
    let (clock, _) = clock();
    write(folder.files(1 << 20), &clock, 3);
    let path = folder.files(0).path;
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 40]).unwrap();
    let verified = folder.verify();
    assert!(verified.cut > 0 && verified.wrong.is_none());
    write(folder.files(1 << 20), &clock, 2);
    let verified = folder.verify();
    assert_eq!((verified.cut, verified.verifier.lines()), (0, 4));
    assert!(verified.wrong.is_none());
}

#[test]
fn two_processes_beside_each_other_write_one_chain() {
    let folder = Folder::new();
    let (clock, _) = clock();
    let audits: Vec<Audit> = (0..2)
        .map(|_| Audit::start(folder.files(2 << 10), clock.clone()).unwrap())
        .collect();
    for round in 0..30 {
        audits[round % 2].record(entry(Severity::Low, "passed"));
        audits[round % 2].flush(Duration::from_secs(10));
    }
    audits.iter().for_each(Audit::close);
    let verified = folder.verify();
    assert!(verified.wrong.is_none(), "{:?}", verified.wrong);
    assert_eq!(verified.verifier.lines(), 30);
}

#[test]
fn a_changed_line_is_found_with_its_place() {
    let folder = Folder::new();
    let (clock, _) = clock();
    write(folder.files(1 << 20), &clock, 3);
    let path = folder.files(0).path;
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"seq\":2", "\"seq\":9", 1)).unwrap();
    let wrong = folder.verify().wrong.unwrap();
    assert_eq!((wrong.line, wrong.path), (2, path));
}

#[test]
fn old_files_go_and_the_rest_still_verifies() {
    let folder = Folder::new();
    let (clock, now) = clock();
    for _ in 0..3 {
        write(folder.files(1 << 10), &clock, 5);
    }
    assert_eq!(folder.verify().verifier.lines(), 15);
    now.fetch_add(100 * DAY, Ordering::Relaxed);
    // What is too old goes when a process begins.
    write(folder.files(1 << 20), &clock, 1);
    assert_eq!(files(&folder.files(0).path).unwrap().len(), 1);
    let verified = folder.verify();
    assert!(verified.wrong.is_none() && verified.verifier.first() == 16);
}

#[test]
fn questions_are_answered_page_by_page_and_the_newest_first() {
    let folder = Folder::new();
    let (clock, now) = clock();
    let audit = Audit::start(folder.files(1 << 10), clock.clone()).unwrap();
    for number in 0..10 {
        let outcome = if number % 2 == 0 { "passed" } else { "blocked" };
        audit.record(entry(Severity::High, outcome));
        now.fetch_add(DAY, Ordering::Relaxed);
    }
    audit.close();
    let path = folder.files(0).path;
    let mut query = Query {
        since: START + 2 * DAY,
        flagged: true,
        severity: Some("HIGH"),
        limit: 3,
        ..Query::default()
    };
    let seqs = |page: &Page| -> Vec<u64> {
        let seqs = page
            .events
            .iter()
            .map(|event| event["seq"].as_u64().unwrap());
        seqs.collect()
    };
    let page = query.page(&path).unwrap();
    assert_eq!((seqs(&page), page.next), (vec![10, 8, 6], Some(6)));
    query.before = page.next;
    let page = query.page(&path).unwrap();
    assert_eq!((seqs(&page), page.next), (vec![4], None));
    query.event = Some("output_filter".into());
    assert_eq!(query.page(&path).unwrap(), Page::default());

    let stats = Stats::since(&path, START + 2 * DAY).unwrap();
    assert_eq!((stats.total, stats.outcomes["blocked"]), (8, 4));
    assert_eq!(stats.head.unwrap().0, 10);
}
