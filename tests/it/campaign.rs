//! Long campaigns against the promises: the cap, the bill, the log, and that nothing brings the
//! gateway down.
//!
//! Each campaign is one test. In the ordinary test run it is short; with `PROVE` set it is as long as
//! `make prove` says. Numbers of their own:
//!
//! | variable | short, long | what it says |
//! |---|---|---|
//! | `WEIR_PROVE_SEED` | 1, the clock | what all chance comes from; printed by every campaign |
//! | `WEIR_PROVE_RACERS` | 500, 10,000 | requests that race for one dollar at once |
//! | `WEIR_PROVE_RACES` | 2, 20 | such races, each with a new gateway |
//! | `WEIR_PROVE_CONNECTIONS` | 10,000 | the most connections they use, fewer where files are limited |
//! | `WEIR_PROVE_KILLS` | 3, 100 | kills in the middle of mixed load |
//! | `WEIR_PROVE_RELOADS` | 40, 1,000 | reloads under load, every tenth invalid |
//! | `WEIR_PROVE_SPLITS` | 1, 10 | random ways to cut each recorded answer |
//! | `WEIR_PROVE_FLEET_RACERS` | 300, 10,000 | requests that race for one dollar at three gateways |
//! | `WEIR_PROVE_FLEET_RACES` | 1, 20 | such races, each with new gateways and a new Redis |
//! | `WEIR_PROVE_FLEET_KILLS` | 3, 50 | rounds in which gateways are killed under such a race |
//! | `WEIR_PROVE_OUTAGES` | 4, 20 | times that Redis is killed, emptied or paused under load |
//! | `WEIR_PROVE_AWAY` | 3, 300 | seconds that PostgreSQL is away under load |
//! | `WEIR_PROVE_CROWD` | 150, 3,000 | requests that stay open meanwhile |
//! | `WEIR_PROVE_FUZZ` | 2,000, 200,000 | hostile requests and hostile answers |
//! | `WEIR_PROVE_VALUES` | 20, 1,000 | secrets and personal data at every split in every encoding |
//! | `WEIR_PROVE_SCREENED` | 120, 10,000 | streams with and without them through the gateway |
//! | `WEIR_PROVE_EVENTS` | 20,000, 1,000,000 | events that everybody who watches must get |
//! | `WEIR_PROVE_ALTERED` | 5,000, 100,000 | signed answers that are altered, replayed, reordered, cut off |
//! | `WEIR_PROVE_UPGRADES` | 2, 20 | restarts without downtime, under load |
//! | `WEIR_PROVE_RATE` | 60 (outages 300), 300 | requests a second meanwhile |
//! | `WEIR_PROVE_SIMILAR` | 2,000, 100,000 | requests among which similar ones are looked for |
//! | `WEIR_PROVE_STREAM` | 3, 60 | seconds that each stream takes meanwhile |
//!
//! Every campaign ends with [`aftermath`]: the log is read by an independent reader, `weir spend
//! verify` calls it sound, and a new start gives the same spend.

mod book;
mod events;
mod fleet;
mod found;
mod fuzz;
mod insights;
mod kill;
mod mutation;
mod race;
mod reload;
mod replay;
mod screen;
mod signature;
mod similar;
mod upgrade;
mod upstream;
mod wire;

use crate::support::Gateway;
use book::Book;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use weir::money::Nanos;

/// A number of a campaign: its own variable, else the long form when `PROVE` is set.
#[expect(
    clippy::disallowed_methods,
    reason = "these are the settings of tests, not of the gateway"
)]
fn knob(name: &str, short: u64, long: u64) -> u64 {
    let name = format!("WEIR_PROVE_{name}");
    match std::env::var(&name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {text}")),
        Err(_) if std::env::var("PROVE").is_ok() => long,
        Err(_) => short,
    }
}

/// What all chance of a campaign comes from.
fn seed() -> u64 {
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    knob("SEED", 1, clock.as_secs())
}

/// Chance for one part of a campaign, so that parts do not disturb each other's.
fn chance(seed: u64, part: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ part)
}

/// How many connections this process may have open beside everything else it has.
fn connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|soft| soft.parse::<u64>().ok())
        .unwrap_or(1024);
    // The mock provider is in this process, too, with a connection for every request under way.
    let wanted = knob("CONNECTIONS", 10_000, 10_000);
    usize::try_from(wanted.min(files.saturating_sub(4000).max(files / 3))).unwrap_or(usize::MAX)
}

/// Dollars of an amount that the API gives with six decimals, in nano-dollars.
fn nanos(amount: &Value) -> i64 {
    let text = amount.to_string();
    let parsed = Nanos::parse_usd(&text);
    parsed.unwrap_or_else(|_| panic!("no amount: {text}")).0
}

/// Everything that any process of a gateway has written to its output.
fn said(directory: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|kind| kind == "log") {
            text += &String::from_utf8_lossy(&std::fs::read(&path).expect("readable"));
        }
    }
    text
}

fn must_not_have_panicked(directory: &Path) {
    let said = said(directory);
    let at = said.find("panicked");
    let shown = at.map(|at| said[at.saturating_sub(200)..].chars().take(2000));
    let shown = shown.map(Iterator::collect::<String>);
    assert!(shown.is_none(), "the gateway panicked: {shown:?}");
}

/// What `weir spend verify` says; it must call the log sound.
fn verified(log: &Path) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["spend", "verify"])
        .arg(log)
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "weir spend verify: {said}");
    said
}

/// What every campaign ends with: nothing is open, the log is sound, every account is what its records
/// add up to, and a start after a crash says the same. `limits` are the policy's, by account.
async fn aftermath(mut gateway: Gateway, limits: &[(&str, i64)]) -> (Gateway, Book) {
    gateway.quiet().await;
    let before = gateway.get("/api/spend").await.json();
    gateway.kill9();
    must_not_have_panicked(&gateway.directory);
    let book = Book::read(&gateway.directory, limits);
    book.sound();
    let open = book.open();
    assert!(
        open.is_empty(),
        "never ended: {:?}",
        &open[..open.len().min(5)]
    );
    for (agent, account) in before.as_object().expect("accounts by agent") {
        let posted = book.of(&format!("agent:{agent}")).posted;
        assert_eq!(
            account["budget_spent"],
            Value::from(Nanos(posted).as_usd_f64()),
            "{agent}: the records add up to {posted} nano-dollars"
        );
    }
    let said = verified(&gateway.log_path());
    for (account, total) in book.charged() {
        let (agent, amount) = (&account["agent:".len()..], format!("${}", Nanos(total)));
        let mut lines = said.lines().filter(|line| line.contains(agent));
        assert!(
            lines.any(|line| line.split_whitespace().any(|word| word == amount)),
            "{agent} was charged {amount}, but weir spend verify says: {said}"
        );
    }
    let gateway = gateway.again().await;
    let after = gateway.get("/api/spend").await.json();
    assert_eq!(before, after, "another start, another spend");
    verified(&gateway.log_path());
    (gateway, book)
}

/// The longest that one exchange with the gateway may take before it counts as hung.
const HUNG: Duration = Duration::from_secs(60);
