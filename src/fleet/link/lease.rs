//! Takes money in advance, and gives it back.
//!
//! Decides when that is done: beside signs of life, while Redis answers. What a lease is good for is
//! in [`crate::fleet::lease`].

use super::{Broken, Link, Up, is_unknown, lock};
use crate::fleet::connect::Connection;
use crate::fleet::functions::{self, State};
use crate::fleet::lease::Leases;
use crate::identity::AttemptId;
use crate::ledger::shared::{End, Testimony, Witness};
use std::sync::Arc;
use std::time::Instant;

impl Link {
    /// Asks for leases, if it is time to.
    pub(super) async fn lease(&self, up: &Up, connection: &mut Connection) -> Result<(), Broken> {
        let Some(leases) = &self.leases else {
            return Ok(());
        };
        if !leases.due(Instant::now()) {
            return Ok(());
        }
        // What leases are in the way of comes back at once, where nothing was granted from them.
        while self.lease_once(leases, up, connection).await? {}
        Ok(())
    }

    /// Whether leases should come down further than they could at once.
    async fn lease_once(
        &self,
        leases: &Leases,
        up: &Up,
        connection: &mut Connection,
    ) -> Result<bool, Broken> {
        let asked = (Instant::now(), self.clock.millis());
        let (wishes, over) = leases.round(asked.0, asked.1);
        self.give_back(over, &up.chain);
        let (key, terms) = (&self.state_key, &leases.terms);
        let command = functions::lease(key, &up.known(), &up.source, terms, &wishes, asked.1);
        let mut reply = command.query_async::<Vec<String>>(connection).await;
        if reply.as_ref().is_err_and(is_unknown) {
            // The functions are those of an older release.
            self.load(connection).await?;
            reply = command.query_async(connection).await;
        }
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                self.give_back(leases.unheard(&wishes), &up.chain);
                if error.code().is_some() {
                    // Redis answers, and refuses. What is leased ends by itself.
                    tracing::debug!(%error, "no leases at present");
                    return Ok(false);
                }
                return Err(error.into());
            }
        };
        match functions::leased(&reply, &wishes).ok_or(Broken::Nonsense)? {
            Ok(leased) => {
                up.saw(leased.seen);
                lock(&self.mirror).leases = leased.others;
                let (over, again) = leases.heard(wishes, leased.answers, asked);
                self.give_back(over, &up.chain);
                Ok(again)
            }
            Err(State::Recovering) => {
                self.give_back(leases.unheard(&wishes), &up.chain);
                Ok(false)
            }
            Err(state) => Err(Broken::Moved(state)),
        }
    }

    /// Says that leases are over, after everything that was said before.
    pub(super) fn give_back(&self, over: Vec<AttemptId>, chain: &Arc<str>) {
        for id in over {
            self.queue(End {
                id,
                chain: Arc::clone(chain),
                cost: None,
                charges: Vec::new(),
            });
        }
    }

    /// What stands in the log, and what is left of leases. They come last, so that everything that was
    /// granted from them is known when they come down.
    pub(super) fn testimony(&self, witness: &dyn Witness) -> Testimony {
        let Some(leases) = &self.leases else {
            return witness.testimony();
        };
        leases.pause();
        let mut testimony = witness.testimony();
        testimony.open.extend(leases.testified(Instant::now()));
        testimony
    }

    /// Whether a hold of this gateway is a lease that counts.
    pub(super) fn is_leased(&self, id: AttemptId) -> bool {
        let leases = self.leases.as_ref();
        leases.is_some_and(|leases| leases.knows(id))
    }
}
