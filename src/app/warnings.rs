//! The warnings of budgets as a service of the process.

use crate::gateway::{Gateway, watch};
use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use std::sync::Arc;

/// Tells of warning levels while the process lives.
pub(super) struct Warnings(pub(super) Arc<Gateway>);

#[async_trait]
impl BackgroundService for Warnings {
    async fn start(&self, shutdown: ShutdownWatch) {
        watch::run(&self.0, shutdown).await;
    }
}
