//! Requests that this process makes to itself.
//!
//! Decides how a request is known to be one: by the task that serves it, which nothing on any connection can
//! pretend. Such a request comes from where the one came that it is part of.

use crate::gateway::inner::Asker;
use crate::money::Nanos;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

tokio::task_local! {
    static ASKER: (Asker, Arc<AtomicI64>);
}

/// Does the work of a request of this process's own; gives what it was charged, too.
pub async fn within<T>(asker: Asker, work: impl Future<Output = T>) -> (T, Nanos) {
    let charged = Arc::new(AtomicI64::new(0));
    let done = ASKER.scope((asker, Arc::clone(&charged)), work).await;
    (done, Nanos(charged.load(Ordering::Acquire)))
}

/// Who asks, for a request of this process's own.
pub(crate) fn asker() -> Option<Asker> {
    ASKER.try_with(|(asker, _)| *asker).ok()
}

/// The other end of the connection that a request of this process's own is part of.
pub(super) fn peer() -> Option<IpAddr> {
    asker()?.peer
}

/// Notes what an attempt was charged.
pub(super) fn charged(amount: Nanos) {
    let _ = ASKER.try_with(|(_, charged)| charged.fetch_add(amount.0, Ordering::AcqRel));
}
