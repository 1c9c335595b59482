use super::filter::Filter;
use super::*;
use crate::event::{Change, Refused, Reload};
use crate::identity::{AgentId, RequestId};
use crate::settings::EventFile;
use std::path::{Path, PathBuf};

fn change(subject: &str) -> Kind {
    Kind::Change(Change {
        action: "budget.push",
        subject: subject.into(),
        by: "127.0.0.1".into(),
    })
}

fn refused(agent: Option<&str>) -> Kind {
    Kind::Refused(Refused {
        id: RequestId::new(1),
        code: "bad_request",
        status: 400,
        surface: "chat",
        agent: agent.map(|agent| AgentId::new(agent).unwrap()),
    })
}

#[test]
fn an_event_that_nobody_watches_is_not_even_made() {
    let feed = Feed::default();
    feed.tell(|| unreachable!("nobody watches"));
    let watch = feed.watch();
    assert!(feed.watched());
    feed.tell(|| change("a"));
    drop(watch);
    assert!(!feed.watched());
    feed.tell(|| unreachable!("nobody watches any more"));
    let figures = feed.figures();
    assert_eq!(figures.told[change("a").number()], 1);
    assert_eq!(figures.told.iter().sum::<u64>(), 1);
}

#[tokio::test]
async fn every_watcher_gets_every_event_in_its_order() {
    let feed = Feed::default();
    let mut watches = [feed.watch(), feed.watch()];
    for number in 0..100 {
        feed.tell(|| change(&number.to_string()));
    }
    for watch in &mut watches {
        let mut events = Vec::new();
        assert_eq!(watch.next(&mut events, 30).await, 0);
        assert_eq!((events.len(), watch.behind()), (30, 70));
        assert_eq!(watch.more(&mut events, usize::MAX), 0);
        let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
        assert_eq!(events[99].kind, change("99"));
    }
}

#[tokio::test]
async fn who_falls_behind_loses_the_oldest_and_learns_how_many() {
    let feed = Feed::default();
    let (mut slow, mut slower) = (feed.watch(), feed.watch());
    for _ in 0..BEHIND {
        feed.tell(|| change("a"));
    }
    assert!(!slow.is_late() && slow.forgone() == 0);
    for _ in 0..7 {
        feed.tell(|| change("b"));
    }
    assert!(slow.is_late());
    assert_eq!(slow.forgone(), 7);
    assert!(!slow.is_late(), "they are known as lost");
    let mut events = Vec::new();
    assert_eq!(slow.next(&mut events, usize::MAX).await, 0);
    assert_eq!((events.len(), events[0].seq), (BEHIND, 8));
    events.clear();
    assert_eq!(slower.next(&mut events, 1).await, 7);
    assert_eq!((events.len(), events[0].seq), (1, 8));
}

#[tokio::test]
async fn the_stages_of_leaving_are_told_and_never_taken_back() {
    let feed = Feed::default();
    feed.close();
    feed.leave();
    feed.left().await;
    feed.over().await;
    assert!(feed.is_written());
}

#[test]
fn places_are_counted_over_all_ways_and_given_back() {
    let feed = Arc::new(Feed::default());
    let one = Place::take(&feed, Sink::Sse, 2).unwrap();
    let two = Place::take(&feed, Sink::WebSocket, 2).unwrap();
    assert!(Place::take(&feed, Sink::Sse, 2).is_none());
    let watchers = |sink: Sink| feed.figures().sinks[sink.number()].watchers;
    assert_eq!((watchers(Sink::Sse), watchers(Sink::WebSocket)), (1, 1));
    drop(one);
    assert!(Place::take(&feed, Sink::WebSocket, 2).is_some());
    drop(two);
    assert_eq!((watchers(Sink::Sse), watchers(Sink::WebSocket)), (0, 0));
}

#[test]
fn a_wish_is_kinds_agents_and_models() {
    let reload = Kind::Reload(Reload {
        result: "ok",
        by: "api",
        problems: 0,
    });
    let passes = |query: &[(&str, &str)], kind: &Kind| {
        Filter::of(query.iter().copied()).unwrap().passes(kind)
    };
    assert!(passes(&[], &reload) && passes(&[("token", "x")], &reload));
    let two = [("type", "gateway.reload, model.request.refused")];
    assert!(passes(&two, &reload) && passes(&two, &refused(None)));
    assert!(!passes(&two, &change("a")));
    let many = [("type", "model.*"), ("type", "admin.change")];
    assert!(passes(&many, &refused(None)) && passes(&many, &change("a")));
    assert!(!passes(&many, &reload));
    let agents = [("agent", "a,b")];
    assert!(passes(&agents, &refused(Some("b"))));
    assert!(!passes(&agents, &refused(Some("c"))) && !passes(&agents, &refused(None)));
    assert!(!passes(&[("model", "m")], &refused(Some("a"))));
    for query in [
        ("type", "model.request.strat"),
        ("type", "x*"),
        ("types", "*"),
    ] {
        assert!(Filter::of([query]).is_err(), "{query:?}");
    }
    let many = vec![("agent", "a"); 65];
    assert!(Filter::of(many).is_err());
}

fn scratch(name: &str) -> PathBuf {
    let name = format!("weir-feed-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&path);
    path
}

/// Writes `count` events to files of at most `size` bytes, and gives what they hold, the oldest first.
async fn written(directory: &Path, count: usize, size: u64, keep: u32) -> Vec<String> {
    let path = directory.join("events.jsonl");
    let lines = Lines::new(EventFile {
        path: path.clone(),
        size,
        keep,
    });
    let feed = Arc::new(Feed::default());
    feed.tally(Sink::File).run(true);
    let watch = feed.watch();
    for _ in 0..count {
        feed.tell(|| change("agent:a"));
    }
    feed.close();
    lines.run(Arc::clone(&feed), watch).await;
    assert!(feed.is_written());
    assert_eq!(feed.figures().sinks[Sink::File.number()].lost, 0);
    let older = (1..=keep)
        .rev()
        .map(|number| format!("{}.{number}", path.display()));
    older
        .map(PathBuf::from)
        .chain([path.clone()])
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect()
}

#[tokio::test]
async fn a_file_is_for_its_owner_only_and_ends_where_it_must() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = scratch("size");
    let files = written(&root.join("deep"), 100, 4096, 20).await;
    assert!(files.len() > 2, "{}", files.len());
    let lines: Vec<&str> = files.iter().flat_map(|text| text.lines()).collect();
    assert_eq!(lines.len(), 100);
    for (number, line) in lines.iter().enumerate() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["seq"], number + 1);
        assert_eq!(event["type"], "admin.change");
    }
    assert!(
        files
            .iter()
            .all(|text| text.len() <= 4096 && text.ends_with('\n'))
    );
    let found = std::fs::metadata(root.join("deep/events.jsonl")).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn only_so_many_old_files_are_kept_and_none_when_none_is_wanted() {
    let root = scratch("keep");
    assert_eq!(written(&root.join("two"), 200, 4096, 2).await.len(), 3);
    assert!(!root.join("two/events.jsonl.3").exists());
    assert_eq!(written(&root.join("none"), 200, 4096, 0).await.len(), 1);
    assert!(!root.join("none/events.jsonl.1").exists());
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn a_line_that_was_cut_off_is_ended_and_the_next_is_whole() {
    let root = scratch("torn");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("events.jsonl"), "{\"half\":").unwrap();
    let files = written(&root, 1, 4096, 1).await;
    let lines: Vec<&str> = files[0].lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "{\"half\":"));
    assert!(serde_json::from_str::<serde_json::Value>(lines[1]).is_ok());
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn what_cannot_be_written_in_the_end_is_counted() {
    let root = scratch("away");
    std::fs::create_dir_all(root.join("events.jsonl")).unwrap();
    let lines = Lines::new(EventFile {
        path: root.join("events.jsonl"),
        size: 4096,
        keep: 1,
    });
    let feed = Arc::new(Feed::default());
    let watch = feed.watch();
    for _ in 0..BEHIND + 10 {
        feed.tell(|| change("a"));
    }
    feed.close();
    lines.run(Arc::clone(&feed), watch).await;
    let figures = feed.figures().sinks[Sink::File.number()];
    assert_eq!(figures.lost, u64::try_from(BEHIND).unwrap() + 10);
    assert!(!figures.up);
    std::fs::remove_dir_all(root).unwrap();
}
