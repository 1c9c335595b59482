//! What the spend log of a gateway says.

use super::Gateway;
use crate::support::eventually;
use serde_json::Value;
use std::path::PathBuf;
use weir::money::Nanos;

impl Gateway {
    /// The spend log of the first process in a directory.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.directory.join("spend.jsonl")
    }

    /// Every record of every segment.
    pub(crate) fn log(&self) -> Vec<Value> {
        let path = self.log_path();
        let mut files: Vec<_> = std::fs::read_dir(path.parent().expect("in a directory"))
            .expect("readable")
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
            .collect();
        files.sort();
        let text: String = files
            .iter()
            .map(|file| std::fs::read_to_string(file).expect("readable"))
            .collect();
        text.lines()
            // The last line may be half written.
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The settlements of an agent: log records without an `event`.
    pub(crate) fn bills(&self, agent: &str) -> Vec<Value> {
        let mut records = self.log();
        records.retain(|record| record.get("event").is_none() && record["agent_id"] == agent);
        records
    }

    /// The records of one `event` kind.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let mut records = self.log();
        records.retain(|record| record["event"] == kind);
        records
    }

    /// What an agent was ever billed, exactly, by the log; resets and pushes are not looked at.
    pub(crate) fn spend(&self, agent: &str) -> Nanos {
        let nanos = self
            .bills(agent)
            .iter()
            .map(|bill| bill["nano_usd"].as_i64().expect("nano_usd"))
            .sum();
        Nanos(nanos)
    }

    /// The settlements of an agent, once there are `count`.
    pub(crate) async fn billed(&self, agent: &str, count: usize) -> Vec<Value> {
        eventually(&format!("bill {count} of {agent}"), || {
            Some(self.bills(agent)).filter(|bills| bills.len() >= count)
        })
        .await
    }

    /// The only settlement of an agent, once it is there.
    pub(crate) async fn bill(&self, agent: &str) -> Value {
        let mut bills = self.billed(agent, 1).await;
        assert_eq!(bills.len(), 1, "one bill of {agent}");
        bills.remove(0)
    }
}
