//! The cost breaker as services of the process: one that looks, one that sends messages.

use crate::gateway::{self, Gateway};
use crate::webhook;
use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use std::sync::Arc;

/// Reads what is spent and tells of levels while the process lives.
pub(super) struct Levels(pub(super) Arc<Gateway>);

#[async_trait]
impl BackgroundService for Levels {
    async fn start(&self, shutdown: ShutdownWatch) {
        gateway::breaker::run(&self.0, shutdown).await;
    }
}

/// Sends what is told to the webhook while the process lives.
pub(super) struct Messages(pub(super) Arc<Gateway>);

#[async_trait]
impl BackgroundService for Messages {
    async fn start(&self, shutdown: ShutdownWatch) {
        webhook::run(&self.0, shutdown).await;
    }
}
