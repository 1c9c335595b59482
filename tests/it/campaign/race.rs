//! Many requests race for one dollar: the cap holds at every moment, and every answer is billed once
//! at exactly what the provider announced.

use super::book::{Book, End};
use super::wire::{self, Answer, Wire};
use super::{HUNG, aftermath, chance, connections, knob, nanos, seed};
use crate::support::{Agent, Gateway, Provider};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;
use weir::mock::Options;

/// The cap, in nano-dollars.
pub(super) const CAP: i64 = 1_000_000_000;

/// What the model costs per output token at the provider, in nano-dollars.
const TOKEN: u64 = 15_000;

/// How much more is asked for than the cap affords.
const DEMAND: u64 = 3;

/// What became of one racer.
pub(super) struct Finish {
    /// Of the answer it was served, with its bill's id.
    pub(super) served: Option<String>,
    /// How often it was refused with each code.
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) wrong: Option<String>,
}

/// One request as it will be sent, again and again while the budget is held by others.
pub(super) struct Racer {
    agent: &'static str,
    pub(super) body: Vec<u8>,
    /// Takes the first refusal for an answer.
    gives_up: bool,
    number: u64,
}

impl Racer {
    pub(super) fn new(number: u64, racers: u64, seed: u64, agents: &[&'static str]) -> Self {
        let mut chance = chance(seed, number);
        let mean = (DEMAND * CAP.unsigned_abs() / (racers * TOKEN)).max(8);
        let chunks = chance.u64(mean / 2..=mean * 3 / 2);
        let filler: String = (0..chance.usize(0..600))
            .map(|_| chance.alphanumeric())
            .collect();
        let latency = chance.u64(0..30);
        let stream = chance.bool();
        let prompt = format!("[[chunks={chunks} lat_ms={latency} coalesce=1]] {filler}");
        let mut body = json!({"messages": [{"role": "user", "content": prompt}], "stream": stream});
        match chance.u8(0..4) {
            // The rest is left to the gateway, which writes down what the budget affords.
            0 => {}
            1 => body["max_tokens"] = chance.u64(1..=mean).into(),
            2 => body["max_completion_tokens"] = (chunks * 2).into(),
            _ => body["max_tokens"] = chunks.into(),
        }
        Self {
            agent: agents[chance.usize(0..agents.len())],
            body: body.to_string().into_bytes(),
            gives_up: chance.u8(0..4) == 0,
            number,
        }
    }

    pub(super) async fn run(self, to: SocketAddr, start: Arc<Barrier>, seed: u64) -> Finish {
        let mut finish = Finish {
            served: None,
            refused: BTreeMap::new(),
            wrong: None,
        };
        let mut chance = chance(seed, self.number ^ 1 << 63);
        let request = wire::chat(self.agent, "", &self.body);
        let mut wire = Wire::connect(to).await.ok();
        start.wait().await;
        loop {
            let exchange = async {
                let mut open = match wire.take() {
                    Some(open) => open,
                    None => Wire::connect(to).await?,
                };
                open.send(&request).await?;
                let answer = open.answer().await?;
                if answer.as_ref().is_some_and(|answer| answer.reusable) {
                    wire = Some(open);
                }
                Ok::<_, std::io::Error>(answer)
            };
            let answer = match tokio::time::timeout(HUNG, exchange).await {
                Ok(Ok(Some(answer))) => answer,
                other => {
                    finish.wrong = Some(format!("no answer: {other:?}"));
                    return finish;
                }
            };
            match self.judge(&answer) {
                Ok(None) => {
                    finish.served = answer.header("x-weir-request-id").map(str::to_owned);
                    return finish;
                }
                Ok(Some(code)) => {
                    let exhausted = code == "budget_exhausted";
                    *finish.refused.entry(code).or_default() += 1;
                    if exhausted || self.gives_up {
                        return finish;
                    }
                }
                Err(wrong) => {
                    finish.wrong = Some(wrong);
                    return finish;
                }
            }
            tokio::time::sleep(Duration::from_millis(chance.u64(20..400))).await;
        }
    }

    /// Served, refused with a code that says so, or wrong.
    fn judge(&self, answer: &Answer) -> Result<Option<String>, String> {
        let code = answer.code();
        match (answer.status, code.as_deref()) {
            (200, _) if answer.has_its_end() => Ok(None),
            (402, Some("budget_exhausted")) | (429, Some("budget_in_flight")) => Ok(code),
            _ => Err(format!(
                "request {} got {}: {}",
                self.number,
                answer.status,
                answer.text().chars().take(300).collect::<String>()
            )),
        }
    }
}

/// Asks for all balances again and again; the most that any agent had settled and held together, by
/// its name, and how often it was asked.
async fn sample(to: SocketAddr, mut stop: watch::Receiver<bool>) -> (BTreeMap<String, i64>, u64) {
    let request = b"GET /api/spend HTTP/1.1\r\nhost: weir.test\r\n\r\n";
    let (mut peaks, mut samples) = (BTreeMap::new(), 0);
    let mut wire = Wire::connect(to).await.expect("the gateway listens");
    while !*stop.borrow_and_update() {
        wire.send(request).await.expect("the admin API answers");
        let answer = wire.answer().await.expect("the admin API answers");
        let answer = answer.expect("the admin API answers");
        assert_eq!(answer.status, 200);
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        for (agent, account) in body.as_object().expect("accounts by agent") {
            let sum = nanos(&account["budget_spent"]) + nanos(&account["budget_held"]);
            let peak = peaks.entry(agent.clone()).or_insert(0);
            *peak = sum.max(*peak);
        }
        samples += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (peaks, samples)
}

/// What one race came to.
#[derive(Default)]
struct Figures {
    served: u64,
    refused: BTreeMap<String, u64>,
    settled: i64,
    peak: i64,
    samples: u64,
    seconds: f64,
}

async fn race(racers: u64, seed: u64, shared: bool) -> Figures {
    let provider = Provider::with(Options {
        keep_requests: false,
        ..Options::default()
    });
    let tiered = |agent: Agent| agent.tier("0.0", &["anthropic/claude-3.5-sonnet"]);
    let quiet = "log:\n  level: warn";
    let setup = Gateway::over(&provider).settings(quiet);
    // Shared: each of two agents may have seven tenths of a dollar, both together one.
    let (setup, agents, limits): (_, &[&'static str], &[_]) = if shared {
        let setup = setup
            .routing("gateway:\n  budget_total: 1.0\n  hard_cap: true")
            .agent(tiered(Agent::new("red", "0.7")))
            .agent(tiered(Agent::new("blue", "0.7")));
        const SHARE: i64 = CAP / 10 * 7;
        let limits = &[
            ("gateway", CAP),
            ("agent:red", SHARE),
            ("agent:blue", SHARE),
        ];
        (setup, &["red", "blue"], limits)
    } else {
        let setup = setup.agent(tiered(Agent::new("solo", "1.0")));
        (setup, &["solo"], &[("agent:solo", CAP)])
    };
    let gateway = setup.start().await;
    let to = gateway.addr;

    let (stop, stopped) = watch::channel(false);
    let sampler = tokio::spawn(sample(to, stopped));
    let begin = Instant::now();
    let slots = connections().min(usize::try_from(racers).unwrap_or(usize::MAX));
    let mut finishes = Vec::new();
    let mut first = 0;
    while first < racers {
        let wave = u64::try_from(slots).unwrap_or(u64::MAX).min(racers - first);
        let start = Arc::new(Barrier::new(usize::try_from(wave).expect("fits")));
        let mut running = JoinSet::new();
        for number in first..first + wave {
            let racer = Racer::new(number, racers, seed, agents);
            running.spawn(racer.run(to, Arc::clone(&start), seed));
        }
        finishes.extend(running.join_all().await);
        first += wave;
    }
    let seconds = begin.elapsed().as_secs_f64();
    gateway.quiet().await;
    stop.send_replace(true);
    let (peaks, samples) = sampler.await.expect("the sampler ends");

    let wrong: Vec<_> = finishes.iter().filter_map(|f| f.wrong.as_ref()).collect();
    let shown = &wrong[..wrong.len().min(5)];
    assert!(wrong.is_empty(), "{} went wrong: {shown:#?}", wrong.len());
    for (agent, peak) in &peaks {
        let account = format!("agent:{agent}");
        let limit = limits.iter().find(|(name, _)| *name == account);
        let limit = limit.expect("an agent of ours").1;
        // Both amounts are given with six decimals, each half a micro-dollar off at most.
        assert!(*peak <= limit + 1000, "{agent} was at {peak} of {limit}");
    }
    let (gateway, book) = aftermath(gateway, limits).await;
    let peak = compare(&book, &provider, &finishes, limits);
    drop(gateway);

    let mut figures = Figures {
        settled: book
            .attempts
            .values()
            .map(super::book::Attempt::charged)
            .sum(),
        peak,
        samples,
        seconds,
        ..Figures::default()
    };
    for finish in finishes {
        figures.served += u64::from(finish.served.is_some());
        for (code, count) in finish.refused {
            *figures.refused.entry(code).or_default() += count;
        }
    }
    figures
}

/// Served, announced and charged are the same, one by one; no account was ever above its limit, as
/// its records have it. The highest that any account came.
fn compare(book: &Book, provider: &Provider, finishes: &[Finish], limits: &[(&str, i64)]) -> i64 {
    let records = provider.records();
    let mut announced = BTreeMap::new();
    for record in &records {
        let cost = record.announced.and_then(|says| says.cost_nanos);
        let id = record
            .request_id
            .clone()
            .expect("the gateway names requests");
        let again = announced.insert(id, cost.expect("every answer was whole"));
        assert!(again.is_none(), "a request was sent twice: {record:?}");
    }
    let served = finishes.iter().filter_map(|finish| finish.served.as_ref());
    let mut count = 0;
    for id in served {
        count += 1;
        let cost = announced.get(id);
        let ends = &book.attempts[id].ends;
        let charged = cost.map(|cost| vec![End::Charged(*cost, "provider".into())]);
        assert_eq!(Some(ends), charged.as_ref(), "{id}");
    }
    assert_eq!(count, records.len(), "answers served and answers given");
    let charges = book.attempts.values().filter(|a| a.source() != "void");
    assert_eq!(count, charges.count(), "answers served and charges");
    let total: i64 = announced.values().sum();
    for (account, _) in limits.iter().take(1) {
        assert_eq!(book.of(account).posted, total, "{account}");
    }
    for (account, limit) in limits {
        let peak = book.of(account).peak;
        assert!(peak <= *limit, "{account} was at {peak} of {limit}");
    }
    let peaks = limits.iter().map(|(account, _)| book.of(account).peak);
    peaks.max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dollar_is_never_overspent_by_any_number_of_racers() {
    let (racers, races) = (knob("RACERS", 500, 10_000), knob("RACES", 2, 20));
    let seed = seed();
    for number in 0..races {
        let figures = race(racers, seed.wrapping_add(number), number % 2 == 1).await;
        let Figures {
            served,
            refused,
            settled,
            peak,
            samples,
            seconds,
        } = figures;
        println!(
            "race {}/{races} (seed {seed}): {racers} requests over {} connections, {served} served, \
             refused {refused:?}; settled ${:.9}, at most ${:.9} settled and held, {samples} samples; \
             {seconds:.1} s",
            number + 1,
            connections().min(usize::try_from(racers).unwrap_or(usize::MAX)),
            weir::money::Nanos(settled).as_usd_f64(),
            weir::money::Nanos(peak).as_usd_f64(),
        );
        assert!(served > 0, "nobody was served");
        assert!(
            refused.contains_key("budget_exhausted"),
            "the budget was never exhausted"
        );
    }
}
