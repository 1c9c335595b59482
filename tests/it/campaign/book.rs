//! An independent reader of the spend log: what it says of every attempt and every account.
//!
//! Shares nothing with the gateway's own replay but the format of `docs/accounting.md`. Segments are
//! read in their order as one sequence; what a rotated segment repeats (header, footer) is skipped.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use weir::money::Nanos;

#[derive(Deserialize)]
struct Row {
    seq: u64,
    event: Option<String>,
    id: Option<String>,
    account: Option<String>,
    held: Option<i64>,
    #[serde(default)]
    accounts: Vec<(String, i64)>,
    nano_usd: Option<i64>,
    cost: Option<Box<RawValue>>,
    source: Option<String>,
    total: Option<i64>,
    spent: Option<i64>,
    opening: Option<i64>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Charged so many nano-dollars, found in this way.
    Charged(i64, String),
    /// Given back.
    Voided,
}

/// One attempt: what was held for it, and every end that the log gives it.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempt {
    pub(super) held: i64,
    pub(super) accounts: Vec<String>,
    pub(super) ends: Vec<End>,
}

impl Attempt {
    /// What was charged; nothing while it is open or when it was voided.
    pub(super) fn charged(&self) -> i64 {
        let amounts = self.ends.iter().map(|end| match end {
            End::Charged(nanos, _) => *nanos,
            End::Voided => 0,
        });
        amounts.sum()
    }

    /// Where the amount came from.
    pub(super) fn source(&self) -> &str {
        match self.ends.first() {
            Some(End::Charged(_, source)) => source,
            Some(End::Voided) => "void",
            None => "open",
        }
    }
}

/// One account as the records leave it.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) posted: i64,
    pub(super) pending: i64,
    /// The limit that was pushed last.
    pub(super) pushed: Option<i64>,
    /// The most that was posted and pending together, after any record.
    pub(super) peak: i64,
}

/// What a log says.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// By request id; by attempt id for further attempts.
    pub(super) attempts: BTreeMap<String, Attempt>,
    /// By account id.
    pub(super) accounts: BTreeMap<String, Account>,
    pub(super) records: u64,
    pub(super) segments: usize,
    pub(super) resets: u64,
    pub(super) pushes: u64,
    /// What must never be, in words.
    pub(super) wrong: Vec<String>,
}

impl Book {
    /// Reads every segment in a directory. `limits` are those of the policy, by account.
    pub(super) fn read(directory: &Path, limits: &[(&str, i64)]) -> Self {
        let mut rows = Vec::new();
        let mut book = Self::default();
        for entry in std::fs::read_dir(directory).expect("readable") {
            let path = entry.expect("readable").path();
            if path.extension().is_none_or(|kind| kind != "jsonl") {
                continue;
            }
            book.segments += 1;
            let text = std::fs::read_to_string(&path).expect("readable");
            for line in text.lines() {
                let row: Row = serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("{}: {error}: {line}", path.display()));
                rows.push(row);
            }
        }
        rows.sort_by_key(|row| row.seq);
        let limits = limits
            .iter()
            .map(|(account, limit)| ((*account).to_owned(), *limit))
            .collect();
        let mut last = 0;
        for row in rows {
            if row.seq != last + 1 {
                let seq = row.seq;
                book.wrong.push(format!("record {seq} follows {last}"));
            }
            last = row.seq;
            book.records += 1;
            book.apply(row, &limits);
        }
        book
    }

    fn apply(&mut self, row: Row, limits: &BTreeMap<String, i64>) {
        let id = row.id.as_deref().unwrap_or_default();
        let request = id.strip_suffix("-1").unwrap_or(id);
        let request = request.to_owned();
        match row.event.as_deref() {
            Some("intent") => self.intent(&request, &row, limits),
            Some("void") => self.end(&request, &End::Voided),
            None => {
                let nanos = row.nano_usd.expect("a settlement has nano_usd");
                let cost = row.cost.as_ref().map(|cost| cost.get().to_owned());
                if cost.as_deref() != Some(Nanos(nanos).to_string().as_str()) {
                    self.wrong
                        .push(format!("{id}: {nanos} nano-dollars, but cost is {cost:?}"));
                }
                self.end(
                    &request,
                    &End::Charged(nanos, row.source.unwrap_or_default()),
                );
            }
            Some("reset") => {
                self.resets += 1;
                self.account(&row.account).posted = 0;
            }
            Some("budget") => {
                self.pushes += 1;
                let account = self.account(&row.account);
                account.pushed = row.total.or(account.pushed);
                account.posted = row.spent.unwrap_or(account.posted);
            }
            Some("open") => {
                self.account(&row.account).posted += row.opening.unwrap_or(0);
            }
            Some("limit") => self.account(&row.account).pushed = None,
            Some("header" | "footer" | "checkpoint" | "period") => {}
            Some(other) => self.wrong.push(format!("unknown event {other}")),
        }
    }

    fn account(&mut self, name: &Option<String>) -> &mut Account {
        let name = name.clone().expect("the record names an account");
        self.accounts.entry(name).or_default()
    }

    fn intent(&mut self, request: &str, row: &Row, limits: &BTreeMap<String, i64>) {
        let held = row.held.unwrap_or(0);
        for (name, _) in &row.accounts {
            let account = self.accounts.entry(name.clone()).or_default();
            account.pending += held;
            let sum = account.posted + account.pending;
            account.peak = account.peak.max(sum);
            if let Some(limit) = limits.get(name)
                && sum > account.pushed.unwrap_or(*limit)
                && held > 0
            {
                let limit = account.pushed.unwrap_or(*limit);
                self.wrong.push(format!(
                    "{request}: held {held}, so that {name} is at {sum} of {limit}"
                ));
            }
        }
        let attempt = Attempt {
            held,
            accounts: row.accounts.iter().map(|(name, _)| name.clone()).collect(),
            ends: Vec::new(),
        };
        if self.attempts.insert(request.to_owned(), attempt).is_some() {
            self.wrong.push(format!("{request}: two intents"));
        }
    }

    fn end(&mut self, request: &str, end: &End) {
        let Some(attempt) = self.attempts.get_mut(request) else {
            self.wrong
                .push(format!("{request}: {end:?} without intent"));
            return;
        };
        attempt.ends.push(end.clone());
        if attempt.ends.len() > 1 {
            let ends = &attempt.ends;
            self.wrong.push(format!("{request}: ended twice, {ends:?}"));
            return;
        }
        for name in &attempt.accounts {
            let account = self.accounts.entry(name.clone()).or_default();
            account.pending -= attempt.held;
            if let End::Charged(nanos, _) = end {
                account.posted += *nanos;
                account.peak = account.peak.max(account.posted + account.pending);
            }
        }
    }

    /// The account of an agent, or `gateway`.
    pub(super) fn of(&self, account: &str) -> Account {
        self.accounts.get(account).cloned().unwrap_or_default()
    }

    /// What was ever charged to each agent's account.
    pub(super) fn charged(&self) -> BTreeMap<&str, i64> {
        let mut totals = BTreeMap::new();
        for attempt in self.attempts.values().filter(|a| a.source() != "void") {
            let agent = attempt.accounts.first().map_or("", String::as_str);
            *totals.entry(agent).or_default() += attempt.charged();
        }
        totals
    }

    /// Attempts without an end.
    pub(super) fn open(&self) -> Vec<&str> {
        let open = self.attempts.iter().filter(|(_, a)| a.ends.is_empty());
        open.map(|(request, _)| request.as_str()).collect()
    }

    /// Fails when the log says what must never be.
    pub(super) fn sound(&self) {
        let shown = self.wrong.iter().take(10).collect::<Vec<_>>();
        assert!(shown.is_empty(), "{} faults: {shown:#?}", self.wrong.len());
    }
}
