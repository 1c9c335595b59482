//! The balances that gateways share, as [`crate::ledger::Book`] asks for them.
//!
//! Decides nothing about money: that is done by the functions inside Redis, in one step each. It
//! decides what a request hears when they cannot be asked: that nothing can be held at present.

use super::connect::Connector;
use super::functions::{self, Reserved, State};
use super::link::{Broken, Figures, Link, Up};
use super::warn::Once;
use crate::balance::Endpoints;
use crate::budget::{AccountSpec, Balance};
use crate::identity::AttemptId;
use crate::ledger::log::Clock;
use crate::ledger::shared::{Away, Changed, End, Granted, Shared, Witness};
use crate::ledger::{Ask, Denied, Push};
use crate::settings;
use std::path::Path;
use std::sync::{Arc, PoisonError, Weak};

/// One gateway's part in the balances that several share through Redis.
#[derive(Debug)]
pub struct Fleet {
    pub(super) link: Arc<Link>,
}

impl Fleet {
    /// A part in the state at `connector` for the gateway whose log is the one at `log` and has the id
    /// `log_id`. It begins with [`Shared::begin`].
    pub fn new(
        connector: Connector,
        log_id: String,
        log: &Path,
        settings: settings::Redis,
        clock: Clock,
    ) -> Self {
        Self {
            link: Arc::new(Link::new(connector, log_id, log, settings, clock)),
        }
    }

    /// Has the others hear which of these endpoints are ejected here, and takes over what they say.
    pub fn tell_of(&self, endpoints: Arc<Endpoints>) {
        // A second call would name the same ones.
        let _ = self.link.endpoints.set(endpoints);
    }

    /// Figures for the metrics.
    pub fn figures(&self) -> Figures {
        self.link.figures()
    }

    /// Sends a call and reads its reply with `read`; whoever cannot be understood is not asked
    /// again.
    async fn ask<T>(
        &self,
        up: &Arc<Up>,
        command: &redis::Cmd,
        read: impl FnOnce(&[String]) -> Option<T>,
    ) -> Option<T> {
        let mut connection = up.connection.clone();
        let reply = command.query_async::<Vec<String>>(&mut connection).await;
        let read = match &reply {
            Ok(reply) => read(reply),
            Err(error) => {
                self.link.suspect(up, || error.to_string());
                return None;
            }
        };
        if read.is_none() {
            self.link
                .suspect(up, || "what it said is no answer".to_owned());
        }
        read
    }

    /// Asks Redis for a hold. `asked` knows of it for as long as nobody knows what came of it.
    async fn hold(&self, ask: &Ask<'_>, asked: &mut Asked<'_>) -> Result<Granted, Denied> {
        let up = self.link.up().ok_or(Denied::Unavailable)?;
        let (key, windows) = (&self.link.state_key, functions::windows(ask));
        let command = functions::reserve(key, &up.known(), &up.source, ask, &windows);
        asked.hold = Some((ask.id, Arc::clone(&up.chain)));
        let read = |reply: &[String]| functions::reserved(reply, ask, &windows);
        let Some(reserved) = self.ask(&up, &command, read).await else {
            return Err(Denied::Unavailable);
        };
        asked.hold = None;
        match reserved {
            Reserved::Granted(granted, seen) => {
                up.saw(seen);
                Ok(granted)
            }
            Reserved::Denied(denied) => Err(denied),
            Reserved::Undecided(state) => {
                self.doubt(&up, state);
                Err(Denied::Unavailable)
            }
        }
    }

    /// Connects anew when the state is another one than was known.
    fn doubt(&self, up: &Arc<Up>, state: State) {
        if state != State::Recovering {
            self.link.suspect(up, || Broken::Moved(state).to_string());
        }
    }

    fn open<T>(&self, up: &Arc<Up>, read: Option<Result<T, State>>) -> Result<T, Away> {
        read.ok_or(Away)?.map_err(|state| {
            self.doubt(up, state);
            Away
        })
    }
}

#[cfg(test)]
impl Fleet {
    /// Says nothing any more, as a process that was killed.
    pub(super) fn cut(&self) {
        self.link.cut();
    }
}

/// A hold that may have been taken: unless it is known what came of it, it is given back.
struct Asked<'a> {
    link: &'a Link,
    hold: Option<(AttemptId, Arc<str>)>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some((id, chain)) = self.hold.take() {
            self.link.end(End {
                id,
                chain,
                cost: None,
                charges: Vec::new(),
            });
        }
    }
}

#[async_trait::async_trait]
impl Shared for Fleet {
    async fn reserve(&self, ask: &Ask<'_>) -> Result<Granted, Denied> {
        let mut asked = Asked {
            link: &self.link,
            hold: None,
        };
        let leases = self.link.leases.as_ref();
        let leases = leases.filter(|_| ask.accounts.iter().any(|spec| spec.hard));
        if let Some(leases) = leases {
            leases.note(ask.accounts);
        }
        match (self.hold(ask, &mut asked).await, leases) {
            (Err(Denied::Unavailable), Some(leases)) => {
                let granted = leases.grant(ask, |spec| self.glance(spec, ask.now_millis))?;
                // Should it be held there, too, it is that hold: what it comes to is told with the log.
                asked.hold = None;
                Ok(granted)
            }
            (outcome, _) => outcome,
        }
    }

    fn end(&self, end: End) {
        self.link.end(end);
    }

    async fn balance(&self, spec: &AccountSpec, now_millis: u64) -> Result<Balance, Away> {
        let up = self.link.up().ok_or(Away)?;
        if !self.link.flushed().await {
            return Err(Away);
        }
        let command = functions::balance(&self.link.state_key, &up.known(), spec, now_millis);
        let read = |reply: &[String]| functions::balanced(reply, spec);
        let read = self.ask(&up, &command, read).await;
        self.open(&up, read)
    }

    fn glance(&self, spec: &AccountSpec, now_millis: u64) -> Option<Balance> {
        let now = i64::try_from(now_millis / 1000).unwrap_or(i64::MAX);
        let mirror = self.link.mirror.lock();
        let mirror = mirror.unwrap_or_else(PoisonError::into_inner);
        mirror.balance(spec, now)
    }

    async fn push(
        &self,
        spec: &AccountSpec,
        change: Push,
        now_millis: u64,
    ) -> Result<Changed, Away> {
        let up = self.link.up().ok_or(Away)?;
        if !self.link.flushed().await {
            return Err(Away);
        }
        let key = &self.link.state_key;
        let command = functions::push(key, &up.known(), &up.source, spec, change, now_millis);
        let read = |reply: &[String]| functions::pushed(reply, spec);
        let read = self.ask(&up, &command, read).await;
        self.open(&up, read)
    }

    async fn arm(&self, spec: &AccountSpec, balance: &Balance, now_millis: u64) {
        let passed = spec.warn.passed(balance.posted, balance.limit);
        let levels = spec.warn.all().iter().copied();
        let levels: Vec<_> = levels.filter(|level| *level > passed).collect();
        let now = i64::try_from(now_millis / 1000).unwrap_or(i64::MAX);
        // Warnings are no reason to fail.
        let _ = Fleet::arm(self, &Once::new(spec, balance, now), &levels).await;
    }

    fn adopt(&self, specs: &[Arc<AccountSpec>], _now_millis: u64) {
        self.link.adopt(specs);
    }

    fn keeps_days(&self) -> bool {
        self.link.keeps_days()
    }

    fn begin(&self, witness: Weak<dyn Witness>) {
        let link = Arc::clone(&self.link);
        let thread = std::thread::Builder::new().name("redis".into());
        let started = thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(link.run(witness)),
                Err(error) => tracing::error!(%error, "no runtime for Redis"),
            }
        });
        if let Err(error) = started {
            tracing::error!(%error, "no thread for Redis: budgets cannot be shared");
        }
    }

    fn leave(&self) {
        self.link.leave();
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.link.close();
    }
}
