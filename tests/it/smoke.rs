//! The ground the other tests stand on.

use crate::support::{Agent, Gateway, Provider};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_reaches_the_provider_and_its_bill_reaches_the_log() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "10"))
        .start()
        .await;
    let reply = gateway.chat("[[chunks=3]] hello").send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let record = provider.only_record().await;
    assert_eq!(record.produced, 3);
    assert_eq!(gateway.spend("default").0, record.produced_cost_nanos);
    assert!(gateway.metric("weir_bills_total").await >= 1.0);
    assert_eq!(gateway.terminate().await, Some(0));
}
