//! The sign of life of a gateway, and what it hears in return.

use super::{Broken, Link, Up, lock, millis};
use crate::fleet::connect::Connection;
use crate::fleet::functions::{self, State};
use crate::fleet::share::News;
use std::sync::atomic::Ordering;

/// A count of changes that there never is.
const NO_NEWS: u64 = 1 << 53;

/// The policy of a server that throws nothing away.
const KEEPS: &str = "noeviction";

impl Link {
    /// A sign of life; what has changed since the last one goes into the mirror.
    pub(super) async fn sync(
        &self,
        connection: &mut Connection,
        up: &Up,
        since: Option<&mut u64>,
    ) -> Result<(State, bool), Broken> {
        let mut command = functions::call("weir_sync_1", &self.state_key);
        command
            .arg(&up.epoch)
            .arg(up.seen.load(Ordering::Relaxed))
            .arg(&up.source)
            .arg(&self.nonce)
            .arg(since.as_deref().copied().unwrap_or(NO_NEWS))
            .arg(millis(self.settings.orphan_after))
            .arg(millis(self.settings.recovery_wait));
        let reply: Vec<String> = command.query_async(connection).await?;
        let [word, news] = reply.as_slice() else {
            return Err(Broken::Nonsense);
        };
        if word == "twin" {
            return Err(Broken::Twin);
        }
        let state = State::of(word).ok_or(Broken::Nonsense)?;
        if matches!(state, State::Lost | State::Changed) {
            return Ok((state, false));
        }
        let mut news: News = serde_json::from_str(news).map_err(|_| Broken::Nonsense)?;
        if let Some(since) = since {
            *since = news.last.parse().map_err(|_| Broken::Nonsense)?;
        }
        up.saw(news.ver.parse().map_err(|_| Broken::Nonsense)?);
        self.judge(std::mem::take(&mut news.policy));
        for gateway in &news.missing {
            tracing::error!(%gateway, "grants go on without a gateway that has not said what it charged");
        }
        if news.orphans != "0" && !news.orphans.is_empty() {
            let (holds, nanos) = (&news.orphans, &news.orphaned);
            tracing::warn!(%holds, nano_usd = %nanos, "charged what a gateway that is gone left held");
        }
        let mut mirror = lock(&self.mirror);
        mirror.hear(&mut news, state == State::Open);
        self.peers.keep(&mirror.gateways);
        drop(mirror);
        Ok((state, news.more))
    }

    /// Warns of a server that may throw keys away when its memory is full.
    fn judge(&self, policy: String) {
        let mut known = lock(&self.policy);
        if policy.is_empty() || *known == policy {
            return;
        }
        if policy != KEEPS {
            tracing::warn!(
                %policy,
                "Redis may throw budgets away when its memory is full: its maxmemory-policy must be {KEEPS}"
            );
        }
        *known = policy;
    }
}
