//! Prompts and answers beside their rows, where that is wanted.

use super::{Answers, agrees, comes, watched};
use crate::support::{Gateway, Provider};

const TEXTS: &str =
    "SELECT coalesce(messages, '-') || '|' || coalesce(response_text, '-') || '|' ||
        coalesce(temperature, '-') || '|' || coalesce(max_tokens, '-')
    FROM model_insights ORDER BY at_ms, attempt_id";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_are_kept_only_where_that_is_asked_for() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings("insights: {interval: 50ms, text: off}")
        .start()
        .await;
    assert_eq!(gateway.chat("a secret").send().await.status, 200);
    agrees(&gateway, &[&gateway]).await;
    assert_eq!(gateway.answer(TEXTS).await, ["-|-|-|-"]);
    assert!(!kept(&gateway).contains("a secret"));
}

/// All that is in the file.
fn kept(gateway: &Gateway) -> String {
    let files = ["spend.insights.sqlite", "spend.insights.sqlite-wal"];
    let bytes = files.map(|name| std::fs::read(gateway.directory.join(name)).unwrap_or_default());
    String::from_utf8_lossy(&bytes.concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_and_personal_data_are_kept_by_nobody_who_did_not_ask_for_them() {
    let provider = Provider::start().await;
    let gateway = watched(&provider).start().await;
    let prompt = "Is 4111 1111 1111 1111 a card? [[text=yes,~4111~1111~1111~1111|~is]]";
    assert_eq!(gateway.chat(prompt).agent("one").send().await.status, 200);
    let card = "[REDACTED_CREDIT_CARD_1]";
    let (asked, answered) = (format!("Is {card} a card?"), format!("|yes, {card} is|"));
    comes("texts", &true, async || {
        let rows = gateway.answer(TEXTS).await;
        rows.iter()
            .any(|row| row.contains(&asked) && row.contains(&answered))
    })
    .await;
    assert!(!kept(&gateway).contains("4111 1111 1111 1111"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_stands_beside_its_row_plain_and_streamed() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings("insights: {interval: 50ms, text: full}")
        .start()
        .await;
    let ask = |prompt: &str| {
        let call = gateway.chat(prompt).max_tokens(20);
        call.field("temperature", 0.5)
    };
    let plain = ask("what is plain?").send().await;
    let said = plain.json()["choices"][0]["message"]["content"].clone();
    let said = said.as_str().unwrap().to_owned();
    let streamed = ask("what is a stream\u{0}?").stream().send().await;
    let pieces: String = streamed
        .events()
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    let expected = vec![
        format!(r#"[{{"content":"what is plain?","role":"user"}}]|{said}|0.5|20"#),
        format!(r#"[{{"content":"what is a stream\ufffd?","role":"user"}}]|{pieces}|0.5|20"#),
    ];
    comes("texts", &expected, async || gateway.answer(TEXTS).await).await;
    assert_eq!(gateway.metric("weir_insights_lost_texts_total").await, 0.0);
}
