//! Putting another configuration in force while requests run.
//!
//! Decides the order: one reload at a time; everything is read and checked before anything changes;
//! then the whole is swapped. A request keeps the configuration it began with. Whoever asked, an
//! operator, a signal or the watcher, comes this way, so that log, metrics and answer say the same.

use super::source::Reading;
use super::{Gateway, Live};
use crate::event::{Kind, Reload as Event};
use crate::metrics::Reload as Outcome;
use crate::policy::changes;
use crate::settings::fingerprint::Fingerprint;
use crate::settings::problem::{Problem, Problems};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The most changes that a line of the log names.
const NAMED: usize = 20;

/// Who asked for a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Somebody at that address, through the admin API.
    Admin(String),
    /// The signal HUP.
    Hangup,
    /// A file that changed.
    Watch,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin(peer) => write!(f, "admin {peer}"),
            Self::Hangup => f.write_str("SIGHUP"),
            Self::Watch => f.write_str("watch"),
        }
    }
}

/// What a reload came to.
pub struct Reloaded {
    /// The configuration in force now.
    pub live: Arc<Live>,
    /// Whether the files held something else than before.
    pub applied: bool,
    /// What the policy has otherwise than before, one a line.
    pub changes: Vec<String>,
    /// What is sound, but probably not meant.
    pub warnings: Vec<Problem>,
    /// Settings that take effect at the next start only, by their paths.
    pub needs_restart: Vec<String>,
}

impl Reloaded {
    /// The name of the outcome, in answers and metrics.
    pub fn name(&self) -> &'static str {
        self.outcome().name()
    }

    fn outcome(&self) -> Outcome {
        if self.applied {
            Outcome::Applied
        } else {
            Outcome::Unchanged
        }
    }
}

/// What the files held when they were looked at.
pub(super) struct Seen {
    /// What is in force.
    in_force: Fingerprint,
    /// What was read last, in force or refused.
    read: Fingerprint,
}

impl Seen {
    pub(super) fn new(print: Fingerprint) -> Self {
        Self {
            in_force: print.clone(),
            read: print,
        }
    }
}

impl Gateway {
    /// Every file that a configuration depends on, or the process itself.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = self.source.paths().to_vec();
        files.extend(self.others());
        files
    }

    /// What the files say where more is: what no reload changes, and the guard's rules.
    fn others(&self) -> Vec<PathBuf> {
        let mut others = self.fixed.paths().to_vec();
        others.extend(self.live().policy.rule_files.paths().cloned());
        others
    }

    /// What the files hold now, when that is something that has not been read yet.
    pub async fn unread(self: &Arc<Self>) -> Option<Fingerprint> {
        let gateway = Arc::clone(self);
        let look = move || gateway.source.fingerprint(&gateway.others());
        let print = tokio::task::spawn_blocking(look).await.ok()?;
        let seen = self.seen.lock().await;
        (print != seen.read).then_some(print)
    }

    /// Reads the files anew and puts them in force.
    ///
    /// # Errors
    /// Every problem found; then nothing has changed.
    pub async fn reload(self: &Arc<Self>, by: Trigger) -> Result<Reloaded, Problems> {
        let gateway = Arc::clone(self);
        // A task of its own: whoever asked may leave in the middle.
        let task = tokio::spawn(async move { gateway.reload_in_turn(&by).await });
        task.await
            .unwrap_or_else(|_| Err(Problem::of_file("reload", "broke off").into()))
    }

    async fn reload_in_turn(self: &Arc<Self>, by: &Trigger) -> Result<Reloaded, Problems> {
        let mut seen = self.seen.lock().await;
        let gateway = Arc::clone(self);
        let read = move || {
            let others = gateway.others();
            gateway.source.read(&gateway.settings, &others)
        };
        // Other requests are served by this thread meanwhile.
        let (print, read) = tokio::task::spawn_blocking(read)
            .await
            .unwrap_or_else(|_| (seen.read.clone(), Err(unreadable())));
        // Files of rules that are named only now were not looked at before.
        let print = match &read {
            Ok(reading) => print.and(reading.live.policy.rule_files.print()),
            Err(_) => print,
        };
        let result = read.map(|reading| self.put_in_force(reading, &print, &mut seen));
        seen.read = print;
        match &result {
            Ok(reloaded) => self.say(by, reloaded),
            Err(problems) => self.complain(by, problems),
        }
        result
    }

    fn put_in_force(&self, reading: Reading, print: &Fingerprint, seen: &mut Seen) -> Reloaded {
        let needs_restart = self
            .fixed
            .needs_restart(&self.source, &self.settings, &reading, print);
        let before = self.live();
        let rules = reading.live.policy.rule_files.paths().cloned();
        let unchanged = self
            .source
            .paths()
            .into_iter()
            .chain(rules)
            .all(|path| print.agrees_on(&seen.in_force, &path));
        if unchanged {
            return Reloaded {
                live: before,
                applied: false,
                changes: Vec::new(),
                warnings: reading.warnings,
                needs_restart,
            };
        }
        let mut live = reading.live;
        self.fixed.keep(&mut live);
        let live = Arc::new(live);
        let mut changes = changes::between(&before.policy, &live.policy);
        changes.retain(|change| {
            let path = change.split(' ').next().unwrap_or_default();
            !needs_restart.iter().any(|needed| needed == path)
        });
        self.book.adopt(&live.policy.accounts());
        self.live.store(Arc::clone(&live));
        // Its thresholds may be others.
        self.breaker.settled();
        seen.in_force = print.clone();
        Reloaded {
            changes,
            live,
            applied: true,
            warnings: reading.warnings,
            needs_restart,
        }
    }

    fn say(&self, by: &Trigger, reloaded: &Reloaded) {
        self.metrics.reloaded(reloaded.outcome());
        let result = if reloaded.applied { "ok" } else { "unchanged" };
        self.tell(by, result, reloaded.warnings.len());
        if reloaded.applied {
            for warning in &reloaded.warnings {
                tracing::warn!("{warning}");
            }
            let policy = &reloaded.live.policy;
            tracing::info!(
                reload.by = %by,
                agents = policy.agents.len(),
                keys = policy.keys.len(),
                changes = summary(&reloaded.changes),
                "configuration reloaded"
            );
        } else {
            tracing::info!(reload.by = %by, "configuration read again, and nothing has changed");
        }
        if !reloaded.needs_restart.is_empty() {
            let settings = reloaded.needs_restart.join(", ");
            tracing::warn!(reload.by = %by, "needs a restart: {settings}");
        }
    }

    fn tell(&self, by: &Trigger, result: &'static str, problems: usize) {
        let by = match by {
            Trigger::Admin(_) => "api",
            Trigger::Hangup => "signal",
            Trigger::Watch => "watch",
        };
        self.feed.tell(|| {
            Kind::Reload(Event {
                result,
                by,
                problems,
            })
        });
    }

    fn complain(&self, by: &Trigger, problems: &Problems) {
        self.metrics.reloaded(Outcome::Refused);
        self.tell(by, "invalid", problems.errors());
        for problem in &problems.0 {
            if problem.is_error() {
                tracing::error!("{problem}");
            } else {
                tracing::warn!("{problem}");
            }
        }
        tracing::error!(
            reload.by = %by,
            errors = problems.errors(),
            "reload refused, and nothing was changed"
        );
    }
}

fn unreadable() -> Problems {
    Problem::of_file(
        "reload",
        "the files could not be made sense of: a defect in Weir",
    )
    .into()
}

fn summary(changes: &[String]) -> String {
    let shown = &changes[..changes.len().min(NAMED)];
    match (shown.join("; "), changes.len() - shown.len()) {
        (none, 0) if none.is_empty() => "none in the policy".to_owned(),
        (all, 0) => all,
        (some, more) => format!("{some}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_names_so_many_changes_and_counts_the_rest() {
        let changes: Vec<String> = (0..25).map(|number| format!("c{number}")).collect();
        assert_eq!(summary(&changes[..2]), "c0; c1");
        assert!(summary(&changes).ends_with("c19; and 5 more"));
        assert_eq!(summary(&[]), "none in the policy");
    }
}
