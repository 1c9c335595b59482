//! Messages to somebody who wants to know: the cost breaker's changes of level.
//!
//! Decides what a message says, how it is signed, and how often it is tried. One after the other, each within
//! bounded time, and none of them holds anything up; where they go stands in the policy and nowhere else. No
//! redirect is followed.

use crate::gateway::Gateway;
use crate::gateway::breaker::Alert;
use crate::policy::breaker::Webhook;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::redirect;
use serde_json::json;
use sha2::Sha256;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// How often a message is tried.
const TRIES: u32 = 4;

/// The wait after the first try; it doubles each time.
const WAIT: Duration = Duration::from_millis(500);

/// The longest that is waited for the last messages of a process.
const LAST: Duration = Duration::from_secs(2);

const LOOK: Duration = Duration::from_millis(200);

/// Sends the breaker's messages until the process has left.
pub async fn run(gateway: &Arc<Gateway>, mut leaving: watch::Receiver<bool>) {
    let Some(mut alerts) = gateway.breaker.alerts() else {
        return;
    };
    let http = reqwest::Client::builder()
        .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build();
    let http = match http {
        Ok(http) => http,
        Err(error) => {
            tracing::error!(%error, "there is no way to send the breaker's messages");
            return;
        }
    };
    while !(*leaving.borrow() && gateway.in_flight.load(Ordering::Acquire) == 0) {
        let alert = tokio::select! {
            alert = alerts.recv() => alert,
            () = tokio::time::sleep(LOOK) => continue,
        };
        let Some(alert) = alert else { return };
        let delivery = deliver(&http, gateway, &alert);
        tokio::pin!(delivery);
        let leaves = tokio::select! {
            () = &mut delivery => false,
            () = left(&mut leaving) => true,
        };
        if leaves {
            let _ = tokio::time::timeout(LAST, delivery).await;
        }
    }
    let last = async {
        // What the last requests have changed is told a moment later.
        while let Ok(Some(alert)) = tokio::time::timeout(LOOK, alerts.recv()).await {
            deliver(&http, gateway, &alert).await;
        }
    };
    let _ = tokio::time::timeout(LAST, last).await;
}

/// Comes back once the process leaves.
async fn left(leaving: &mut watch::Receiver<bool>) {
    // Whoever would say so is gone only with the process.
    let _ = leaving.wait_for(|leaves| *leaves).await;
}

/// Tries until somebody takes it, but not for ever.
async fn deliver(http: &reqwest::Client, gateway: &Gateway, alert: &Alert) {
    let mut wait = WAIT;
    for attempt in 1..=TRIES {
        // A reload may have sent it elsewhere, or nowhere.
        let live = gateway.live();
        let Some(webhook) = &live.policy.breaker.webhook else {
            return;
        };
        let failed = match send(http, webhook, alert).await {
            Ok(()) => {
                gateway.metrics.breaker_sent("ok");
                return;
            }
            Err(failed) => failed,
        };
        if attempt == TRIES {
            gateway.metrics.breaker_sent("failed");
            tracing::warn!(
                breaker.level = alert.level.name(),
                error = failed,
                tries = attempt,
                "the breaker's webhook did not take a message; it is dropped"
            );
            return;
        }
        tracing::debug!(
            error = failed,
            "the breaker's webhook did not take a message"
        );
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
}

async fn send(http: &reqwest::Client, webhook: &Webhook, alert: &Alert) -> Result<(), String> {
    let body = message(alert);
    let at = jiff::Timestamp::now().as_second().to_string();
    let mut request = http
        .post(&webhook.url.text)
        .timeout(webhook.timeout)
        .header("content-type", "application/json")
        .header("x-weir-delivery", alert.id.to_string())
        .header("x-weir-timestamp", &at);
    if let Some(secret) = &webhook.secret {
        let signature = sign(secret.expose().as_bytes(), &at, &body);
        request = request.header("x-weir-signature", format!("v1={signature}"));
    }
    let answer = request.body(body).send().await;
    let answer = answer.map_err(|error| error.without_url().to_string())?;
    let status = answer.status();
    if status.is_success() {
        Ok(())
    } else {
        Err(format!("it answered with status {}", status.as_u16()))
    }
}

/// What is sent. Amounts are exact.
fn message(alert: &Alert) -> String {
    let at = jiff::Timestamp::from_millisecond(alert.at).unwrap_or_default();
    let standing = &alert.standing;
    let text = |text: &str| json!(text).to_string();
    format!(
        r#"{{"type":"breaker.level","id":{},"timestamp":{},"level":{},"before":{},"total":{},"threshold":{}}}"#,
        text(&alert.id.to_string()),
        text(&format!("{at:.3}")),
        text(alert.level.name()),
        text(alert.before.name()),
        standing.total,
        standing.threshold(),
    )
}

/// HMAC-SHA256 of the time, a dot and the body, in hexadecimal digits.
fn sign(secret: &[u8], at: &str, body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        // Any length will do.
        return String::new();
    };
    mac.update(at.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    let digest = mac.finalize().into_bytes();
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::{Level, Standing, Thresholds};
    use crate::identity::RequestId;
    use crate::money::Nanos;

    #[test]
    fn a_message_says_what_changed_with_exact_amounts() {
        let alert = Alert {
            id: RequestId::new(0),
            at: 1_700_000_000_123,
            level: Level::Soft,
            before: Level::Ok,
            standing: Standing {
                level: Level::Soft,
                total: Nanos(250_000_000_001),
                thresholds: Thresholds::default(),
            },
        };
        let text = message(&alert);
        assert!(
            text.contains(r#""total":250.000000001,"threshold":250.0"#),
            "{text}"
        );
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["timestamp"], "2023-11-14T22:13:20.123Z");
        assert_eq!(
            (&read["level"], &read["before"]),
            (&json!("SOFT"), &json!("OK"))
        );
    }

    #[test]
    fn a_signature_is_what_anybody_else_computes() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            sign(b"key", "1700000000", "{}"),
            "9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
        );
    }
}
