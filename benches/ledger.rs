//! What one reservation costs: reserve and settle, in memory alone, with the spend log, and shared
//! through Redis.
//!
//! Each round is one whole request: an atomic hold on an agent's and the gateway's account, an INTENT
//! record, a charge, a SETTLE record. The log is on the file system of the temporary directory. Redis
//! is one on this machine, which is started here and keeps an append-only file; without a
//! `redis-server` on the path that part is left out. What Redis adds to a request, and what it costs
//! there, is measured by `benches/e2e/run.py --only redis`.

use criterion::{Criterion, criterion_group, criterion_main};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use weir::budget::period::{Period, PeriodKind};
use weir::budget::tier::Threshold;
use weir::budget::warn::Levels;
use weir::budget::{AccountSpec, Offer};
use weir::fleet::Fleet;
use weir::fleet::connect::Connector;
use weir::identity::{AccountId, AgentId, AttemptId, KeyId, RequestId};
use weir::ledger::log::{Clock, LogOptions, identity};
use weir::ledger::memory::Memory;
use weir::ledger::{Ask, Book, Hold, Ledger};
use weir::money::{MAX_AMOUNT, Nanos, Picos};
use weir::settings::{Node, Redis, Server};
use weir::usage::{Bill, CostSource, Usage};

/// 2025-01-31 12:00 UTC.
const NOON: u64 = 1_738_324_800_000;

/// Everything an [`Ask`] borrows.
struct Request {
    agent: AgentId,
    key: KeyId,
    accounts: Vec<Arc<AccountSpec>>,
    thresholds: Vec<Threshold>,
    offers: Vec<Offer>,
    models: Vec<Vec<String>>,
}

impl Request {
    fn new() -> Self {
        let agent = AgentId::new("researcher").expect("a plain name");
        let account = |id, kind| {
            Arc::new(AccountSpec {
                id,
                limit: MAX_AMOUNT,
                opening: Nanos::ZERO,
                warn: Levels::default(),
                hard: true,
                period: Period {
                    kind,
                    zone: jiff::tz::TimeZone::UTC,
                },
            })
        };
        let offer = Offer {
            fixed: Nanos(2_500_000),
            per_token: Picos(10_000_000),
            wanted: 1_000,
            minimum: 64,
            unpriced: None,
        };
        let models = || {
            vec![
                "openai/gpt-4o".to_owned(),
                "anthropic/claude-sonnet-4".to_owned(),
            ]
        };
        Self {
            accounts: vec![
                account(AccountId::agent(&agent), PeriodKind::Monthly),
                account(AccountId::gateway(), PeriodKind::Daily),
            ],
            agent,
            key: KeyId::new("k_live_1").expect("a plain name"),
            thresholds: vec![Threshold(800_000_000), Threshold(300_000_000), Threshold(0)],
            offers: vec![offer.clone(), offer.clone(), offer],
            models: vec![models(), models(), models()],
        }
    }

    fn ask(&self) -> Ask<'_> {
        Ask {
            id: AttemptId {
                request: RequestId::new(NOON),
                number: 1,
            },
            agent: &self.agent,
            key: Some(&self.key),
            user: None,
            accounts: &self.accounts,
            thresholds: &self.thresholds,
            tier: None,
            offers: &self.offers,
            models: &self.models,
            now_millis: NOON,
        }
    }
}

fn bill(prices: &Arc<str>) -> Bill {
    Bill {
        // Free, so that no number of rounds exhausts the limit.
        cost: Nanos::ZERO,
        source: CostSource::Provider,
        usage: Usage {
            input: 1_200,
            cache_read: 1_000,
            output: 350,
            ..Usage::default()
        },
        model: "openai/gpt-4o".to_owned(),
        prices: Arc::clone(prices),
    }
}

/// A directory of its own, gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("weir-bench-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A Redis of its own, gone afterwards.
struct RedisServer {
    process: Child,
    port: u16,
    _directory: Scratch,
}

impl RedisServer {
    /// `None` where there is no `redis-server` on the path.
    fn start() -> Option<Self> {
        let directory = Scratch::new("redis");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "yes"])
            .current_dir(&directory.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let process = process.ok()?;
        let server = Self {
            process,
            port,
            _directory: directory,
        };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(server)
    }

    /// A part in the state there for the gateway with that log.
    fn join(&self, options: &LogOptions) -> Arc<Fleet> {
        let node = Node {
            host: "127.0.0.1".to_owned(),
            port: self.port,
        };
        let settings = Redis::at(Server::Tcp(node));
        let connector = Connector::new(&settings).expect("plain settings");
        let id = identity(&options.path).expect("a directory of its own");
        Arc::new(Fleet::new(
            connector,
            id,
            &options.path,
            settings,
            Clock::default(),
        ))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
}

async fn round(book: &Arc<Book>, request: &Request, prices: &Arc<str>) {
    let reservation = book.reserve(request.ask()).await.expect("within limits");
    reservation.settle(bill(prices));
}

fn ledger(criterion: &mut Criterion) {
    let (runtime, request) = (runtime(), Request::new());
    let prices: Arc<str> = "2025-01-31".into();

    let memory = Memory::new();
    criterion.bench_function("ledger/memory", |bencher| {
        bencher.iter(|| {
            let ask = request.ask();
            runtime.block_on(async {
                let grant = memory.reserve(&ask).await.expect("within limits");
                memory.settle(&Hold::new(&ask, &grant), Nanos::ZERO).await
            })
        });
    });

    let scratch = Scratch::new("one");
    let options = LogOptions::at(scratch.0.join("spend.jsonl"));
    let (book, _) = Book::open(options, &request.accounts).expect("a new log");
    criterion.bench_function("ledger/log", |bencher| {
        bencher.iter(|| runtime.block_on(round(&book, &request, &prices)));
    });

    let at_once = 32;
    criterion.bench_function("ledger/log, 32 requests at once", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let mut held = Vec::with_capacity(at_once);
                let local = tokio::task::LocalSet::new();
                let tasks: Vec<_> = (0..at_once)
                    .map(|_| {
                        let (book, request) = (Arc::clone(&book), Request::new());
                        local.spawn_local(async move { book.reserve(request.ask()).await })
                    })
                    .collect();
                local.await;
                for task in tasks {
                    held.push(task.await.expect("no panic").expect("within limits"));
                }
                for reservation in held {
                    reservation.settle(bill(&prices));
                }
            });
        });
    });
}

fn shared(criterion: &mut Criterion) {
    let Some(server) = RedisServer::start() else {
        eprintln!("ledger/redis: left out, because there is no redis-server on the path");
        return;
    };
    let (runtime, request) = (runtime(), Request::new());
    let prices: Arc<str> = "2025-01-31".into();
    let scratch = Scratch::new("shared");
    let options = LogOptions::at(scratch.0.join("spend.jsonl"));
    let fleet = server.join(&options);
    let part = Arc::clone(&fleet);
    let (book, _) = Book::open_sharing(options, &request.accounts, Some(part)).expect("a new log");
    while !fleet.figures().up {
        std::thread::sleep(Duration::from_millis(5));
    }
    criterion.bench_function("ledger/redis", |bencher| {
        bencher.iter(|| runtime.block_on(round(&book, &request, &prices)));
    });
}

criterion_group!(benches, ledger, shared);
criterion_main!(benches);
