//! Several gateways over one Redis: the cap that they share holds through races, kills and outages.

mod kill;
mod outage;
mod race;

use super::book::Book;
use super::{must_not_have_panicked, verified};
use crate::support::redis::RedisServer;
use crate::support::{Gateway, Purse};
use std::path::Path;

/// The tenant of a server that nobody else uses.
const TENANT: &str = "prove";

/// What all logs together say of every attempt, after each of them was found sound.
fn read(directories: &[&Path], limits: &[(&str, i64)]) -> Book {
    let mut all = Book::default();
    for directory in directories {
        must_not_have_panicked(directory);
        let book = Book::read(directory, limits);
        book.sound();
        let open = book.open();
        assert!(
            open.is_empty(),
            "never ended: {:?}",
            &open[..open.len().min(5)]
        );
        verified(&directory.join("spend.jsonl"));
        all.records += book.records;
        for (id, attempt) in book.attempts {
            let again = all.attempts.insert(id, attempt);
            assert!(again.is_none(), "two gateways recorded one attempt");
        }
        for (id, account) in book.accounts {
            all.accounts.entry(id).or_default().posted += account.posted;
        }
    }
    all
}

/// What every campaign ends with: nothing is held any more, and in Redis stands for every account what
/// the logs of all gateways together charged it. `limits` are those of hard accounts.
async fn aftermath(gateways: &[&Gateway], server: &RedisServer, limits: &[(&str, i64)]) -> Book {
    for gateway in gateways {
        gateway.quiet().await;
    }
    let purse = Purse::of(server, TENANT);
    purse.agrees(gateways).await;
    let directories: Vec<&Path> = gateways
        .iter()
        .map(|gateway| gateway.directory.as_path())
        .collect();
    let book = read(&directories, limits);
    for (account, limit) in limits {
        let posted = book.of(account).posted;
        assert!(
            posted <= *limit,
            "{account} was charged {posted} of {limit}"
        );
        if let Some(standing) = purse.account(account) {
            assert_eq!(
                (standing.posted, standing.pending),
                (posted, 0),
                "{account}"
            );
        }
    }
    book
}
