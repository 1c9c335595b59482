//! What a gateway tells when the shared state is put together again.
//!
//! Decides who begins a new epoch of the state and how long is waited for others. What is told is in
//! [`share`].

use super::{Broken, Link, Up, lock, millis};
use crate::fleet::connect::Connection;
use crate::fleet::functions::{self, State};
use crate::fleet::share::{self, Share};
use crate::identity::AttemptId;
use crate::ledger::shared::Witness;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Accounts that are told of in one call.
const CHUNK: usize = 200;

/// How long a gateway that has just started waits for others to report, when Redis knows nothing: those
/// that are alive find out with their next sign of life.
const RALLY: Duration = Duration::from_secs(2);

/// A part of what a gateway tells of its log.
struct Told<'a> {
    shares: &'a [Share],
    holds: Option<&'a share::Holds>,
    open: Option<&'a share::Open>,
    part: Part,
}

/// Which part it is.
#[derive(Clone, Copy)]
enum Part {
    /// What was charged, or is held.
    Known,
    /// The accounts again: what was charged for its holds as lost is taken back.
    Back,
    /// The end.
    Done,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Back => "back",
            Self::Done => "done",
        }
    }
}

impl<'a> Told<'a> {
    fn accounts(shares: &'a [Share]) -> Self {
        Self {
            shares,
            holds: None,
            open: None,
            part: Part::Known,
        }
    }

    /// Its holds are known: they were not lost.
    fn back(shares: &'a [Share]) -> Self {
        Self {
            part: Part::Back,
            ..Self::accounts(shares)
        }
    }

    fn holds(holds: &'a share::Holds) -> Self {
        Self {
            holds: Some(holds),
            ..Self::accounts(&[])
        }
    }

    /// The end of it: every other hold is over.
    fn all(open: &'a share::Open) -> Self {
        Self {
            open: Some(open),
            part: Part::Done,
            ..Self::accounts(&[])
        }
    }
}

/// Without a value it is an empty table.
fn json(value: impl serde::Serialize) -> Result<String, Broken> {
    let text = serde_json::to_string(&value).map_err(|_| Broken::Nonsense)?;
    Ok(if text == "null" {
        "{}".to_owned()
    } else {
        text
    })
}

impl Link {
    /// How long the others have to report, besides those that are known. A process that has just
    /// started may not know all of them, and is in no hurry when it can tell that it is not the first.
    pub(super) fn rally(&self, witness: &dyn Witness) -> Duration {
        let (complete, first) = {
            let mirror = lock(&self.mirror);
            (mirror.complete, mirror.gateways.is_empty())
        };
        if complete || (first && !witness.testimony().has_spent()) {
            return Duration::ZERO;
        }
        // Others may grant from their leases without being heard.
        let leased = self.leases.as_ref().map(|leases| leases.terms.time);
        RALLY.max(leased.unwrap_or_default())
    }

    /// A new epoch of the state, or the one that another gateway has begun.
    pub(super) async fn begin(
        &self,
        connection: &mut Connection,
        up: &Up,
        rally: Duration,
    ) -> Result<String, Broken> {
        let new = format!("{:016x}", fastrand::u64(..));
        let mut command = functions::call("weir_begin_1", &self.state_key);
        command
            .arg(&up.epoch)
            .arg(&new)
            .arg(millis(rally))
            .arg(&up.source);
        for gateway in &lock(&self.mirror).gateways {
            command.arg(gateway);
        }
        let reply: Vec<String> = command.query_async(connection).await?;
        let [epoch, begun] = reply.as_slice() else {
            return Err(Broken::Nonsense);
        };
        if begun == "1" {
            self.recoveries.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("the shared state of budgets is put together from what gateways know");
        }
        Ok(epoch.clone())
    }

    /// Says what stands in the log and, after a loss, what was last heard of the rest.
    pub(super) async fn testify(
        &self,
        connection: &mut Connection,
        up: &Up,
        witness: &dyn Witness,
        lost: bool,
    ) -> Result<(), Broken> {
        let testimony = self.testimony(witness);
        // What was charged stands in the log and is said from there, unless its window is over or its hold
        // counts as open. What was given back is said again, in case it was asked for on a connection that
        // broke.
        let told = share::told(&testimony);
        let held: HashSet<AttemptId> = testimony.open.iter().map(|held| held.id).collect();
        lock(&self.ends).retain(|end| {
            end.cost.is_none() || held.contains(&end.id) || !share::is_told(&told, end)
        });
        let source = |chain: &str| self.source(chain);
        let mut shares = share::shares(&testimony, source);
        if lost {
            shares.extend(lock(&self.mirror).shares().cloned());
        }
        let mut days = Vec::new();
        for chunk in shares.chunks(CHUNK) {
            let told = Told::accounts(chunk);
            days.extend(self.assert(connection, up, &told).await?);
        }
        for holds in share::holds(&testimony, CHUNK, source) {
            let told = Told::holds(&holds);
            self.assert(connection, up, &told).await?;
        }
        if lost {
            let leases = std::mem::take(&mut lock(&self.mirror).leases);
            self.assert(connection, up, &Told::holds(&leases)).await?;
            lock(&self.mirror).leases = leases;
        }
        // Not before: for a moment the money of these holds would look free.
        for chunk in shares.chunks(CHUNK) {
            self.assert(connection, up, &Told::back(chunk)).await?;
        }
        let open = share::open(&testimony, source);
        self.assert(connection, up, &Told::all(&open)).await?;
        for chain in &testimony.dead {
            let mut command = functions::call("weir_leave_1", &self.state_key);
            let dead = self.source(chain);
            let _: Vec<String> = command.arg(dead).query_async(connection).await?;
        }
        if self.settings.firewall_keys {
            self.days(&days, connection).await;
        }
        Ok(())
    }

    /// Tells a part of the testimony. What users have spent in their days, for [`Link::days`].
    async fn assert(
        &self,
        connection: &mut Connection,
        up: &Up,
        told: &Told<'_>,
    ) -> Result<Vec<String>, Broken> {
        let mut command = functions::call("weir_assert_1", &self.state_key);
        command
            .arg(&up.epoch)
            .arg(&up.source)
            .arg(json(told.shares)?)
            .arg(json(told.holds)?)
            .arg(json(told.open)?)
            .arg(told.part.name());
        let mut reply: Vec<String> = command.query_async(connection).await?;
        match reply.first().and_then(|word| State::of(word)) {
            Some(State::Open) => Ok(reply.split_off(reply.len().min(2))),
            Some(state) => Err(Broken::Moved(state)),
            None => Err(Broken::Nonsense),
        }
    }
}
