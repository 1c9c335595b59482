//! Replay equals the live state, whatever happened and wherever it broke off.

use super::contract::{NOON, Request, account, attempt, every, fixed};
use super::scratch::{Scratch, bill, noon};
use super::{Book, Reservation};
use crate::budget::period::PeriodKind;
use crate::budget::{AccountSpec, Balance};
use crate::money::Nanos;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Debug)]
enum Step {
    Reserve {
        agent: usize,
        cost: i64,
    },
    Settle {
        which: usize,
        cost: i64,
    },
    Void {
        which: usize,
    },
    Drop {
        which: usize,
    },
    Push {
        account: usize,
        total: Option<i64>,
        spent: Option<i64>,
    },
    Reset {
        account: usize,
    },
    Wait {
        hours: u64,
    },
    ClockBack {
        hours: u64,
    },
    Policy {
        account: usize,
        limit: i64,
        kind: PeriodKind,
    },
    Rotate,
    Close,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let amount = || proptest::option::of(0_i64..3_000);
    prop_oneof![
        8 => (0..2_usize, 0_i64..400).prop_map(|(agent, cost)| Step::Reserve { agent, cost }),
        5 => (0..8_usize, 0_i64..500).prop_map(|(which, cost)| Step::Settle { which, cost }),
        1 => (0..8_usize).prop_map(|which| Step::Void { which }),
        1 => (0..8_usize).prop_map(|which| Step::Drop { which }),
        2 => (0..3_usize, amount(), amount())
            .prop_map(|(account, total, spent)| Step::Push { account, total, spent }),
        1 => (0..3_usize).prop_map(|account| Step::Reset { account }),
        3 => (1..900_u64).prop_map(|hours| Step::Wait { hours }),
        1 => (1..100_u64).prop_map(|hours| Step::ClockBack { hours }),
        1 => (0..3_usize, 100_i64..3_000, proptest::sample::select(&PeriodKind::ALL[..]))
            .prop_map(|(account, limit, kind)| Step::Policy { account, limit, kind }),
        1 => Just(Step::Rotate),
        1 => Just(Step::Close),
        1 => Just(Step::Crash),
    ]
}

/// One running process: a book, its policy, its open reservations.
struct Life {
    scratch: Scratch,
    at: Arc<AtomicU64>,
    specs: Vec<Arc<AccountSpec>>,
    book: Arc<Book>,
    open: Vec<Reservation>,
    runtime: tokio::runtime::Runtime,
}

impl Life {
    fn begin() -> Self {
        let (scratch, at) = (Scratch::new(), noon());
        let berlin = every(PeriodKind::Monthly, "Europe/Berlin");
        let new_york = every(PeriodKind::Daily, "America/New_York");
        let specs = vec![
            Arc::new(AccountSpec {
                period: berlin,
                opening: Nanos(30),
                ..account("agent:a", 1_500)
            }),
            Arc::new(AccountSpec {
                hard: false,
                ..account("agent:b", 500)
            }),
            Arc::new(AccountSpec {
                period: new_york,
                ..account("gateway", 2_000)
            }),
        ];
        let (book, _) = scratch.open(&at, &specs.iter().collect::<Vec<_>>());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        Self {
            scratch,
            at,
            specs,
            book,
            open: Vec::new(),
            runtime,
        }
    }

    fn balances(&self) -> Vec<Balance> {
        self.specs
            .iter()
            .map(|spec| self.book.glance(spec))
            .collect()
    }

    /// What a process that starts on `scratch` would see, twice over.
    fn replayed(&self, scratch: &Scratch) -> Vec<Balance> {
        let specs: Vec<_> = self.specs.iter().collect();
        let (book, _) = scratch.open(&self.at, &specs);
        let first: Vec<_> = specs.iter().map(|spec| book.glance(spec)).collect();
        drop(book);
        let (book, recovery) = scratch.open(&self.at, &specs);
        assert_eq!(recovery.orphans, 0);
        let second: Vec<_> = specs.iter().map(|spec| book.glance(spec)).collect();
        assert_eq!(first, second);
        first
    }

    fn take(&mut self, which: usize) -> Option<Reservation> {
        let count = self.open.len();
        (count > 0).then(|| self.open.swap_remove(which % count))
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Reserve { agent, cost } => {
                let accounts = [&self.specs[*agent], &self.specs[2]];
                let mut request = Request::new(&accounts, fixed(*cost));
                request.agent = crate::identity::AgentId::new(["a", "b"][*agent]).unwrap();
                let now = self.at.load(Ordering::Relaxed);
                let ask = request.ask(attempt(), now);
                self.open
                    .extend(self.runtime.block_on(self.book.reserve(ask)).ok());
            }
            Step::Settle { which, cost } => {
                if let Some(reservation) = self.take(*which) {
                    let _ = reservation.settle(bill(*cost));
                }
            }
            Step::Void { which } => {
                if let Some(reservation) = self.take(*which) {
                    reservation.void("test");
                }
            }
            Step::Drop { which } => drop(self.take(*which)),
            Step::Push {
                account,
                total,
                spent,
            } => {
                let spec = &self.specs[*account];
                let push = self
                    .book
                    .push(spec, total.map(Nanos), spent.map(Nanos), "test");
                self.runtime.block_on(push).unwrap();
            }
            Step::Reset { account } => {
                let reset = self.book.reset(&self.specs[*account], "test");
                self.runtime.block_on(reset).unwrap();
            }
            Step::Wait { hours } => {
                self.at.fetch_add(hours * 3_600_000, Ordering::Relaxed);
            }
            Step::ClockBack { hours } => {
                let back = self.at.load(Ordering::Relaxed) - hours * 3_600_000;
                self.at.store(back.max(NOON), Ordering::Relaxed);
            }
            Step::Policy {
                account,
                limit,
                kind,
            } => {
                let spec = Arc::make_mut(&mut self.specs[*account]);
                spec.limit = Nanos(*limit);
                spec.period.kind = *kind;
                self.book.adopt(&self.specs);
            }
            Step::Rotate => self.book.rotate().unwrap(),
            Step::Close => self.book.close(),
            Step::Crash => self.crash(),
        }
    }

    /// Dies, and starts again on what the dead process left.
    fn crash(&mut self) {
        let killed = self.scratch.killed();
        // Dropped reservations are charged in full, as the next process charges orphans.
        self.open.clear();
        assert_eq!(self.replayed(&killed), self.balances());
        self.book = killed
            .open(&self.at, &self.specs.iter().collect::<Vec<_>>())
            .0;
        self.scratch = killed;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn replay_gives_the_state_that_was_lived(steps in proptest::collection::vec(step(), 1..50)) {
        let mut life = Life::begin();
        for step in &steps {
            life.step(step);
        }
        life.crash();
    }

    #[test]
    fn a_log_torn_anywhere_is_the_log_up_to_its_last_whole_record(
        steps in proptest::collection::vec(step(), 1..30),
        torn in 0.0..1.0_f64,
    ) {
        let mut life = Life::begin();
        for step in &steps {
            life.step(step);
        }
        let (cut, whole) = (life.scratch.killed(), life.scratch.killed());
        let text = std::fs::read(cut.log()).unwrap();
        let header = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
            reason = "a place in a small file")]
        let at = header + ((text.len() - header) as f64 * torn) as usize;
        let boundary = text[..at].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        std::fs::write(cut.log(), &text[..at]).unwrap();
        std::fs::write(whole.log(), &text[..boundary]).unwrap();
        prop_assert_eq!(life.replayed(&cut), life.replayed(&whole));
    }
}
