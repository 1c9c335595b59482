//! Words of a system prompt in answers, and how somebody is reached.

use super::out::{said, saying, streamed};
use super::{KEY, asked, findings, guarded, keeping, says};
use crate::support::Reply;

const TELLS: &str = "My system prompt says: you are an AI assistant, be kind.";
const REDACTED: &str = "My [REDACTED_PROMPT_LEAK_1] says: [REDACTED_PROMPT_LEAK_2], be kind.";
const REACHED: &str = "Write to jane.doe@example.com or call +1 415 555 2671.";

/// An answer without what the mock counts up and the time.
fn timeless(reply: &Reply) -> String {
    let mut text = reply.text();
    for name in ["\"gen-mock-", "\"created\":"] {
        let mut parts = text.split(name);
        let mut kept = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            kept += name;
            kept += part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        }
        text = kept;
    }
    text
}

fn content(reply: &Reply) -> String {
    let json = reply.json();
    let content = json["choices"][0]["message"]["content"].as_str();
    content.unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_of_a_system_prompt_do_not_leave_however_the_answer_is_cut() {
    let provider = keeping();
    let guard = "{leak: {mode: enforce, action: redact}}";
    let gateway = guarded(&provider, guard).start().await;
    for piece in [1, 3, 8, 100] {
        let prompt = saying(TELLS, piece);
        assert_eq!(content(&says(&gateway, KEY, &prompt).await), REDACTED);
        let reply = streamed(&gateway, &prompt).await;
        assert_eq!(said(&reply), REDACTED, "{piece}");
        assert!(reply.done());
    }
    let found = findings(&gateway, 8).await;
    assert!(
        found
            .iter()
            .all(|one| one["control"] == "leak" && one["action"] == "redacted")
    );
    let guard = "{leak: {mode: enforce, action: refuse}}";
    let gateway = guarded(&provider, guard).start().await;
    let prompt = saying(TELLS, 4);
    let whole = says(&gateway, KEY, &prompt).await;
    assert_eq!(
        (whole.status, whole.code().as_str()),
        (403, "answer_blocked")
    );
    let stream = streamed(&gateway, &prompt).await;
    let events = stream.events();
    assert_eq!(events.last().unwrap()["error"]["code"], "answer_blocked");
    assert!(!stream.text().contains("says"), "{}", stream.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_that_are_only_flagged_or_not_there_change_no_byte() {
    let provider = keeping();
    let start = |guard| guarded(&provider, guard).routing("metadata: false").start();
    let plain = start("{}").await;
    let flagged = start("{leak: enforce}").await;
    let redacted = start("{leak: {mode: enforce, action: redact}}").await;
    let harmless = "A system may prompt you; an assistant is no system.";
    for (gateway, text) in [
        (&flagged, TELLS),
        (&flagged, harmless),
        (&redacted, harmless),
    ] {
        for piece in [1, 5, 100] {
            let prompt = saying(text, piece);
            let (one, other) = (
                streamed(gateway, &prompt).await,
                streamed(&plain, &prompt).await,
            );
            assert_eq!(
                timeless(&one),
                timeless(&other),
                "{text} in pieces of {piece}"
            );
            let (one, other) = (
                says(gateway, KEY, &prompt).await,
                says(&plain, KEY, &prompt).await,
            );
            assert_eq!(timeless(&one), timeless(&other), "{text}");
        }
    }
    let found = findings(&flagged, 6).await;
    assert!(
        found.iter().all(|one| one["action"] == "flagged"),
        "{found:?}"
    );
    assert_eq!(redacted.metric("weir_guard_findings_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_and_numbers_pass_unless_a_policy_wants_contacts_replaced() {
    let provider = keeping();
    let start = |guard: &str| guarded(&provider, guard).start();
    let passing = start("{pii: enforce}").await;
    let replacing = start("{pii: enforce, contacts: true}").await;
    let clean = "Write to [REDACTED_EMAIL_1] or call [REDACTED_PHONE_1].";
    for piece in [1, 6, 100] {
        let prompt = saying(REACHED, piece);
        assert_eq!(said(&streamed(&passing, &prompt).await), REACHED);
        // A first word may have left before it was known to be one of an address.
        let replaced = said(&streamed(&replacing, &prompt).await);
        let rest = clean.trim_start_matches("Write to ");
        assert!(
            replaced.ends_with(rest) && !replaced.contains("doe"),
            "{piece}: {replaced}"
        );
        assert_eq!(content(&says(&passing, KEY, &prompt).await), REACHED);
        assert_eq!(content(&says(&replacing, KEY, &prompt).await), clean);
    }
    let found = findings(&passing, 2).await;
    assert!(
        found
            .iter()
            .all(|one| one["control"] == "pii" && one["action"] == "flagged"),
        "{found:?}"
    );
    // On the way in they are kept from the provider, and the client reads its own again.
    let passing = start("{input: {pii: enforce}}").await;
    let replacing = start("{input: {pii: enforce}, contacts: true}").await;
    let prompt = format!(
        "I am jane.doe@example.com. {}",
        saying("Dear [REDACTED_EMAIL_1]", 5)
    );
    assert_eq!(
        content(&says(&passing, KEY, &prompt).await),
        "Dear [REDACTED_EMAIL_1]"
    );
    assert!(
        asked(&provider)
            .to_string()
            .contains("jane.doe@example.com")
    );
    assert_eq!(
        content(&says(&replacing, KEY, &prompt).await),
        "Dear jane.doe@example.com"
    );
    let seen = asked(&provider);
    assert!(!seen.to_string().contains("jane.doe"), "{seen}");
}
