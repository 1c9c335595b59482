//! Joining the other gateways: where budgets and limits are shared, and the first contact.

use crate::fleet::connect::Connector;
use crate::fleet::{Fleet, SharedLimits};
use crate::ledger::log::{LogOptions, identity};
use crate::settings::Settings;
use anyhow::Context as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often it is looked whether Redis has answered.
const LOOK: Duration = Duration::from_millis(5);

/// The part that this gateway has in shared budgets; `None` where the settings name no Redis.
pub(super) fn fleet(settings: &Settings, log: &LogOptions) -> anyhow::Result<Option<Arc<Fleet>>> {
    let Some(redis) = &settings.stores.redis else {
        return Ok(None);
    };
    let connector = Connector::new(redis).context("Redis")?;
    let id = identity(&log.path)?;
    let fleet = Fleet::new(connector, id, &log.path, redis.clone(), log.clock.clone());
    Ok(Some(Arc::new(fleet)))
}

/// The part that this gateway has in shared limits; `None` where there is no Redis, or not for them.
pub(super) fn limits(settings: &Settings) -> anyhow::Result<Option<Arc<SharedLimits>>> {
    let redis = settings.stores.redis.as_ref();
    let Some(redis) = redis.filter(|redis| redis.limits) else {
        return Ok(None);
    };
    let connector = Connector::new(redis).context("Redis")?;
    let limits = SharedLimits::start(connector, redis).context("the thread for shared limits")?;
    Ok(Some(Arc::new(limits)))
}

/// Waits for the first contact, so that the first request is not refused for being early; without it
/// the gateway starts all the same.
pub(super) fn wait(fleet: &Fleet, settings: &Settings) {
    let Some(redis) = &settings.stores.redis else {
        return;
    };
    let deadline = Instant::now() + redis.connect_timeout + redis.timeout;
    while !fleet.figures().up && Instant::now() < deadline {
        std::thread::sleep(LOOK);
    }
    if fleet.figures().up {
        tracing::info!(
            redis = redis.place(),
            tenant = redis.tenant,
            "budgets are shared"
        );
    } else {
        tracing::error!(
            redis = redis.place(),
            "Redis does not answer: hard budgets are refused until it does"
        );
    }
}
