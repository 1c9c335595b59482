//! Records, logs and counters.

use super::*;

struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-mock-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_record_says_what_was_produced_and_announced() {
    let mock = start();
    let url = format!("http://{}/v1/chat/completions", mock.addr);
    let request = client()
        .post(url)
        .header("x-request-id", "r-1")
        .header("x-weir-request-id", "w-1");
    let request = request.json(&asking("chunks=5 tag=t tokens_out=7", true));
    request.send().await.unwrap().text().await.unwrap();
    let record = ended(&mock, "t").await;
    assert_eq!(record.seq, 1);
    assert_eq!(record.request_id.as_deref(), Some("r-1"));
    assert_eq!(record.weir_request_id.as_deref(), Some("w-1"));
    assert_eq!(
        (record.model.as_str(), record.status),
        ("openai/gpt-4o", Some(200))
    );
    assert_eq!(record.produced, 5);
    assert_eq!(record.prompt_tokens, 10);
    assert_eq!(record.produced_cost_nanos, 10 * 2500 + 5 * 10_000);
    let announced = record.announced.unwrap();
    assert_eq!(announced.completion_tokens, 7);
    assert_eq!(announced.cost_nanos, Some(10 * 2500 + 7 * 10_000));
    assert!(record.completed && !record.peer_left);
    let received = record.request.unwrap();
    assert_eq!(received.headers["x-request-id"], "r-1");
    assert!(received.body.starts_with(b"{"));
}

#[tokio::test]
async fn a_peer_that_leaves_is_recorded_with_what_it_got() {
    let mock = start();
    let body = asking("chunks=1000000000 pad=4096 tag=gone", true);
    let mut socket = connect(&mock, &super::request("", &body)).await;
    read_to(&mut socket, "xxx").await;
    drop(socket);
    let record = ended(&mock, "gone").await;
    assert!(record.peer_left && !record.completed && record.announced.is_none());
    assert!(record.produced > 0 && record.produced < 1_000_000_000);
    let cost = crate::mock::price::cost("openai/gpt-4o", record.prompt_tokens, record.produced);
    assert_eq!(record.produced_cost_nanos, cost.0);
}

#[tokio::test]
async fn a_peer_that_leaves_before_the_answer_is_noticed() {
    let mock = start();
    let body = asking("lat_ms=3600000 tag=early", false);
    let socket = connect(&mock, &super::request("", &body)).await;
    while mock.tagged("early").is_empty() {
        tokio::task::yield_now().await;
    }
    drop(socket);
    let record = ended(&mock, "early").await;
    assert!(record.peer_left);
    assert_eq!(record.status, None);
}

#[tokio::test]
async fn the_record_file_has_a_start_and_an_end_for_every_request() {
    let folder = Folder::new("record");
    let path = folder.0.join("r.jsonl");
    let mock = Mock::start(Options {
        record: Some(path.clone()),
        ..Options::default()
    })
    .unwrap();
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    answer(&mock, "chunks=2 tag=a").await;
    let mut socket = connect(&mock, &super::request("", &asking("hang_at=1", true))).await;
    read_to(&mut socket, " The").await;
    let written = lines();
    assert_eq!(written.len(), 3);
    assert_eq!(
        (&written[0]["event"], &written[0]["seq"]),
        (&json!("start"), &json!(1))
    );
    assert_eq!(written[0]["tag"], "a");
    assert_eq!(written[1]["event"], "end");
    assert_eq!(written[1]["announced"]["completion_tokens"], 2);
    assert_eq!(
        (&written[2]["event"], &written[2]["seq"]),
        (&json!("start"), &json!(2))
    );
    assert!(written[2].get("request").is_none());
    mock.shutdown().await;
    let written = lines();
    assert_eq!(
        (&written[3]["event"], &written[3]["seq"]),
        (&json!("end"), &json!(2))
    );
    assert_eq!(
        (&written[3]["completed"], &written[3]["produced"]),
        (&json!(false), &json!(1))
    );
}

#[tokio::test]
async fn the_log_has_each_body_indented_before_it_is_answered() {
    let folder = Folder::new("log");
    let path = folder.0.join("openrouter_requests.log");
    let mock = Mock::start(Options {
        log: Some(path.clone()),
        ..Options::default()
    })
    .unwrap();
    let body = r#"{"zeta":1.50,"messages":[{"content":"h\u0069"}],"alpha":[]}"#;
    let url = format!("http://{}/v1/chat/completions", mock.addr);
    let request = client()
        .post(url)
        .header("content-type", "application/json")
        .body(body);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let expected = "{\n  \"zeta\": 1.50,\n  \"messages\": [\n    {\n      \"content\": \"h\\u0069\"\n    }\n  ],\n  \"alpha\": []\n}\n============================================================\n";
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
}

#[tokio::test]
async fn a_required_key_is_required() {
    let options = Options {
        require_key: Some("sk-1".to_owned()),
        ..Options::default()
    };
    let mock = Mock::start(options).unwrap();
    let url = format!("http://{}/v1/chat/completions", mock.addr);
    for (key, status) in [("sk-1", 200), ("sk-2", 401)] {
        let request = client()
            .post(&url)
            .bearer_auth(key)
            .json(&asking("chunks=1", false));
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    assert_eq!(post(&mock, &asking("chunks=1", false)).await.status(), 401);
}

#[tokio::test]
async fn totals_records_models_and_health_can_be_asked_for() {
    let mock = start();
    answer(&mock, "chunks=2 tag=a").await;
    ended(&mock, "a").await;
    let get = async |path: &str| -> Value {
        let url = format!("http://{}{path}", mock.addr);
        client()
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    };
    assert_eq!(get("/health").await["status"], "ok");
    let stats = get("/stats").await;
    assert_eq!(
        (&stats["requests"], &stats["completed"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(stats["produced_chunks"], 2);
    assert_eq!(
        get("/api/v1/models").await["data"][0]["pricing"]["prompt"],
        "0.000003000000"
    );
    let records = get("/requests").await;
    assert_eq!(records[0]["tag"], "a");
    assert_eq!(
        records[0]["request"]["headers"]["content-type"],
        json!(["application/json"])
    );
    assert!(
        records[0]["request"]["body"]
            .as_str()
            .unwrap()
            .contains("tag=a")
    );
    assert_eq!(get("/nothing").await["error"]["code"], 404);
    let url = format!("http://{}/requests", mock.addr);
    client().delete(url).send().await.unwrap();
    assert_eq!(get("/requests").await, json!([]));
}
