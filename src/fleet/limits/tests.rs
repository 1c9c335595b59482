use super::super::connect::{Connection, Connector};
use super::super::server::{RedisServer, until};
use super::words::{self, Counted, Ending};
use super::*;
use crate::limit::{Kind, Limiter, Limits, Permit};
use crate::settings::Server;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};

const NONE: Limits = Limits {
    requests_per_minute: None,
    tokens_per_minute: None,
    concurrent_requests: None,
    request_bytes: None,
};

fn places(most: u64) -> Limits {
    Limits {
        concurrent_requests: Some(most),
        ..NONE
    }
}

fn requests(most: u64) -> Limits {
    Limits {
        requests_per_minute: Some(most),
        ..NONE
    }
}

fn of(id: &str, limits: Limits) -> [Claim<'_>; 1] {
    [Claim {
        kind: Kind::Agent,
        id,
        limits,
    }]
}

fn settings(server: &RedisServer) -> settings::Redis {
    settings::Redis {
        orphan_after: Duration::from_secs(1),
        connect_timeout: Duration::from_millis(300),
        ..settings::Redis::at(Server::Tcp(settings::Node {
            host: "127.0.0.1".to_owned(),
            port: server.port(),
        }))
    }
}

/// A gateway that is connected.
fn gateway(server: &RedisServer) -> SharedLimits {
    let settings = settings(server);
    let connector = Connector::new(&settings).unwrap();
    let limits = SharedLimits::start(connector, &settings).unwrap();
    until("a connection", || limits.is_up().then_some(()));
    limits
}

fn is_in(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::In(..))
}

fn out(verdict: Verdict) -> (&'static str, u64) {
    match verdict {
        Verdict::Out(exceeded) => (exceeded.what, exceeded.limit),
        other => panic!("{other:?}"),
    }
}

/// Asks until the request is let in.
async fn let_in(limits: &SharedLimits, claims: &[Claim<'_>], tokens: u64) -> Box<dyn Place> {
    loop {
        if let Verdict::In(place, _) = limits.admit(claims, tokens).await {
            return place;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Asks until the request is refused; a broken connection may be found first.
async fn refused(limits: &SharedLimits, claims: &[Claim<'_>]) -> (&'static str, u64) {
    loop {
        match limits.admit(claims, 0).await {
            Verdict::Away(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            verdict => return out(verdict),
        }
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(Duration::from_secs(30), future).await;
    ended.expect("it never happened")
}

#[tokio::test]
async fn two_gateways_have_one_count_of_places_and_requests() {
    let server = RedisServer::start();
    let (one, two) = (gateway(&server), gateway(&server));
    let claims = of("a", places(2));
    let first = one.admit(&claims, 0).await;
    let second = two.admit(&claims, 0).await;
    assert!(is_in(&first) && is_in(&second));
    assert_eq!(out(one.admit(&claims, 0).await), ("concurrent requests", 2));
    assert_eq!(out(two.admit(&claims, 0).await), ("concurrent requests", 2));
    drop(first);
    let third = within(let_in(&two, &claims, 0)).await;
    drop((second, third));

    let claims = of("b", requests(3));
    for (gateway, left) in [(&one, 2), (&two, 1), (&one, 0)] {
        match gateway.admit(&claims, 0).await {
            Verdict::In(_, standing) => {
                let standing = standing.requests.unwrap();
                assert_eq!((standing.limit, standing.remaining), (3, left));
                assert!((1..=60).contains(&standing.reset));
            }
            other => panic!("{other:?}"),
        }
    }
    match two.admit(&claims, 0).await {
        Verdict::Out(exceeded) => assert!((1..=60).contains(&exceeded.retry_after)),
        other => panic!("{other:?}"),
    }
    // Its own name is its own count.
    assert!(is_in(&two.admit(&of("c", requests(3)), 0).await));
}

#[tokio::test]
async fn tokens_are_corrected_and_what_is_cancelled_does_not_count() {
    let server = RedisServer::start();
    let one = gateway(&server);
    let claims = of(
        "a",
        Limits {
            tokens_per_minute: Some(100),
            ..NONE
        },
    );
    let Verdict::In(mut place, _) = one.admit(&claims, 80).await else {
        panic!("it fits");
    };
    assert_eq!(out(one.admit(&claims, 30).await), ("tokens", 100));
    place.correct(10);
    place.correct(99);
    drop(place);
    let mut place = within(let_in(&one, &claims, 90)).await;
    assert_eq!(out(one.admit(&claims, 1).await), ("tokens", 100));
    place.cancel();
    place.correct(90);
    drop(place);
    drop(within(let_in(&one, &claims, 90)).await);
}

#[tokio::test]
async fn a_request_that_is_given_up_while_it_waits_is_not_counted() {
    let server = RedisServer::start();
    let one = gateway(&server);
    let claims = of("a", places(1));
    server.pause();
    {
        let asking = one.admit(&claims, 0);
        tokio::pin!(asking);
        // Asked, and the answer not waited for.
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(asking.as_mut().poll(context).is_ready())
        });
        assert!(!polled.await);
    }
    server.resume();
    drop(within(let_in(&one, &claims, 0)).await);
}

#[tokio::test]
async fn places_outlast_their_lapse_while_their_gateway_lives_and_not_for_long_after() {
    let server = RedisServer::start();
    let (one, two) = (gateway(&server), gateway(&server));
    let claims = of("a", places(1));
    let held = within(let_in(&one, &claims, 0)).await;
    let key = format!("{}o:agent:a", one.link.prefix);
    let lapses = || {
        let scores = server.command(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]);
        scores.list()[1].parse::<f64>().unwrap()
    };
    let first = lapses();
    until("a place that was renewed twice", || {
        (lapses() >= first + 2.0 * 300.0).then_some(())
    });
    assert_eq!(out(two.admit(&claims, 0).await).1, 1);
    // As a crash would: nothing more is said.
    one.link.stop_at_once();
    drop(within(let_in(&two, &claims, 0)).await);
    drop(held);
}

#[tokio::test]
async fn places_are_claimed_again_after_redis_has_forgotten_them() {
    let mut server = RedisServer::start();
    let (one, two) = (gateway(&server), gateway(&server));
    let claims = of("a", places(1));
    let held = within(let_in(&one, &claims, 0)).await;
    // Functions are gone, too.
    server.restart_empty();
    until("both are back", || {
        let known = server.command(&["EXISTS", &format!("{}o:agent:a", one.link.prefix)]);
        (known.number() == 1).then_some(())
    });
    assert_eq!(within(refused(&two, &claims)).await.1, 1);
    drop(held);
    drop(within(let_in(&two, &claims, 0)).await);
}

#[tokio::test]
async fn nobody_waits_for_a_redis_that_is_away_and_it_is_asked_again_when_it_is_back() {
    let server = RedisServer::start();
    let one = gateway(&server);
    let claims = of("a", places(1));
    server.pause();
    let mut away = Vec::new();
    for _ in 0..200 {
        // Only the first waits for an answer, else this would take most of a minute.
        match within(one.admit(&claims, 0)).await {
            Verdict::Away(place) => away.push(place),
            other => panic!("{other:?}"),
        }
    }
    server.resume();
    // Those in flight are all claimed: whoever comes next has to wait for them.
    until("all places are claimed", || {
        let key = format!("{}o:agent:a", one.link.prefix);
        (server.command(&["ZCARD", &key]).number() == 200).then_some(())
    });
    assert_eq!(within(refused(&one, &claims)).await.1, 1);
    drop(away);
    drop(within(let_in(&one, &claims, 0)).await);
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_as_good_as_away() {
    let master = RedisServer::start();
    let replica = RedisServer::replica_of(&master);
    let settings = settings(&replica);
    let limits = SharedLimits::start(Connector::new(&settings).unwrap(), &settings).unwrap();
    let claims = of("a", places(1));
    for _ in 0..3 {
        let verdict = within(limits.admit(&claims, 0)).await;
        assert!(matches!(verdict, Verdict::Away(_)), "{verdict:?}");
    }
    replica.promote();
    drop(within(let_in(&limits, &claims, 0)).await);
    // One that became a replica later has the functions, and cannot count all the same.
    let port = master.port().to_string();
    replica.command(&["REPLICAOF", "127.0.0.1", &port]);
    for _ in 0..20 {
        let verdict = within(limits.admit(&claims, 0)).await;
        assert!(matches!(verdict, Verdict::Away(_)), "{verdict:?}");
    }
}

#[tokio::test]
async fn what_has_no_limit_that_counts_is_not_asked_for() {
    let server = RedisServer::start();
    let one = gateway(&server);
    let size = Limits {
        request_bytes: Some(1),
        ..NONE
    };
    let before = server.command(&["INFO", "commandstats"]).text();
    for limits in [NONE, size] {
        let verdict = one.admit(&of("a", limits), 0).await;
        assert!(matches!(verdict, Verdict::Nothing), "{verdict:?}");
    }
    assert!(!before.contains("zadd") && server.command(&["DBSIZE"]).number() == 0);
}

#[tokio::test]
async fn a_permit_takes_the_word_of_both() {
    let server = RedisServer::start();
    let (one, two) = (gateway(&server), gateway(&server));
    let (here, there) = (Limiter::default(), Limiter::default());
    let claims = of("a", requests(2));
    drop(here.admit_among(&one, &claims, 0, 100).await.unwrap());
    let permit = there.admit_among(&two, &claims, 0, 100).await.unwrap();
    let permit = permit.unwrap();
    assert!(!permit.is_alone());
    let left = permit.standing(100).requests.unwrap().remaining;
    assert_eq!(left, 0, "of both gateways' two");
    let exceeded = here.admit_among(&one, &claims, 0, 100).await.unwrap_err();
    assert_eq!((exceeded.what, exceeded.limit), ("requests", 2));
    // What the fleet refuses does not count here, and what is taken back counts nowhere.
    permit.cancel();
    within(async {
        while here.admit_among(&one, &claims, 0, 100).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert!(here.admit(claims, 0, 100).is_err(), "two were let in here");

    server.pause();
    let alone = there.admit_among(&two, &claims, 0, 100).await.unwrap();
    assert!(alone.unwrap().is_alone());
    server.resume();
}

/// One step of a story that is told to both.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Look,
    Admit(usize, u64),
    Leave(usize, Option<u64>, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0_u64..45).prop_map(Step::Pass),
        Just(Step::Look),
        (0_usize..3, 0_u64..150).prop_map(|(set, tokens)| Step::Admit(set, tokens)),
        (0_usize..3, 0_u64..150).prop_map(|(set, tokens)| Step::Admit(set, tokens)),
        (0_usize..4, proptest::option::of(0_u64..200), any::<bool>())
            .prop_map(|(at, used, cancelled)| Step::Leave(at, used, cancelled)),
    ];
    proptest::collection::vec(step, 1..60)
}

fn limits() -> impl Strategy<Value = Limits> {
    let maybe = |range: std::ops::Range<u64>| proptest::option::of(range);
    (maybe(1..6), maybe(1..300), maybe(1..4)).prop_map(|(requests, tokens, places)| Limits {
        requests_per_minute: requests,
        tokens_per_minute: tokens,
        concurrent_requests: places,
        request_bytes: None,
    })
}

/// The functions of Redis, asked with a clock of the test's own.
struct Asked<'a> {
    connection: Connection,
    runtime: &'a tokio::runtime::Runtime,
    prefix: String,
}

impl Asked<'_> {
    fn call<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> T {
        let reply = self
            .runtime
            .block_on(command.query_async(&mut self.connection));
        reply.unwrap()
    }
}

#[test]
fn redis_decides_as_the_limiter_of_one_process_does() {
    static CASES: AtomicU32 = AtomicU32::new(0);
    let server = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let connector = Connector::new(&settings(&server)).unwrap();
    let mut connection = runtime.block_on(connector.connect()).unwrap();
    let mut load = redis::cmd("FUNCTION");
    load.arg("LOAD").arg(words::LIBRARY);
    runtime.block_on(load.exec_async(&mut connection)).unwrap();
    let config = ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |((key, agent, user) in (limits(), limits(), limits()), steps in steps())| {
        let case = CASES.fetch_add(1, Ordering::Relaxed);
        let mut asked = Asked {
            connection: connection.clone(),
            runtime: &runtime,
            prefix: format!("weir:{{{case}}}:l:"),
        };
        let all = [(Kind::User, user), (Kind::Key, key), (Kind::Agent, agent)];
        let all = all.map(|(kind, limits)| Claim { kind, id: "x", limits });
        compare(&mut asked, &all, &steps)?;
    });
}

fn compare(asked: &mut Asked<'_>, all: &[Claim<'_>], steps: &[Step]) -> Result<(), TestCaseError> {
    let lapse = Duration::from_secs(100_000);
    let local = Limiter::default();
    let mut open: Vec<(Option<Permit>, String, Counted)> = Vec::new();
    let mut now = 1_000_u64;
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Pass(seconds) => now += seconds,
            Step::Look => {
                let claims = words::in_order(all);
                let reply: Vec<String> =
                    asked.call(&words::standing(&asked.prefix, Some(now), &claims));
                let there = words::admitted(&reply, &claims);
                // In the same order, because the first of equals is shown.
                let here = local.standing(claims.iter().map(|claim| **claim), now);
                prop_assert_eq!(there, Some(Ok(here)), "step {} at {}", number, now);
            }
            Step::Admit(set, tokens) => {
                // All three, or the last two, or the last.
                let claims = &all[*set..];
                let here = local.admit(claims.iter().copied(), *tokens, now);
                let ordered = words::in_order(claims);
                if ordered.is_empty() {
                    prop_assert!(here.unwrap().is_none());
                    continue;
                }
                let permit = number.to_string();
                let command =
                    words::admit(&asked.prefix, Some(now), lapse, &permit, *tokens, &ordered);
                let reply: Vec<String> = asked.call(&command);
                let there = words::admitted(&reply, &ordered);
                let there = there.ok_or_else(|| TestCaseError::fail(format!("{reply:?}")))?;
                let expected = match &here {
                    Ok(permit) => Ok(permit.as_ref().unwrap().standing(now)),
                    Err(exceeded) => Err(*exceeded),
                };
                prop_assert_eq!(there, expected, "step {} at {}", number, now);
                if let Ok(taken) = here {
                    let again: Vec<String> = asked.call(&command);
                    prop_assert_eq!(again.first().map(String::as_str), Some("in"));
                    open.push((taken, permit, Counted::new(&ordered, *tokens)));
                }
            }
            Step::Leave(at, used, cancelled) => {
                if *at >= open.len() {
                    continue;
                }
                let (permit, name, counted) = open.remove(*at);
                let mut permit = permit.unwrap();
                let ending = match used {
                    _ if *cancelled => Ending::Cancelled,
                    Some(used) => Ending::Used(*used),
                    None => Ending::Kept,
                };
                match ending {
                    Ending::Cancelled => permit.cancel(),
                    Ending::Used(used) => permit.correct(used),
                    Ending::Kept => drop(permit),
                }
                // Said twice, it counts once.
                for _ in 0..2 {
                    let ended = [(name.clone(), ending, &counted)].into_iter();
                    let command = words::leave(&asked.prefix, Some(now), ended);
                    let _: String = asked.call(&command);
                }
            }
        }
    }
    Ok(())
}
