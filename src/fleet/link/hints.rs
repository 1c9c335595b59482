//! Which endpoints of providers the gateways have ejected.
//!
//! Decides that this is hearsay: it is told and heard beside signs of life, and when that fails nothing is
//! lost. What a gateway makes of it is decided in [`crate::balance`].

use super::{Broken, Link, Up, is_unknown};
use crate::fleet::connect::Connection;
use crate::fleet::functions;
use std::collections::HashMap;

impl Link {
    /// Says which endpoints are ejected here, and hears which are elsewhere.
    pub(super) async fn hints(&self, up: &Up, connection: &mut Connection) -> Result<(), Broken> {
        let Some(endpoints) = self.endpoints.get() else {
            return Ok(());
        };
        let mut command = functions::call("weir_ejected_1", &self.state_key);
        command.arg(&up.source);
        for (name, left) in endpoints.ejected(self.clock.millis()) {
            command.arg(name).arg(left);
        }
        let mut reply = command.query_async::<Vec<String>>(connection).await;
        if reply.as_ref().is_err_and(is_unknown) {
            // The functions are those of an older release.
            self.load(connection).await?;
            reply = command.query_async(connection).await;
        }
        let words = match reply {
            Ok(words) => words,
            Err(error) if error.code().is_some() => {
                tracing::debug!(%error, "no word of what others have ejected");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let mut hints: HashMap<String, u64> = HashMap::new();
        for pair in words.chunks_exact(2) {
            let left = pair[1].parse().unwrap_or(0);
            let known = hints.entry(pair[0].clone()).or_default();
            *known = left.max(*known);
        }
        endpoints.hint(&hints, self.clock.millis());
        Ok(())
    }

    /// How many endpoints others have ejected.
    pub(super) fn hinted(&self) -> usize {
        let endpoints = self.endpoints.get();
        endpoints.map_or(0, |endpoints| endpoints.hinted(self.clock.millis()))
    }
}
