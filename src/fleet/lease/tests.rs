use super::*;
use crate::budget::period::PeriodKind;
use crate::ledger::contract::{NOON, Request, account, attempt, every, fixed};
use proptest::prelude::*;

fn leases() -> Leases {
    Leases::new(settings::Lease::default())
}

fn agent() -> Arc<AccountSpec> {
    Arc::new(account("agent:a", 1000))
}

fn answer(specs: &[Arc<AccountSpec>], held: i64, target: i64) -> Answer {
    let of = |spec: &Arc<AccountSpec>| {
        let window = spec.period.window(i64::try_from(NOON / 1000).unwrap());
        let balance = Balance {
            limit: spec.limit,
            posted: Nanos(100),
            pending: Nanos(held),
            period_start: window.start,
            period_end: window.end,
            pushed: false,
        };
        let moved = Moved {
            turn: 1,
            last: window.start,
            first: window.start,
            charged: Nanos::ZERO,
        };
        (balance, moved)
    };
    Answer {
        held: Nanos(held),
        target: Nanos(target),
        accounts: Some(specs.iter().map(of).collect()),
    }
}

/// Leases so much over the accounts, now.
fn lend(leases: &Leases, specs: &[Arc<AccountSpec>], held: i64) -> AttemptId {
    lend_at(leases, specs, held, Instant::now())
}

fn lend_at(leases: &Leases, specs: &[Arc<AccountSpec>], held: i64, at: Instant) -> AttemptId {
    leases.note(specs);
    let (wishes, _) = leases.round(at, NOON);
    let ids: Vec<AttemptId> = wishes.iter().map(|wish| wish.id).collect();
    let answers = wishes.iter().map(|wish| answer(&wish.specs, held, held));
    let answers = answers.collect();
    let (over, again) = leases.heard(wishes, answers, (at, NOON));
    assert!(over.is_empty() && !again);
    ids[0]
}

fn grant(leases: &Leases, specs: &[&Arc<AccountSpec>], cost: i64) -> Result<AttemptId, Denied> {
    let request = Request::new(specs, fixed(cost));
    let ask = request.ask(attempt(), NOON);
    leases.grant(&ask, |_| None).map(|granted| {
        assert_eq!(granted.grant.held, Nanos(cost));
        assert_eq!(granted.grant.windows.len(), specs.len());
        ask.id
    })
}

#[test]
fn grants_go_up_to_the_lease_and_what_was_not_needed_comes_back() {
    let (leases, spec) = (leases(), agent());
    assert!(grant(&leases, &[&spec], 1).is_err(), "nothing is leased");
    lend(&leases, &[Arc::clone(&spec)], 100);
    let first = grant(&leases, &[&spec], 60).unwrap();
    let second = grant(&leases, &[&spec], 40).unwrap();
    assert_eq!(
        grant(&leases, &[&spec], 1).unwrap_err(),
        Denied::Unavailable
    );
    assert_eq!(leases.ended(first, Some(Nanos(10))), None);
    assert_eq!(leases.ended(second, None), None);
    assert_eq!(leases.ended(second, None), None, "it counts once");
    assert!(grant(&leases, &[&spec], 91).is_err());
    assert!(grant(&leases, &[&spec], 90).is_ok());
    assert_eq!(leases.figures(), (1, Nanos::ZERO, 3));
}

#[test]
fn a_lease_is_for_its_own_accounts_as_they_were() {
    let (leases, spec) = (leases(), agent());
    let gateway = Arc::new(account("gateway", 5000));
    lend(&leases, &[Arc::clone(&spec), Arc::clone(&gateway)], 100);
    assert!(grant(&leases, &[&spec], 1).is_err());
    assert!(grant(&leases, &[&gateway, &spec], 1).is_err());
    let lower = Arc::new(AccountSpec {
        limit: Nanos(999),
        ..(*spec).clone()
    });
    assert!(grant(&leases, &[&lower, &gateway], 1).is_err());
    // Read anew, and the same.
    let again = Arc::new((*spec).clone());
    assert!(grant(&leases, &[&again, &gateway], 1).is_ok());
}

#[test]
fn a_lease_ends_by_either_clock_and_with_its_window() {
    let spec = Arc::new(AccountSpec {
        period: every(PeriodKind::Hourly, "UTC"),
        ..account("agent:a", 1000)
    });
    let leases = leases();
    let time = leases.terms.time;
    let granted_at = |now: u64| {
        let request = Request::new(&[&spec], fixed(1));
        leases.grant(&request.ask(attempt(), now), |_| None).is_ok()
    };
    lend(&leases, &[Arc::clone(&spec)], 100);
    let millis = u64::try_from(time.as_millis()).unwrap();
    assert!(granted_at(NOON) && granted_at(NOON + millis - 1));
    assert!(!granted_at(NOON + millis), "the machine slept");
    assert!(granted_at(NOON - 60_000), "a clock that went back");
    let end = NOON - NOON % 3_600_000 + 3_600_000;
    assert!(!granted_at(end), "another window");
    let (_, over) = leases.round(Instant::now(), NOON);
    assert!(over.is_empty(), "what was granted is open");
    let Some(before) = Instant::now().checked_sub(time) else {
        return;
    };
    lend_at(&leases, &[Arc::clone(&spec)], 100, before);
    assert!(!granted_at(NOON), "its time is over");
}

#[test]
fn a_lease_that_was_used_ends_after_the_last_of_its_grants() {
    let (leases, spec) = (leases(), agent());
    let first = lend(&leases, &[Arc::clone(&spec)], 100);
    let (one, two) = (
        grant(&leases, &[&spec], 10).unwrap(),
        grant(&leases, &[&spec], 10).unwrap(),
    );
    let (wishes, over) = leases.round(Instant::now(), NOON);
    assert!(over.is_empty() && wishes[0].id != first);
    assert_eq!(wishes[0].amount, Nanos::ZERO);
    assert!(leases.knows(first));
    assert!(grant(&leases, &[&spec], 1).is_err(), "it grants no more");
    assert_eq!(leases.ended(one, Some(Nanos(3))), None);
    assert_eq!(leases.ended(two, Some(Nanos(3))), Some(first));
    assert!(!leases.knows(first));
    // One whose grants have all ended is over at the next look.
    let second = lend(&leases, &[Arc::clone(&spec)], 100);
    let three = grant(&leases, &[&spec], 10).unwrap();
    assert_eq!(leases.ended(three, Some(Nanos(3))), None);
    let (_, over) = leases.round(Instant::now(), NOON);
    assert_eq!(over, [second]);
}

#[test]
fn a_lease_comes_down_here_before_it_does_in_redis() {
    let (leases, spec) = (leases(), agent());
    let id = lend(&leases, &[Arc::clone(&spec)], 100);
    let (wishes, _) = leases.round(Instant::now(), NOON);
    assert_eq!((wishes[0].id, wishes[0].amount), (id, Nanos(100)));
    let answers = vec![answer(&wishes[0].specs, 100, 30)];
    let now = (Instant::now(), NOON);
    let (over, again) = leases.heard(wishes, answers, now);
    assert!(over.is_empty() && again);
    assert!(grant(&leases, &[&spec], 31).is_err());
    let (wishes, _) = leases.round(Instant::now(), NOON);
    assert_eq!((wishes[0].id, wishes[0].amount), (id, Nanos(30)));
    let answers = vec![answer(&wishes[0].specs, 30, 0)];
    let (over, again) = leases.heard(wishes, answers, now);
    assert_eq!((over, again), (vec![id], true));
    assert!(grant(&leases, &[&spec], 1).is_err());
}

#[test]
fn what_is_told_of_a_lease_is_what_is_left_of_it() {
    let (leases, spec) = (leases(), agent());
    let soft = Arc::new(AccountSpec {
        hard: false,
        ..account("user:u", 10)
    });
    let id = lend(&leases, &[Arc::clone(&spec), Arc::clone(&soft)], 100);
    let one = grant(&leases, &[&spec, &soft], 30).unwrap();
    let two = grant(&leases, &[&spec, &soft], 20).unwrap();
    leases.ended(one, Some(Nanos(25)));
    leases.pause();
    assert!(grant(&leases, &[&spec, &soft], 1).is_err());
    let told = leases.testified(Instant::now());
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].id, told[0].held), (id, Nanos(55)));
    assert_eq!(told[0].accounts, [(spec.id.clone(), 0)]);
    // What stands in the log by itself comes back to nobody.
    assert_eq!(leases.ended(two, None), None);
    assert!(grant(&leases, &[&spec, &soft], 56).is_err());
    assert!(grant(&leases, &[&spec, &soft], 55).is_ok());
    leases.pause();
    assert!(leases.testified(Instant::now()).is_empty(), "all of it");
}

#[test]
fn a_gateway_that_goes_gives_everything_back() {
    let (leases, spec) = (leases(), agent());
    let id = lend(&leases, &[Arc::clone(&spec)], 100);
    assert_eq!(leases.close(), [id]);
    assert!(grant(&leases, &[&spec], 1).is_err());
    leases.note(&[spec]);
    assert!(!leases.due(Instant::now()));
    assert!(leases.round(Instant::now(), NOON).0.is_empty());
}

#[test]
fn wishes_that_nobody_answered_are_given_back_if_they_were_new() {
    let (leases, spec) = (leases(), agent());
    let gateway = Arc::new(account("gateway", 5000));
    let kept = lend(&leases, &[Arc::clone(&spec)], 100);
    leases.note(&[gateway]);
    let (wishes, _) = leases.round(Instant::now(), NOON);
    assert_eq!(wishes.len(), 2);
    let over = leases.unheard(&wishes);
    assert_eq!(over.len(), 1);
    assert!(!over.contains(&kept) && grant(&leases, &[&spec], 100).is_ok());
}

proptest! {
    /// However it goes, what is granted and not told of is covered by what Redis holds.
    #[test]
    fn nothing_is_granted_that_is_not_held(
        steps in proptest::collection::vec((0_u8..6, 0_i64..60, 0_i64..120), 1..60),
    ) {
        let (leases, spec) = (leases(), agent());
        let specs = [Arc::clone(&spec)];
        // What Redis holds for leases and for grants that it was told of, by id.
        let mut redis: HashMap<AttemptId, i64> = HashMap::new();
        let mut open: Vec<(AttemptId, i64)> = Vec::new();
        // Charged, and not said yet.
        let mut charged = 0;
        leases.note(&specs);
        for (what, cost, level) in steps {
            match what {
                0 | 1 => open.extend(grant(&leases, &[&spec], cost).map(|id| (id, cost))),
                2 if !open.is_empty() => {
                    let (id, held) = open.swap_remove(usize::try_from(cost).unwrap() % open.len());
                    if redis.remove(&id).is_none() {
                        charged += held.min(level);
                    }
                    let over = leases.ended(id, Some(Nanos(held.min(level))));
                    if let Some(lease) = over {
                        redis.remove(&lease);
                        charged = 0;
                    }
                }
                3 => {
                    // A round, with an answer or without one.
                    let (wishes, over) = leases.round(Instant::now(), NOON);
                    for lease in over {
                        redis.remove(&lease);
                    }
                    charged = 0;
                    let answers: Vec<Answer> = wishes.iter().map(|wish| {
                        let mine = redis.get(&wish.id).copied().unwrap_or(0);
                        let held = level.max(wish.amount.0.min(mine));
                        redis.insert(wish.id, held);
                        answer(&wish.specs, held, level)
                    }).collect();
                    if cost % 3 == 0 {
                        for lease in leases.unheard(&wishes) {
                            redis.remove(&lease);
                        }
                    } else {
                        let now = (Instant::now(), NOON);
                        for lease in leases.heard(wishes, answers, now).0 {
                            redis.remove(&lease);
                        }
                    }
                }
                4 => {
                    leases.pause();
                    redis.clear();
                    charged = 0;
                    redis.extend(open.iter().copied());
                    for held in leases.testified(Instant::now()) {
                        redis.insert(held.id, held.held.0);
                    }
                }
                _ => leases.note(&specs),
            }
            let known: i64 = redis.values().sum();
            let (_, left, _) = leases.figures();
            let owed: i64 = open.iter().map(|(_, held)| held).sum();
            prop_assert!(owed + charged + left.0 <= known, "{owed} + {charged} + {left} of {known}");
        }
    }
}
