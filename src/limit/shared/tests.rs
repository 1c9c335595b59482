use super::super::Kind;
use super::*;
use std::sync::{Arc, Mutex};

/// What a store was told of the one request that it lets in.
type Told = Arc<Mutex<Vec<String>>>;

#[derive(Debug)]
struct Seat(Told);

impl Seat {
    fn tell(&self, what: &str) {
        self.0.lock().unwrap().push(what.to_owned());
    }
}

impl Place for Seat {
    fn cancel(&mut self) {
        self.tell("cancelled");
    }

    fn correct(&mut self, used: u64) {
        self.tell(&format!("used {used}"));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.tell("gone");
    }
}

/// A store that always says the same.
#[derive(Debug)]
enum Store {
    In(Told, Standing),
    Out,
    Away(Told),
    Silent,
}

#[async_trait::async_trait]
impl Shared for Store {
    async fn admit(&self, claims: &[Claim<'_>], _tokens: u64) -> Verdict {
        match self {
            Self::In(told, standing) => Verdict::In(Box::new(Seat(Arc::clone(told))), *standing),
            Self::Away(told) => Verdict::Away(Box::new(Seat(Arc::clone(told)))),
            Self::Out => Verdict::Out(Exceeded {
                kind: claims[0].kind,
                what: "requests",
                limit: 7,
                retry_after: 9,
            }),
            Self::Silent => std::future::pending().await,
        }
    }

    async fn standing(&self, _claims: &[Claim<'_>]) -> Option<Standing> {
        match self {
            Self::In(_, standing) => Some(*standing),
            _ => None,
        }
    }
}

fn claims(requests: u64) -> [Claim<'static>; 1] {
    [Claim {
        kind: Kind::Key,
        id: "k",
        limits: Limits {
            requests_per_minute: Some(requests),
            ..Limits::default()
        },
    }]
}

fn left(remaining: u64) -> Standing {
    Standing {
        requests: Some(Left {
            limit: 5,
            remaining,
            reset: 30,
        }),
        tokens: None,
        concurrent: None,
    }
}

#[tokio::test]
async fn what_this_process_refuses_is_asked_of_nobody() {
    let (limiter, told) = (Limiter::default(), Told::default());
    let store = Store::In(Arc::clone(&told), left(4));
    let first = limiter.admit_among(&store, &claims(1), 0, 10).await;
    drop(first.unwrap());
    assert_eq!(*told.lock().unwrap(), ["gone"]);
    let second = limiter.admit_among(&store, &claims(1), 0, 10).await;
    assert_eq!(second.unwrap_err().limit, 1);
    assert_eq!(*told.lock().unwrap(), ["gone"]);
}

#[tokio::test]
async fn what_the_store_refuses_does_not_count_here() {
    let limiter = Limiter::default();
    for _ in 0..3 {
        let exceeded = limiter.admit_among(&Store::Out, &claims(1), 0, 10).await;
        assert_eq!(exceeded.unwrap_err().limit, 7);
    }
    assert!(limiter.admit(claims(1), 0, 10).unwrap().is_some());
}

#[tokio::test]
async fn a_store_that_is_away_leaves_it_to_this_process() {
    let (limiter, told) = (Limiter::default(), Told::default());
    let store = Store::Away(Arc::clone(&told));
    let permit = limiter.admit_among(&store, &claims(2), 0, 10).await;
    let permit = permit.unwrap().unwrap();
    assert!(permit.is_alone());
    assert_eq!(permit.standing(10).requests.unwrap().remaining, 1);
    permit.cancel();
    assert_eq!(*told.lock().unwrap(), ["cancelled", "gone"]);
}

#[tokio::test]
async fn the_tighter_of_both_counts_is_shown_and_its_time_passes() {
    let limiter = Limiter::default();
    for (there, shown) in [(1, 1), (8, 4)] {
        let store = Store::In(Told::default(), left(there));
        let permit = limiter.admit_among(&store, &claims(5), 0, 10).await;
        let mut permit = permit.unwrap().unwrap();
        permit.correct(3);
        let standing = permit.standing(10).requests.unwrap();
        assert_eq!(standing.remaining, shown);
        permit.cancel();
    }
    let store = Store::In(Told::default(), left(0));
    let permit = limiter.admit_among(&store, &claims(5), 0, 10).await;
    let standing = permit.unwrap().unwrap().standing(22).requests.unwrap();
    assert_eq!((standing.remaining, standing.reset), (0, 18));
}

#[tokio::test]
async fn a_request_that_is_given_up_while_the_store_is_asked_does_not_count_here() {
    let limiter = Limiter::default();
    {
        let claims = claims(1);
        let asking = limiter.admit_among(&Store::Silent, &claims, 0, 10);
        tokio::pin!(asking);
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(asking.as_mut().poll(context).is_pending())
        });
        assert!(polled.await);
    }
    assert!(limiter.admit(claims(1), 0, 10).unwrap().is_some());
}
