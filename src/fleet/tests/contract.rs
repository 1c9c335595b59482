//! The shared ledger does what the one in memory does.

use super::*;
use crate::budget::Offer;
use crate::budget::period::PeriodKind;
use crate::budget::tier::Threshold;
use crate::ledger::contract::{self, DAY, Request, account, attempt, every};
use crate::ledger::memory::Memory;
use crate::money::Picos;
use proptest::prelude::*;

#[tokio::test]
async fn redis_fulfils_the_contract() {
    let server = RedisServer::start();
    contract::all(|| Shelf::open(settings(&server, &tenant()))).await;
}

#[tokio::test]
async fn a_cluster_and_a_server_with_users_fulfil_the_contract() {
    let cluster = super::super::server::Cluster::start();
    let text = format!("stores: {{redis: {{cluster: {}}}}}", cluster.yaml());
    let of_cluster = settings::parse("weir.yaml", &text, &Environment::default());
    let of_cluster = settings::Redis {
        timeout: Duration::from_secs(2),
        ..of_cluster.unwrap().stores.redis.unwrap()
    };
    contract::all(|| {
        Shelf::open(settings::Redis {
            tenant: tenant(),
            ..of_cluster.clone()
        })
    })
    .await;
    let server = RedisServer::with_acl("weir", "secret");
    contract::all(|| Shelf::open(settings(&server, &tenant()))).await;
}

/// One step of two stores that have to agree.
#[derive(Clone, Debug)]
enum Step {
    Reserve {
        hours: u64,
        tier: Option<usize>,
        accounts: (bool, bool),
        fixed: i64,
        rate: u64,
        wanted: u64,
        minimum: u64,
    },
    Settle(usize, i64),
    Void(usize),
    Push(Option<i64>, Option<i64>),
    Reset,
    Period(PeriodKind),
    Limit(i64),
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![
        0_i64..2_000,
        0_i64..9_007_199_254_740_992,
        Just(9_007_199_254_740_992),
    ]
}

/// Sums of all that are held stay below 2^53 nano-dollars, as those of any real budget do.
fn cost() -> impl Strategy<Value = i64> {
    prop_oneof![0_i64..2_000, 0_i64..70_368_744_177_664]
}

fn step() -> impl Strategy<Value = Step> {
    let reserve = (
        0_u64..3,
        prop_oneof![Just(None), (0_usize..3).prop_map(Some)],
        any::<(bool, bool)>(),
        cost(),
        prop_oneof![0_u64..3_000_000, 0_u64..100_000_000],
        prop_oneof![0_u64..5_000, Just(1_000_000_000)],
        0_u64..64,
    );
    let reserve =
        reserve.prop_map(
            |(hours, tier, accounts, fixed, rate, wanted, minimum)| Step::Reserve {
                hours,
                tier,
                accounts,
                fixed,
                rate,
                wanted,
                minimum: minimum.min(wanted),
            },
        );
    let kind = prop_oneof![
        Just(PeriodKind::Hourly),
        Just(PeriodKind::Daily),
        Just(PeriodKind::Monthly),
        Just(PeriodKind::None),
    ];
    prop_oneof![
        6 => reserve,
        5 => (any::<usize>(), cost()).prop_map(|(which, cost)| Step::Settle(which, cost)),
        2 => any::<usize>().prop_map(Step::Void),
        1 => (proptest::option::of(amount()), proptest::option::of(amount()))
            .prop_map(|(total, spent)| Step::Push(total, spent)),
        1 => Just(Step::Reset),
        1 => kind.prop_map(Step::Period),
        1 => amount().prop_map(Step::Limit),
    ]
}

struct Pair<'a> {
    memory: &'a Memory,
    redis: &'a Shelf,
    agent: AccountSpec,
    team: AccountSpec,
    now: u64,
    open: Vec<(Hold, Hold)>,
}

impl Pair<'_> {
    async fn take(&mut self, step: &Step) {
        match step {
            Step::Reserve {
                hours,
                tier,
                accounts,
                fixed,
                rate,
                wanted,
                minimum,
            } => {
                self.now += hours * 3_600_000;
                self.agent.hard = accounts.0;
                self.team.hard = accounts.1;
                let (agent, team) = (Arc::new(self.agent.clone()), Arc::new(self.team.clone()));
                let offer = |share: i64| Offer {
                    fixed: Nanos(*fixed / share),
                    per_token: Picos(u128::from(*rate)),
                    wanted: *wanted,
                    minimum: *minimum,
                    unpriced: None,
                };
                let mut request = Request::new(&[&agent, &team], offer(1));
                request.offers = vec![offer(1), offer(3), offer(9)];
                request.thresholds =
                    vec![Threshold(777_777_777), Threshold(333_333_333), Threshold(0)];
                let mut ask = request.ask(attempt(), self.now);
                ask.tier = *tier;
                let expected = self.memory.reserve(&ask).await;
                let found = self.redis.reserve(&ask).await;
                assert_eq!(found, expected, "{step:?}");
                if let (Ok(expected), Ok(found)) = (expected, found) {
                    self.open
                        .push((Hold::new(&ask, &expected), Hold::new(&ask, &found)));
                }
            }
            Step::Settle(which, cost) => {
                if let Some((memory, redis)) = self.one(*which) {
                    self.memory.settle(&memory, Nanos(*cost)).await;
                    self.redis.settle(&redis, Nanos(*cost)).await;
                }
            }
            Step::Void(which) => {
                if let Some((memory, redis)) = self.one(*which) {
                    self.memory.void(&memory).await;
                    self.redis.void(&redis).await;
                }
            }
            Step::Push(None, None) => {}
            Step::Push(total, spent) => {
                // A book takes the limit over where a push leaves it alone.
                let limit = self.memory.balance(&self.agent, self.now).await.limit;
                let push = Push {
                    total: Some(total.map_or(limit, Nanos)),
                    spent: spent.map(Nanos),
                };
                self.memory.push(&self.agent, push, self.now).await;
                self.redis.push(&self.agent, push, self.now).await;
            }
            Step::Reset => {
                let expected = self.memory.reset(&self.agent, self.now).await;
                assert_eq!(self.redis.reset(&self.agent, self.now).await, expected);
            }
            Step::Period(kind) => {
                self.agent.period = every(*kind, "Europe/Berlin");
            }
            Step::Limit(limit) => self.agent.limit = Nanos(*limit),
        }
        for spec in [&self.agent, &self.team] {
            let expected = self.memory.balance(spec, self.now).await;
            let found = self.redis.balance(spec, self.now).await;
            assert_eq!(found, expected, "{} after {step:?}", spec.id);
        }
    }

    fn one(&mut self, which: usize) -> Option<(Hold, Hold)> {
        let count = self.open.len();
        (count > 0).then(|| self.open.swap_remove(which % count))
    }
}

#[test]
fn any_history_comes_to_the_same_in_memory_and_in_redis() {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 64,
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let histories = (amount(), amount(), proptest::collection::vec(step(), 1..40));
    let outcome = runner.run(&histories, |(agent, team, steps)| {
        runtime.block_on(async {
            let (memory, redis) = (Memory::new(), Shelf::open(settings(&server, &tenant())));
            let mut pair = Pair {
                memory: &memory,
                redis: &redis,
                agent: AccountSpec {
                    opening: Nanos(7),
                    ..account("agent:a", agent)
                },
                team: AccountSpec {
                    period: every(PeriodKind::Daily, "UTC"),
                    ..account("team:t", team)
                },
                now: NOON - DAY,
                open: Vec::new(),
            };
            for step in &steps {
                pair.take(step).await;
            }
        });
        Ok(())
    });
    outcome.unwrap();
}
