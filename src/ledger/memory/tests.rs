use super::*;
use crate::ledger::contract::{self, NOON, Request, account, attempt, fixed};
use proptest::prelude::*;

#[tokio::test]
async fn memory_fulfils_the_contract() {
    contract::all(Memory::new).await;
}

#[test]
fn an_account_named_twice_is_held_once() {
    let memory = Memory::new();
    let spec = Arc::new(account("agent:a", 100));
    let request = Request::new(&[&spec, &spec], fixed(60));
    let ask = request.ask(attempt(), NOON);
    memory
        .reserve_with(&ask, None, |_, _, _| {}, |_| Ok(()))
        .unwrap();
    assert_eq!(memory.look(&spec, NOON).pending, Nanos(60));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn threads_racing_for_a_hard_limit_never_pass_it(
        limits in (1_i64..2_000, 1_i64..2_000),
        costs in proptest::collection::vec(1_i64..200, 4..40),
    ) {
        let memory = Memory::new();
        let agent = Arc::new(account("agent:a", limits.0));
        let gateway = Arc::new(account("gateway", limits.1));
        let within = |spec: &AccountSpec| memory.look(spec, NOON).remaining() >= Nanos::ZERO;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (memory, agent, gateway, costs) = (&memory, &agent, &gateway, &costs);
                scope.spawn(move || {
                    for (turn, cost) in costs.iter().enumerate() {
                        // Opposite orders: locks are taken in one order all the same.
                        let mut accounts = [agent, gateway];
                        accounts.rotate_left((turn + thread) % 2);
                        let request = Request::new(&accounts, fixed(*cost));
                        let ask = request.ask(attempt(), NOON);
                        let reserved = memory.reserve_with(&ask, None, |_, _, _| {}, |_| Ok(()));
                        assert!(within(agent) && within(gateway));
                        if let Ok((grant, ())) = reserved {
                            let hold = Hold::new(&ask, &grant);
                            let actual = (turn % 3 > 0).then_some(Nanos(cost / 2));
                            memory.end_with(&hold, actual, |_, _| ());
                        }
                    }
                });
            }
        });
        prop_assert!(within(&agent) && within(&gateway));
        prop_assert_eq!(memory.count(), 0);
    }
}
