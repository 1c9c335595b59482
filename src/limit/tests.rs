use super::minute::MINUTE;
use super::*;
use proptest::prelude::*;

const NONE: Limits = Limits {
    requests_per_minute: None,
    tokens_per_minute: None,
    concurrent_requests: None,
    request_bytes: None,
};

fn agent(limits: Limits) -> [Claim<'static>; 1] {
    [Claim {
        kind: Kind::Agent,
        id: "a",
        limits,
    }]
}

fn let_in(limiter: &Limiter, limits: Limits, tokens: u64, now: u64) -> Option<Permit> {
    limiter.admit(agent(limits), tokens, now).unwrap()
}

#[test]
fn requests_of_any_minute_are_limited_and_refused_ones_do_not_count() {
    let limiter = Limiter::default();
    let limits = Limits {
        requests_per_minute: Some(2),
        ..NONE
    };
    drop(let_in(&limiter, limits, 0, 100));
    drop(let_in(&limiter, limits, 0, 130));
    for now in [130, 140, 159] {
        let exceeded = limiter.admit(agent(limits), 0, now).unwrap_err();
        assert_eq!(
            (exceeded.what, exceeded.retry_after),
            ("requests", 160 - now)
        );
    }
    drop(let_in(&limiter, limits, 0, 160));
    assert!(limiter.admit(agent(limits), 0, 189).is_err());
    drop(let_in(&limiter, limits, 0, 190));
}

#[test]
fn tokens_are_reserved_and_then_corrected() {
    let limiter = Limiter::default();
    let limits = Limits {
        tokens_per_minute: Some(100),
        ..NONE
    };
    let mut permit = let_in(&limiter, limits, 80, 10).unwrap();
    assert_eq!(
        limiter.admit(agent(limits), 30, 10).unwrap_err().what,
        "tokens"
    );
    permit.correct(20);
    drop(permit);
    let mut permit = let_in(&limiter, limits, 30, 10).unwrap();
    permit.correct(500);
    let standing = permit.standing(10).tokens.unwrap();
    assert_eq!(
        (standing.limit, standing.remaining, standing.reset),
        (100, 0, 60)
    );
    assert!(limiter.admit(agent(limits), 1, 69).is_err());
    assert!(let_in(&limiter, limits, 1, 70).is_some());
}

#[test]
fn a_reservation_above_the_limit_is_cut_down_to_it_so_that_it_is_served_alone() {
    let limiter = Limiter::default();
    let limits = Limits {
        tokens_per_minute: Some(100),
        ..NONE
    };
    let permit = let_in(&limiter, limits, 1_000_000, 10).unwrap();
    assert!(limiter.admit(agent(limits), 1, 10).is_err());
    permit.cancel();
    assert!(let_in(&limiter, limits, 100, 10).is_some());
}

#[test]
fn a_place_is_free_again_when_its_request_ends_however_it_ends() {
    let limiter = Limiter::default();
    let limits = Limits {
        concurrent_requests: Some(1),
        ..NONE
    };
    for _ in 0..3 {
        let permit = let_in(&limiter, limits, 0, 10).unwrap();
        let exceeded = limiter.admit(agent(limits), 0, 10).unwrap_err();
        assert_eq!((exceeded.what, exceeded.limit), ("concurrent requests", 1));
        drop(permit);
        let_in(&limiter, limits, 0, 10).unwrap().cancel();
    }
}

#[test]
fn what_one_limit_refuses_counts_for_no_other() {
    let limiter = Limiter::default();
    let per_minute = |requests| Limits {
        requests_per_minute: Some(requests),
        ..NONE
    };
    let claims = |key: &'static str| {
        [
            Claim {
                kind: Kind::User,
                id: "u",
                limits: per_minute(2),
            },
            Claim {
                kind: Kind::Key,
                id: key,
                limits: per_minute(1),
            },
        ]
    };
    drop(limiter.admit(claims("k"), 0, 1).unwrap());
    for _ in 0..5 {
        assert_eq!(
            limiter.admit(claims("k"), 0, 1).unwrap_err().kind,
            Kind::Key
        );
    }
    drop(limiter.admit(claims("l"), 0, 1).unwrap());
    assert_eq!(
        limiter.admit(claims("m"), 0, 1).unwrap_err().kind,
        Kind::User
    );
}

#[test]
fn nothing_is_kept_for_what_has_no_limits() {
    let limiter = Limiter::default();
    assert!(let_in(&limiter, NONE, 5, 1).is_none());
    assert!(limiter.states.read().unwrap().is_empty());
}

proptest! {
    #[test]
    fn no_minute_ever_holds_more_than_its_limit(
        limit in 1_u64..6,
        steps in proptest::collection::vec((0_u64..40, any::<bool>()), 1..80),
    ) {
        let limiter = Limiter::default();
        let limits = Limits { requests_per_minute: Some(limit), ..NONE };
        let mut now = 1_000;
        let mut served: Vec<u64> = Vec::new();
        for (step, cancelled) in steps {
            now += step;
            match limiter.admit(agent(limits), 0, now) {
                Ok(Some(permit)) if cancelled => permit.cancel(),
                Ok(_) => served.push(now),
                Err(exceeded) => prop_assert!((1..=60).contains(&exceeded.retry_after)),
            }
            let recent = served.iter().filter(|at| **at + MINUTE > now).count();
            prop_assert!(recent as u64 <= limit);
        }
    }
}

#[test]
fn what_is_left_can_be_looked_at_without_being_let_in() {
    let limiter = Limiter::default();
    let claim = |kind, id, limits| Claim { kind, id, limits };
    let wide = Limits {
        requests_per_minute: Some(10),
        tokens_per_minute: Some(100),
        ..NONE
    };
    let narrow = Limits {
        requests_per_minute: Some(3),
        concurrent_requests: Some(2),
        ..NONE
    };
    let claims = [
        claim(Kind::Agent, "a", wide),
        claim(Kind::Team, "t", narrow),
        claim(Kind::Key, "k", NONE),
    ];
    let left = |limit, remaining, reset| {
        Some(Left {
            limit,
            remaining,
            reset,
        })
    };
    for _ in 0..5 {
        let unused = Standing {
            requests: left(3, 3, 0),
            tokens: left(100, 100, 0),
            concurrent: left(2, 2, 0),
        };
        assert_eq!(limiter.standing(claims, 100), unused);
    }
    let permit = limiter.admit(claims, 30, 100).unwrap().unwrap();
    let one = Standing {
        requests: left(3, 2, 50),
        tokens: left(100, 70, 50),
        concurrent: left(2, 1, 0),
    };
    assert_eq!(limiter.standing(claims, 110), one);
    assert_eq!(permit.standing(110), one);
    assert_eq!(
        limiter.standing(claims[2..].iter().copied(), 110),
        Standing::default()
    );
    drop(permit);
    let later = limiter.standing(claims, 160);
    assert_eq!(
        (later.requests, later.concurrent),
        (left(3, 3, 0), left(2, 2, 0))
    );
}

#[test]
fn a_team_is_limited_whoever_of_it_asks() {
    let limiter = Limiter::default();
    let limits = Limits {
        requests_per_minute: Some(2),
        ..NONE
    };
    let of = |agent: &'static str| {
        let team = Claim {
            kind: Kind::Team,
            id: "t",
            limits,
        };
        let agent = Claim {
            kind: Kind::Agent,
            id: agent,
            limits: NONE,
        };
        [agent, team]
    };
    drop(limiter.admit(of("a"), 0, 5).unwrap());
    drop(limiter.admit(of("b"), 0, 5).unwrap());
    let exceeded = limiter.admit(of("c"), 0, 5).unwrap_err();
    assert_eq!((exceeded.kind, exceeded.what), (Kind::Team, "requests"));
    assert_eq!(exceeded.kind.name(), "team");
}
