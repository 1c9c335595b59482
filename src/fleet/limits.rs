//! Limits of requests, tokens and concurrency that gateways share through Redis.
//!
//! Decides nothing about limits: that is done by the functions in `limits.lua`, by the rules of
//! [`crate::limit`]. It decides how long they are waited for, what becomes of a request that they
//! have counted when it ends, and that nobody is asked when Redis is away: then each gateway's own
//! counts are enough.

mod link;
mod words;

use super::connect::{Connection, Connector};
use crate::limit::shared::{Place, Shared, Verdict};
use crate::limit::{Claim, Standing};
use crate::settings;
use link::Link;
use redis::Cmd;
use std::sync::Arc;
use std::time::Duration;
use words::{Counted, Ending};

/// The longest that the places of a gateway outlast it.
const LONGEST_LAPSE: Duration = Duration::from_secs(15);

/// A gateway's part in the limits that several share.
#[derive(Debug)]
pub struct SharedLimits {
    link: Arc<Link>,
}

impl SharedLimits {
    /// A part in the limits at `connector`. A thread of its own connects, and again whenever the
    /// connection has broken. The first try is waited for, because a gateway that is alone lets more in.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(connector: Connector, settings: &settings::Redis) -> std::io::Result<Self> {
        let lapse = settings.orphan_after.min(LONGEST_LAPSE);
        let link = Link::new(connector, &settings.tenant, lapse, settings.timeout);
        let link = Arc::new(link);
        Arc::clone(&link).start()?;
        link.tried(settings.connect_timeout);
        Ok(Self { link })
    }

    /// Whether Redis can be asked at present.
    pub fn is_up(&self) -> bool {
        self.link.up().is_some()
    }

    /// Sends a call; whoever does not answer is not asked again on this connection.
    async fn ask(&self, up: &Arc<Connection>, command: &Cmd) -> Option<Vec<String>> {
        let mut connection = Connection::clone(up);
        match command.query_async(&mut connection).await {
            Ok(reply) => Some(reply),
            Err(error) => {
                tracing::debug!(%error, "Redis did not answer");
                self.link.suspect(up);
                None
            }
        }
    }

    /// Says which requests have ended, as long as a command may take, and ends the thread.
    pub fn close(&self) {
        self.link.close();
    }
}

impl Drop for SharedLimits {
    fn drop(&mut self) {
        self.link.close();
    }
}

#[async_trait::async_trait]
impl Shared for SharedLimits {
    async fn admit(&self, claims: &[Claim<'_>], tokens: u64) -> Verdict {
        let claims = words::in_order(claims);
        if claims.is_empty() {
            return Verdict::Nothing;
        }
        let mut stay = Stay {
            permit: self.link.permit(),
            counted: Arc::new(Counted::new(&claims, tokens)),
            // Until more is known: it may be counted, and must not be.
            ending: Some(Ending::Cancelled),
            link: Arc::clone(&self.link),
        };
        let Some(up) = self.link.up() else {
            return Verdict::Away(stay.begin());
        };
        let link = &self.link;
        let permit = link.name_of(stay.permit);
        let command = words::admit(&link.prefix, None, link.lapse, &permit, tokens, &claims);
        let reply = self.ask(&up, &command).await;
        match reply.and_then(|reply| words::admitted(&reply, &claims)) {
            Some(Ok(standing)) => Verdict::In(stay.begin(), standing),
            Some(Err(exceeded)) => {
                stay.ending = None;
                Verdict::Out(exceeded)
            }
            None => Verdict::Away(stay.begin()),
        }
    }

    async fn standing(&self, claims: &[Claim<'_>]) -> Option<Standing> {
        let claims = words::in_order(claims);
        let up = self.link.up().filter(|_| !claims.is_empty())?;
        let command = words::standing(&self.link.prefix, None, &claims);
        let reply = self.ask(&up, &command).await?;
        words::admitted(&reply, &claims)?.ok()
    }
}

/// A request that Redis has counted, or may have.
#[derive(Debug)]
struct Stay {
    link: Arc<Link>,
    permit: u64,
    counted: Arc<Counted>,
    /// What Redis is told when this is dropped; nothing when it has not counted it.
    ending: Option<Ending>,
}

impl Stay {
    fn begin(mut self) -> Box<Self> {
        self.ending = Some(Ending::Kept);
        self.link.enter(self.permit, &self.counted);
        Box::new(self)
    }
}

impl Place for Stay {
    fn cancel(&mut self) {
        self.ending = Some(Ending::Cancelled);
    }

    fn correct(&mut self, used: u64) {
        if self.ending == Some(Ending::Kept) {
            self.ending = Some(Ending::Used(used));
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if let Some(ending) = self.ending {
            let counted = Arc::clone(&self.counted);
            self.link.left(self.permit, ending, counted);
        }
    }
}

#[cfg(test)]
mod tests;
