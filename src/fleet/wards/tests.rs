use super::super::server::{RedisServer, until};
use super::*;
use crate::guard::quarantine::{Lift, Quarantined, Strike, Struck};
use crate::settings::QuarantineRules;
use crate::settings::Server;
use std::sync::atomic::AtomicU64;

const START: u64 = 1_800_000_000_000;
const HOUR: u64 = 3_600_000;

/// A gateway's part, with a clock of its own.
struct Part {
    wards: Arc<Wards>,
    cells: Arc<Cells>,
    now: Arc<AtomicU64>,
}

impl Part {
    fn of(server: &RedisServer) -> Self {
        let settings = settings::Redis {
            connect_timeout: Duration::from_secs(2),
            ..settings::Redis::at(Server::Tcp(settings::Node {
                host: "127.0.0.1".to_owned(),
                port: server.port(),
            }))
        };
        let now = Arc::new(AtomicU64::new(START));
        let clock = Arc::clone(&now);
        let clock = Clock::new(move || clock.load(Ordering::Relaxed));
        let cells = Arc::new(Cells::new(QuarantineRules::default()));
        let connector = Connector::new(&settings).unwrap();
        let heard: Heard = Box::new(|_, _| {});
        let wards = Wards::start(connector, &settings, Arc::clone(&cells), clock, heard).unwrap();
        Self { wards, cells, now }
    }

    fn up(server: &RedisServer) -> Self {
        let part = Self::of(server);
        until("a connection", || part.wards.is_up().then_some(()));
        part
    }

    fn at(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    async fn strike(&self, who: &Who) -> Struck {
        self.strike_as(who, fastrand::u64(..)).await
    }

    async fn strike_as(&self, who: &Who, id: u64) -> Struck {
        let (alone, record) = self.cells.strike(who, Strike { at: self.at(), id });
        let Some(sum) = self.wards.add(who, &record).await else {
            return alone;
        };
        self.cells.merge(who, &sum, self.at());
        self.cells
            .struck(&self.cells.record(who).unwrap(), self.at())
    }

    fn held(&self, who: &Who) -> Option<Quarantined> {
        self.cells.check(who, self.at())
    }
}

#[tokio::test]
async fn strikes_at_several_gateways_are_counted_together() {
    let server = RedisServer::start();
    let (one, two, three) = (Part::up(&server), Part::up(&server), Part::up(&server));
    let who = Who::of_caller("a");
    assert_eq!(one.strike(&who).await, Struck::Counted(1));
    assert_eq!(two.strike(&who).await, Struck::Counted(2));
    let hour = Quarantined::Temporary { remaining: HOUR };
    assert_eq!(one.strike(&who).await, Struck::Quarantined(hour));
    // Those who were not asked hear of it.
    until("news at both", || {
        (two.held(&who) == Some(hour) && three.held(&who) == Some(hour)).then_some(())
    });
    two.cells.lift(&who, Lift::Temporary, two.at());
    two.wards.tell_later(&who);
    until("that it was lifted", || {
        (one.held(&who).is_none() && three.held(&who).is_none()).then_some(())
    });
}

#[tokio::test]
async fn one_text_at_several_gateways_is_one_strike_and_the_later_one_stays() {
    let server = RedisServer::start();
    let (one, two, three) = (Part::up(&server), Part::up(&server), Part::up(&server));
    let who = Who::of_caller("a");
    for part in [&one, &two, &three] {
        assert_eq!(part.strike_as(&who, 7).await, Struck::Counted(1));
    }
    two.now.fetch_add(24 * HOUR, Ordering::Relaxed);
    assert_eq!(two.strike_as(&who, 7).await, Struck::Counted(1));
    // A gateway that has not heard of it tells what it knows: that must not hide it.
    one.strike_as(&who, 8).await;
    let late = Part::up(&server);
    until("both strikes", || {
        let record = late.cells.record(&who)?;
        let later = |strike: &Strike| strike.id == 7 && strike.at == START + 24 * HOUR;
        let strikes = record.strikes();
        (strikes.len() == 2 && strikes.iter().any(later)).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_strikes_at_the_same_time_the_last_one_sees_all() {
    let server = RedisServer::start();
    let parts: Vec<Arc<Part>> = (0..3).map(|_| Arc::new(Part::up(&server))).collect();
    for round in 0..20 {
        let who = Who::of_caller(&format!("caller {round}"));
        let strikes = parts.iter().map(|part| {
            let part = Arc::clone(part);
            tokio::spawn(async move { part.strike(&who).await })
        });
        let mut held = 0;
        for strike in strikes.collect::<Vec<_>>() {
            held += usize::from(matches!(strike.await.unwrap(), Struck::Quarantined(_)));
        }
        assert!(held >= 1, "nobody saw all three");
    }
}

#[tokio::test]
async fn what_redis_forgets_or_missed_is_told_again() {
    let mut server = RedisServer::start();
    let one = Part::up(&server);
    let who = Who::of_caller("a");
    for _ in 0..3 {
        one.strike(&who).await;
    }
    server.flush_all();
    let two = Part::up(&server);
    until("what was forgotten", || two.held(&who));

    server.kill();
    until("that Redis is away", || (!one.wards.is_up()).then_some(()));
    let other = Who::of_caller("b");
    for _ in 0..3 {
        one.strike(&other).await;
    }
    assert!(one.held(&other).is_some() && two.held(&other).is_none());
    server.restart();
    until("what was missed", || two.held(&other));
}

#[tokio::test]
async fn gateways_agree_on_the_token_of_whoever_was_first() {
    let server = RedisServer::start();
    let (one, two) = (Part::up(&server), Part::up(&server));
    let keep = Duration::from_secs(60);
    let some = |text: &str| Some(text.to_owned());
    let said = one.wards.token("s:2", "s:1", "", keep).await;
    assert_eq!(said, Some([None, None]));
    one.wards.token("s:1", "s:0", "before", keep).await;
    let said = one.wards.token("s:2", "s:1", "mine", keep).await;
    assert_eq!(said, Some([some("mine"), some("before")]));
    let said = two.wards.token("s:2", "s:1", "another", keep).await;
    assert_eq!(said, Some([some("mine"), some("before")]));
}
