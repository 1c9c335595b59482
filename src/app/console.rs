//! The exchanges with the console as a service of the process.

use crate::gateway::Gateway;
use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use std::sync::Arc;

/// Speaks to the console while the process lives.
pub(super) struct Console(pub(super) Arc<Gateway>);

#[async_trait]
impl BackgroundService for Console {
    async fn start(&self, shutdown: ShutdownWatch) {
        crate::console::run(&self.0, shutdown).await;
    }
}
