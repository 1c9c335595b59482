//! Who may watch, and when watching ends.

use super::{TOKEN, watched};
use crate::support::Provider;
use crate::support::gateway::{Gateway, free_port};
use crate::support::watcher::{Heard, Lines, Watcher};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_watches_without_the_admin_token() {
    let provider = Provider::start().await;
    let setup = Gateway::over(&provider)
        .env("ADMIN_TOKEN", TOKEN)
        .env("WEIR_LOG", "trace");
    let (gateway, address) = watched(setup).await;
    let bearer = format!("Bearer {TOKEN}");
    let query = format!("?token={TOKEN}");
    let lines = |path: &str| gateway.url(&format!("/events{path}"));
    assert_eq!(Watcher::try_at(address, "", &[]).await.err(), Some(401));
    assert_eq!(Lines::at(&lines(""), &[]).await.err(), Some(401));
    let mut watchers = vec![
        Watcher::try_at(address, "", &[("authorization", &bearer)])
            .await
            .unwrap(),
        Watcher::at(address, &query).await,
    ];
    let mut readers = vec![
        Lines::at(&lines(""), &[("authorization", &bearer)])
            .await
            .unwrap(),
        Lines::at(&lines(&query), &[]).await.unwrap(),
        Lines::at(&format!("http://{address}/events{query}"), &[])
            .await
            .unwrap(),
    ];
    gateway.chat("hello").send().await;
    for watcher in &mut watchers {
        assert_eq!(watcher.event().await["type"], "model.request.start");
    }
    for reader in &mut readers {
        assert_eq!(reader.event().await.unwrap()["type"], "model.request.start");
    }
    // Guesses are counted as at the admin API, on all ways together.
    for guess in 0..5 {
        let query = format!("?token=a-guess-0123456789-{guess}");
        assert_eq!(Watcher::try_at(address, &query, &[]).await.err(), Some(401));
    }
    assert_eq!(Watcher::try_at(address, &query, &[]).await.err(), Some(429));
    assert_eq!(Lines::at(&lines(&query), &[]).await.err(), Some(429));
    // Not even with everything logged does a token show.
    let said = gateway.output();
    assert!(said.contains("DEBUG") && !said.contains(TOKEN) && !said.contains("a-guess"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_page_watches_only_where_it_is_named_and_with_the_token() {
    let provider = Provider::start().await;
    let query = format!("?token={TOKEN}");
    let good = [("origin", "https://console.example.com")];
    let bad = [("origin", "https://evil.example.com")];
    let settings = "events: {origins: ['https://Console.example.com:443/']}";
    let setup = Gateway::over(&provider).settings(settings);
    let (gateway, address) = watched(setup.clone().env("ADMIN_TOKEN", TOKEN)).await;
    Watcher::try_at(address, &query, &good).await.unwrap();
    assert_eq!(
        Watcher::try_at(address, &query, &bad).await.err(),
        Some(403)
    );
    assert_eq!(Watcher::try_at(address, "", &good).await.err(), Some(401));
    let url = gateway.url(&format!("/events{query}"));
    let reader = Lines::at(&url, &good).await.unwrap();
    assert_eq!(
        reader.header("access-control-allow-origin"),
        Some(good[0].1)
    );
    assert_eq!(Lines::at(&url, &bad).await.err(), Some(403));

    // Without a token any page on this machine could watch, so none may.
    let (gateway, address) = watched(setup).await;
    Watcher::at(address, "").await;
    assert_eq!(Watcher::try_at(address, "", &good).await.err(), Some(403));
    assert_eq!(
        Lines::at(&gateway.url("/events"), &good).await.err(),
        Some(403)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_watch_at_a_time_and_a_place_is_free_again() {
    let provider = Provider::start().await;
    let setup = Gateway::over(&provider).settings("events: {watchers: 2}");
    let (gateway, address) = watched(setup).await;
    let _one = Watcher::at(address, "").await;
    let two = Lines::at(&gateway.url("/events"), &[]).await.unwrap();
    assert_eq!(Watcher::try_at(address, "", &[]).await.err(), Some(429));
    assert_eq!(gateway.get("/events").await.code(), "rate_limit_exceeded");
    assert_eq!(gateway.metric("weir_event_watchers").await, 2.0);
    drop(two);
    let mut three = loop {
        if let Ok(three) = Watcher::try_at(address, "", &[]).await {
            break three;
        }
    };
    gateway.chat("hello").send().await;
    three.until("model.request.complete").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_an_admin_listener_events_are_there_and_not_for_clients() {
    let provider = Provider::start().await;
    let port = free_port();
    let setup =
        Gateway::over(&provider).settings(&format!("listen: {{admin: '127.0.0.1:{port}'}}"));
    let gateway = setup.start().await;
    assert_eq!(gateway.get("/events").await.status, 404);
    let mut reader = Lines::at(
        &format!("http://127.0.0.1:{port}/events?type=*.complete,model.*"),
        &[],
    )
    .await
    .err();
    assert_eq!(reader.take(), Some(400), "no type begins with that");
    let mut reader = Lines::at(
        &format!("http://127.0.0.1:{port}/events?type=model.request.complete"),
        &[],
    )
    .await
    .unwrap();
    gateway.chat("hello").send().await;
    assert_eq!(
        reader.event().await.unwrap()["type"],
        "model.request.complete"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silence_is_filled_and_whoever_does_not_answer_a_ping_is_sent_away() {
    let provider = Provider::start().await;
    let setup = Gateway::over(&provider).settings("events: {ping: 5s}");
    let (gateway, address) = watched(setup).await;
    let mut reader = Lines::at(&gateway.url("/events"), &[]).await.unwrap();
    assert_eq!(reader.line().await.unwrap(), ": still there");
    let stopped = Watcher::at(address, "").await;
    let mut answers = Watcher::at(address, "").await;
    let waits = tokio::spawn(async move { answers.until("model.request.complete").await });
    let start = std::time::Instant::now();
    while gateway.metric("weir_event_watchers_dropped_total").await < 1.0 {
        assert!(
            start.elapsed() < crate::support::PATIENCE,
            "never sent away"
        );
        tokio::time::sleep(crate::support::LOOK).await;
    }
    gateway.chat("hello").send().await;
    waits.await.unwrap();
    drop(stopped);
    assert_eq!(
        gateway.metric("weir_event_watchers_dropped_total").await,
        1.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_leaves_says_so_and_does_not_wait_for_watchers() {
    let provider = Provider::start().await;
    let (gateway, address) = watched(Gateway::over(&provider)).await;
    let mut watcher = Watcher::at(address, "").await;
    let mut reader = Lines::at(&gateway.url("/events"), &[]).await.unwrap();
    let stopped = Lines::at(&format!("http://{address}/events"), &[])
        .await
        .unwrap();
    assert_eq!(gateway.terminate().await, Some(0));
    assert_eq!(watcher.next().await, Heard::Closed(Some(1001)));
    assert_eq!(reader.event().await, None);
    drop(stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_follow_an_upgrade_to_the_new_process() {
    let provider = Provider::start().await;
    let (mut old, address) = watched(Gateway::over(&provider)).await;
    let mut before = Watcher::at(address, "").await;
    let waiting = old.successor().await;
    let new = old.hand_over(waiting).await;
    let events = before.until("gateway.upgrade").await;
    let leaving = events.last().unwrap();
    assert_eq!(
        (&leaving["phase"], &leaving["pid"]),
        (&"leaving".into(), &old.pid().into())
    );
    assert_eq!(before.next().await, Heard::Closed(Some(1001)));
    // The listener is the same one, and never was closed.
    let mut after = Watcher::at(address, "").await;
    new.chat("hello").send().await;
    after.until("model.request.complete").await;
    assert_eq!(old.wait_exit().await, Some(0));
}
