//! Leaving without a trace: streams end, money is settled, nobody is cut off.

use crate::support::client::{chat_body, request};
use crate::support::{Gateway, Provider, Reply, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_stream_ends_and_is_billed_before_the_process_does() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let prompt = "[[chunks=100 delay_ms=15 tag=open]]";
    let mut open = gateway.chat(prompt).stream().open().await;
    let first = open.chunk().await.unwrap().unwrap();
    // A connection that is kept alive, and has been used.
    let mut kept = gateway.raw().await;
    let small = request(&[], &chat_body("[[chunks=1]]", false));
    kept.send(&small).await;
    assert!(!kept.reply().await.closes());

    gateway.signal("TERM");
    let answer = loop {
        let mut raw = gateway.raw().await;
        raw.send(&small).await;
        let answer = raw.reply().await;
        assert_eq!(answer.status, 200);
        if answer.closes() {
            break answer;
        }
    };
    assert!(answer.json()["_execwall"].is_object());
    kept.send(&small).await;
    let last = kept.reply().await;
    assert_eq!((last.status, last.closes()), (200, true));

    let mut reply = Reply::read(open).await;
    reply.body = [first, reply.body].concat().into();
    assert!(reply.complete && reply.done(), "{}", reply.text());
    let record = provider.ended("open").await;
    assert_eq!(record.produced, 100);
    let mut gateway = gateway;
    assert_eq!(gateway.wait_exit().await, Some(0));
    let bills = gateway.bills("default");
    assert!(
        bills
            .iter()
            .any(|bill| bill["nano_usd"] == record.produced_cost_nanos)
    );
    assert!(bills.iter().all(|bill| bill["status"] == "settled"));
    let gateway = gateway.again().await;
    assert_eq!(
        gateway.bills("default"),
        bills,
        "nothing is left to resolve"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_longer_than_the_grace_period_is_cut_and_billed() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings("shutdown: {grace: 1s}")
        .start()
        .await;
    let mut open = gateway
        .chat("[[chunks=100000 delay_ms=10]]")
        .stream()
        .open()
        .await;
    assert!(open.chunk().await.unwrap().is_some());
    gateway.signal("TERM");
    let mut gateway = gateway;
    assert_eq!(gateway.wait_exit().await, Some(0));
    let reply = bounded("the end of the stream", Reply::read(open)).await;
    assert!(!reply.done());
    // What was answered so far is charged before the process ends.
    let bill = gateway.bill("default").await;
    assert_eq!(bill["status"], "estimated");
    assert!(bill["nano_usd"].as_i64() > Some(0));
    let gateway = gateway.again().await;
    assert_eq!(gateway.bill("default").await, bill);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_process_leaves_when_told_in_any_way() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    assert_eq!(gateway.terminate().await, Some(0));
    let gateway = Gateway::over(&provider).start().await;
    assert_eq!(gateway.quit().await, Some(0), "nobody to hand over to");
    let mut gateway = Gateway::over(&provider).start().await;
    gateway.signal("INT");
    assert_eq!(gateway.wait_exit().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_takes_over_and_no_request_is_lost() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (stop, address) = (Arc::clone(&stop), gateway.addr);
            tokio::spawn(async move {
                let client = crate::support::client::http();
                let base = format!("http://{address}");
                let mut answered = 0_usize;
                while !stop.load(Ordering::Relaxed) {
                    let call = crate::support::client::Call::new(&client, &base, "[[cost=0.001]]");
                    let reply = call.send().await;
                    assert_eq!((reply.status, reply.complete), (200, true));
                    answered += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                answered
            })
        })
        .collect();
    let mut open = gateway
        .chat("[[chunks=200 delay_ms=10 cost=0.001]]")
        .stream()
        .open()
        .await;
    assert!(open.chunk().await.unwrap().is_some());
    let (code, gateway) = gateway.upgrade().await;
    assert_eq!(code, Some(0));
    let reply = Reply::read(open).await;
    assert!(
        reply.complete && reply.done(),
        "the old process finished its stream"
    );
    assert_eq!(gateway.chat("[[cost=0.001]]").send().await.status, 200);
    stop.store(true, Ordering::Relaxed);
    let mut answered = 2;
    for task in load {
        answered += task.await.unwrap();
    }
    gateway.quiet().await;
    let bills = gateway.bills("default");
    assert_eq!(bills.len(), answered);
    assert!(bills.iter().all(|bill| bill["nano_usd"] == 1_000_000));
}
