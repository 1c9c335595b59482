//! What a comparison came to, for people and for machines.

use super::Report;
use crate::fleet::reconcile::{Findings, Row, Unmatched};
use crate::identity::AccountId;
use crate::ledger::log::Summary;
use crate::money::Nanos;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// Sums over all logs.
#[derive(Default)]
struct Sums {
    files: usize,
    records: u64,
    settlements: u64,
    cost: Nanos,
    unresolved: u64,
    unresolved_cost: Nanos,
}

impl Sums {
    fn of(report: &Report) -> Self {
        let mut sums = Self::default();
        for Summary {
            segments,
            records,
            settlements,
            cost,
            unresolved,
            unresolved_cost,
            ..
        } in report.logs.iter().map(|log| &log.summary)
        {
            sums.files += segments;
            sums.records += records;
            sums.settlements += settlements;
            sums.cost += *cost;
            sums.unresolved += unresolved;
            sums.unresolved_cost += *unresolved_cost;
        }
        sums
    }
}

fn apart(unmatched: &[Unmatched]) -> Nanos {
    unmatched.iter().map(Unmatched::apart).sum()
}

/// One JSON object.
pub(super) fn json(report: &Report) -> String {
    let sums = Sums::of(report);
    let logs = report.logs.iter().enumerate().map(|(at, log)| {
        let statement = report.statements.get(at);
        json!({
            "path": log.path.display().to_string(),
            "id": statement.and_then(|statement| statement.id.clone()),
            "chains": statement.map(|statement| statement.chains.len()),
            "files": log.summary.segments,
            "records": log.summary.records,
            "torn_bytes": log.summary.torn_bytes,
        })
    });
    let mut all = json!({
        "agrees": report.agrees(),
        "logs": logs.collect::<Vec<_>>(),
        "records": sums.records,
        "settled": counted(sums.settlements, sums.cost),
        "unresolved": counted(sums.unresolved, sums.unresolved_cost),
        "redis": null,
    });
    if let Some((redis, kept, findings)) = &report.shared {
        all["redis"] = json!({
            "place": redis.place(),
            "tenant": redis.tenant,
            "state": kept.phase.names().0,
            "gateways": kept.gateways.len(),
        });
        all["accounts"] = findings.rows.iter().map(row).collect();
        all["holds"] = json!({
            "logs": sum(findings.open),
            "redis": sum(findings.kept),
            "lost": sum(findings.lost),
            "leased": sum(findings.leased),
        });
        let items: Vec<Value> = findings.unmatched.iter().map(unmatched).collect();
        all["unmatched"] = counted(count(items.len()), apart(&findings.unmatched));
        all["unmatched"]["items"] = items.into();
        let oldest = findings.oldest(report.now_millis).map(|(one, age)| {
            let id = one.attempt.map(|id| id.to_string());
            json!({"id": id, "agent": one.agent, "age_ms": age})
        });
        all["oldest"] = oldest.unwrap_or_default();
        let stranger = |(gateway, stranger): (&String, &crate::fleet::reconcile::Stranger)| json!({"gateway": gateway, "heard_ms": stranger.heard_ms, "lost": stranger.lost});
        all["not_given"] = findings.strangers.iter().map(stranger).collect();
    }
    format!("{all}\n")
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn counted(count: u64, amount: Nanos) -> Value {
    json!({"count": count, "nano_usd": amount.0, "usd": amount.to_string()})
}

fn sum((number, amount): (usize, Nanos)) -> Value {
    counted(count(number), amount)
}

fn row(row: &Row) -> Value {
    json!({
        "account": row.account,
        "window": row.label.window,
        "turn": row.label.turn,
        "period": row.period,
        "logs_nano_usd": row.logs.0,
        "redis_nano_usd": row.redis.0,
        "difference_nano_usd": (row.redis - row.logs).0,
        "others_nano_usd": row.others.0,
        "lost_nano_usd": row.lost.0,
        "posted_nano_usd": row.posted.map(|amount| amount.0),
        "pending_nano_usd": row.pending.map(|amount| amount.0),
    })
}

fn unmatched(one: &Unmatched) -> Value {
    let mut value = json!({
        "kind": one.kind.names().0,
        "expected_nano_usd": one.expected.0,
        "found_nano_usd": one.found.0,
    });
    let mut put = |name: &str, text: Option<Value>| {
        if let Some(text) = text {
            value[name] = text;
        }
    };
    put("account", one.account.as_ref().map(|id| id.as_str().into()));
    put("window", one.label.map(|label| label.window.into()));
    put("turn", one.label.map(|label| label.turn.into()));
    put("gateway", one.gateway.clone().map(Value::from));
    put("id", one.attempt.map(|id| id.to_string().into()));
    put("agent", one.agent.clone().map(Value::from));
    value
}

/// Lines for people.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{}", text.trim_end());
    };
    let sums = Sums::of(report);
    for (at, log) in report.logs.iter().enumerate() {
        let statement = report.statements.get(at);
        let id = statement.and_then(|statement| statement.id.as_deref());
        let chains = statement.map_or(0, |statement| statement.chains.len());
        line(format!(
            "log        {}, {}: {}",
            log.path.display(),
            id.unwrap_or("never shared"),
            of(chains, "chain")
        ));
    }
    line(format!(
        "records    {} in {}",
        sums.records,
        of(sums.files, "file")
    ));
    line(format!(
        "settled    {} attempts, ${}",
        sums.settlements, sums.cost
    ));
    line(format!(
        "unresolved {} of them, ${}",
        sums.unresolved, sums.unresolved_cost
    ));
    let Some((redis, kept, findings)) = &report.shared else {
        return out;
    };
    line(format!(
        "redis      {}, tenant {}: {}; {}",
        redis.place(),
        redis.tenant,
        kept.phase.names().1,
        of(kept.gateways.len(), "gateway")
    ));
    let ((open, held), (there, kept), (lost, charged)) =
        (findings.open, findings.kept, findings.lost);
    line(format!(
        "held       {open} by the logs, ${held}; {there} in Redis, ${kept}"
    ));
    if let (leases @ 1.., left) = findings.leased {
        line(format!("leased     {leases} in Redis, ${left}"));
    }
    line(format!(
        "lost       {lost} charged in Redis because their gateway was gone, ${charged}"
    ));
    line(String::new());
    for row in table(findings) {
        line(row);
    }
    for (gateway, stranger) in &findings.strangers {
        let heard = stranger
            .heard_ms
            .map_or("not there any more".into(), |age| {
                format!("heard {} ago", age_of(age))
            });
        let lost = of(stranger.lost, "hold");
        line(format!(
            "not given  the log of {gateway} {heard}, {lost} lost"
        ));
    }
    let all = &findings.unmatched;
    line(format!("unmatched  {}, ${}", all.len(), apart(all)));
    for one in all {
        line(format!("  {}", described(one, report.now_millis)));
    }
    if let Some((one, age)) = findings.oldest(report.now_millis) {
        let id = one.attempt.map(|id| id.to_string()).unwrap_or_default();
        let agent = one.agent.as_deref().unwrap_or("nobody");
        line(format!("oldest     {id} of {agent}, {} old", age_of(age)));
    }
    out
}

fn of(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn described(one: &Unmatched, now_millis: u64) -> String {
    let mut text = one.kind.names().1.to_owned();
    let _ = write!(text, ": expected ${}, found ${};", one.expected, one.found);
    if let Some(id) = one.attempt {
        let age = age_of(id.request.age(now_millis));
        let _ = write!(text, " {id}, {age} old;");
    }
    for name in [
        one.agent.as_deref(),
        one.account.as_ref().map(AccountId::as_str),
    ] {
        let _ = name.map(|name| write!(text, " {name};"));
    }
    if let Some(label) = one.label {
        let _ = write!(text, " {};", time(label.window));
    }
    if let Some(gateway) = &one.gateway {
        let _ = write!(text, " {gateway};");
    }
    text.trim_end_matches(';').to_owned()
}

/// The accounts in columns, amounts to the right.
fn table(findings: &Findings) -> Vec<String> {
    let dollars = |amount: Nanos| format!("${amount}");
    let maybe = |amount: Option<Nanos>| amount.map_or("-".to_owned(), dollars);
    let head = [
        "account",
        "window",
        "logs",
        "redis",
        "difference",
        "others",
        "lost",
        "posted",
        "held",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(findings.rows.iter().map(|row| {
        vec![
            row.account.to_string(),
            time(row.label.window),
            dollars(row.logs),
            dollars(row.redis),
            dollars(row.redis - row.logs),
            dollars(row.others),
            dollars(row.lost),
            maybe(row.posted),
            maybe(row.pending),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let padded = |row: &Vec<String>| {
        let cell = |(column, text): (usize, &String)| {
            let width = widths[column];
            if column < 2 {
                format!("{text:<width$}")
            } else {
                format!("{text:>width$}")
            }
        };
        row.iter()
            .enumerate()
            .map(cell)
            .collect::<Vec<_>>()
            .join("  ")
    };
    let mut lines: Vec<String> = rows.iter().map(padded).collect();
    lines.push(String::new());
    lines
}

/// The start of a window; for accounts without periods there is none.
fn time(window: i64) -> String {
    match jiff::Timestamp::from_second(window) {
        Ok(start) if window != 0 => start.to_string(),
        _ => "-".to_owned(),
    }
}

fn age_of(millis: u64) -> String {
    let whole = Duration::from_millis(millis).as_secs();
    match whole {
        0..60 => format!("{whole}s"),
        60..3_600 => format!("{}m {}s", whole / 60, whole % 60),
        _ => format!("{}h {}m", whole / 3_600, whole / 60 % 60),
    }
}
