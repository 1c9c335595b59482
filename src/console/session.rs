//! One console as long as it stays the same: what is said to it and what its answers do.

use super::answer::{self, Answer, Step, Wanted};
use super::client::Client;
use super::kept::{Home, Kept};
use super::message::{self, Message};
use super::spend::Spend;
use super::{BATCH, Failure};
use crate::event::{Change, Kind};
use crate::gateway::Gateway;
use crate::identity::AccountId;
use crate::ledger::log::tail::Position;
use crate::policy::Agent;
use crate::policy::console::Console;
use std::collections::BTreeMap;

/// What is known of it.
pub(super) struct Session {
    client: Client,
    gateway_id: String,
    kept: Kept,
    spend: Option<Spend>,
    /// Revisions of budgets that are not for this gateway to apply, so that each is told once.
    ignored: BTreeMap<AccountId, String>,
}

impl Session {
    pub(super) fn begin(console: &Console, home: &Home) -> Result<Self, Failure> {
        let id = console.gateway_id.as_deref().unwrap_or(home.gateway_id());
        Ok(Self {
            client: Client::new(console, id)?,
            gateway_id: id.to_owned(),
            kept: home.load(&console.url.text, id),
            spend: None,
            ignored: BTreeMap::new(),
        })
    }

    /// One call, and whether the next one is due at once.
    pub(super) async fn exchange(
        &mut self,
        gateway: &Gateway,
        console: &Console,
        home: &Home,
        with_budgets: bool,
    ) -> Result<bool, Failure> {
        let before = self.kept.clone();
        let cursor = before.cursor.clone();
        let spend = match (&cursor, self.spend.take()) {
            (None, _) => None,
            (Some(_), Some(spend)) => Some(spend),
            (Some(cursor), None) => Some(Spend::after(home.log(), cursor.clone())),
        };
        if let Some(spend) = spend {
            let spend = self
                .spend
                .insert(spend.look(BATCH).await.map_err(Failure::Here)?);
            gateway.metrics.console_backlog(spend.waiting());
        }
        let budgets = if with_budgets {
            self.states(gateway).await
        } else {
            Vec::new()
        };
        let batch = self.spend.as_ref().map_or(&[][..], Spend::batch);
        let more = batch.len() == BATCH;
        let next = self.spend.as_ref().map(Spend::next);
        let body = Message {
            gateway_id: &self.gateway_id,
            version: env!("CARGO_PKG_VERSION"),
            sent_at: jiff::Timestamp::now().to_string(),
            cursor: cursor.as_ref(),
            next: next.as_ref(),
            spend: batch.iter().map(message::row).collect(),
            more,
            budgets,
        };
        let answer = self.client.send(body.to_json()).await?;
        let answer = Answer::parse(&answer)?;
        let stored = next.as_ref() == Some(&answer.acknowledged);
        self.acknowledge(answer.acknowledged, stored);
        if let Some(spend) = &self.spend {
            gateway.metrics.console_backlog(spend.waiting());
        }
        let applied = self.apply(gateway, &console.url.text, answer.budgets).await;
        if self.kept != before
            && let Err(error) = home.save(&self.kept)
        {
            tracing::warn!(%error, "what the console has cannot be kept; it will be asked after a restart");
        }
        applied?;
        Ok(cursor.is_none() || (stored && more))
    }

    /// Goes on where the console says it stands.
    fn acknowledge(&mut self, acknowledged: Position, stored: bool) {
        if stored {
            if let Some(spend) = &mut self.spend {
                spend.delivered();
            }
        } else if self.kept.cursor.as_ref() != Some(&acknowledged) {
            if self.kept.cursor.is_some() {
                tracing::info!(
                    "the console stands at another place of the spend log; it gets what follows there"
                );
            }
            self.spend = None;
        }
        self.kept.cursor = Some(acknowledged);
    }

    /// The state of every account.
    async fn states(&self, gateway: &Gateway) -> Vec<message::State> {
        let live = gateway.live();
        let mut states = Vec::new();
        for spec in live.policy.accounts() {
            let balance = gateway.book.balance(&spec).await;
            let agent = agent_of(&spec.id).and_then(|name| live.policy.agents.get(name));
            let revision = self.kept.revisions.get(&spec.id).map(String::as_str);
            states.push(message::state(
                &spec,
                &balance,
                agent.map(|a| &**a),
                revision,
            ));
        }
        states
    }

    /// Lets new revisions of budgets act.
    async fn apply(
        &mut self,
        gateway: &Gateway,
        url: &str,
        budgets: Vec<Wanted>,
    ) -> Result<(), Failure> {
        let live = gateway.live();
        let by = format!("console {url}");
        let told = std::mem::take(&mut self.ignored);
        for wanted in budgets {
            let agent = agent_of(&wanted.account).and_then(|name| live.policy.agents.get(name));
            let Some(agent) = agent.filter(|agent| answer::may_set(agent)) else {
                if told.get(&wanted.account) != Some(&wanted.revision) {
                    ignore(agent.map(|agent| &**agent));
                }
                self.ignored.insert(wanted.account, wanted.revision);
                continue;
            };
            if self.kept.revisions.get(&wanted.account) == Some(&wanted.revision) {
                continue;
            }
            let balance = gateway.book.balance(&agent.account).await;
            for step in answer::steps(&wanted, &balance) {
                let recorded = match step {
                    Step::Limit(total) => {
                        let pushed = gateway.book.push(&agent.account, Some(total), None, &by);
                        pushed.await.map(|_| ())
                    }
                    Step::Raise(floor, window) => {
                        let raised = gateway.book.raise(&agent.account, floor, window, &by);
                        raised.map(|_| ())
                    }
                    Step::Keep => {
                        tracing::warn!(
                            agent.id = %agent.id,
                            "the console counts less spend than there was, or that of another period; the gateway's own figure stays"
                        );
                        Ok(())
                    }
                };
                recorded.map_err(|error| {
                    Failure::Here(format!("a budget cannot be recorded: {error}"))
                })?;
            }
            tracing::info!(agent.id = %agent.id, "budget taken from the console");
            gateway.feed.tell(|| {
                Kind::Change(Change {
                    action: "budget.push",
                    subject: agent.account.id.as_str().into(),
                    by: by.as_str().into(),
                })
            });
            self.kept.revisions.insert(wanted.account, wanted.revision);
        }
        Ok(())
    }
}

/// Says that a budget is not the console's to set. Names are this gateway's own: an answer is not
/// quoted.
fn ignore(agent: Option<&Agent>) {
    match agent {
        Some(agent) => tracing::warn!(
            agent.id = %agent.id,
            "the console sent a budget for an agent whose budget_source is local; it was ignored"
        ),
        None => {
            tracing::warn!("the console sent a budget for no agent of the policy; it was ignored")
        }
    }
}

/// The agent's name in an account's.
fn agent_of(account: &AccountId) -> Option<&str> {
    account.as_str().strip_prefix("agent:")
}
