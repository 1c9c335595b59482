//! Hostile clients and hostile providers: no panic, no hang, no answer that is not documented, nothing
//! left open, and a gateway that serves afterwards as before.

use super::mutation::{self, Then};
use super::upstream::{DELIBERATE, POISON};
use super::wire::{self, Answer, Wire};
use super::{HUNG, aftermath, chance, knob, must_not_have_panicked, seed, upstream};
use crate::support::{Agent, Gateway, LOOK, PATIENCE, Provider, Setup};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::task::JoinSet;
use weir::mock::Options;

/// Connections at once.
const CLIENTS: u64 = 32;

/// What memory may grow by from the first third of a campaign to its end, beside half of what there
/// was: allocators keep what they once needed.
const GROWTH_KIB: u64 = 64 << 10;

/// Waiting is short, so that whoever sends half a request is soon sent away.
const IMPATIENT: &str = "log:\n  level: error\ntimeouts:\n  header: 1s\n  body: 1s\n  keepalive: 1s\n  \
                         write: 5s\ndrain:\n  time: 1s\n  bytes: 4MiB";

/// What was seen, by kind.
#[derive(Default)]
struct Seen {
    answers: BTreeMap<String, u64>,
    wrong: Vec<String>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        for (answer, count) in other.answers {
            *self.answers.entry(answer).or_default() += count;
        }
        self.wrong.extend(other.wrong);
    }

    fn count(&mut self, answer: &str) {
        *self.answers.entry(answer.to_owned()).or_default() += 1;
    }
}

/// An answer in the form that the documentation gives it: a status with one of our codes, the bare
/// status that the HTTP library gives what is no HTTP, or what the provider answered.
fn documented(answer: &Answer) -> Result<String, String> {
    let status = answer.status;
    if answer.text().contains(POISON) {
        return Err("an answer that belongs to nobody".into());
    }
    let Some(code) = answer.code() else {
        let foreign = answer.text().contains(DELIBERATE);
        return match status {
            // The provider's own answer; its errors are passed on as they are.
            200..500 => Ok(format!("{status}")),
            _ if foreign => Ok(format!("{status} passed on")),
            _ => Err(format!("{status} without a code: {}", answer.text())),
        };
    };
    let ours = matches!(
        (status, code.as_str()),
        (502, "upstream_unreachable" | "upstream_invalid") | (504, "upstream_timeout")
    );
    if status < 500 || ours {
        return Ok(format!("{status} {code}"));
    }
    Err(format!("{status} {code}"))
}

/// Plays one attack; what came back, in the form it is counted by.
async fn play(
    to: SocketAddr,
    attack: &mutation::Attack,
) -> std::io::Result<Vec<Result<String, String>>> {
    let mut wire = Wire::connect(to).await?;
    // The gateway may hang up on bytes it has not read.
    let _ = wire.send(&attack.bytes).await;
    let mut answers = Vec::new();
    match attack.then {
        Then::Leave => {
            wire.leave(true);
            return Ok(answers);
        }
        Then::Read => {}
        Then::HalfClose => {
            let _ = wire.half_close().await;
        }
    }
    while let Ok(Some(answer)) = wire.answer().await {
        answers.push(documented(&answer));
        if attack.then == Then::Read || !answer.reusable {
            break;
        }
    }
    wire.leave(true);
    Ok(answers)
}

async fn attacker(to: SocketAddr, seed: u64, number: u64, count: u64) -> Seen {
    let mut chance = chance(seed, number);
    let mut seen = Seen::default();
    for round in 0..count {
        let attack = mutation::attack(&mut chance);
        let played = tokio::time::timeout(HUNG, play(to, &attack)).await;
        let describe = || {
            let bytes = String::from_utf8_lossy(&attack.bytes[..attack.bytes.len().min(600)]);
            format!("client {number}, round {round}, {}: {bytes:?}", attack.kind)
        };
        match played {
            Err(_) => seen.wrong.push(format!("hung: {}", describe())),
            Ok(Err(error)) => seen.wrong.push(format!("{error}: {}", describe())),
            Ok(Ok(answers)) => {
                if answers.is_empty() {
                    seen.count("hung up");
                }
                for answer in answers {
                    match answer {
                        // The mock provider answers everything that gets through to it.
                        Ok(answer) if !answer.starts_with('5') => seen.count(&answer),
                        Ok(wrong) | Err(wrong) => {
                            seen.wrong.push(format!("{wrong}: {}", describe()));
                        }
                    }
                }
            }
        }
    }
    seen
}

/// An ordinary client of a gateway whose provider is not.
async fn victim(to: SocketAddr, seed: u64, number: u64, count: u64) -> Seen {
    let mut chance = chance(seed, number);
    let mut seen = Seen::default();
    let mut open: Option<Wire> = None;
    for round in 0..count {
        let body = mutation::valid_body(&mut chance);
        let request = wire::chat("default", "", &body);
        let leaves = chance.u8(0..20) == 0;
        let exchange = async {
            let mut wire = match open.take() {
                Some(wire) => wire,
                None => Wire::connect(to).await?,
            };
            wire.send(&request).await?;
            let answer = if leaves {
                let answer = wire.answer_up_to(1).await?;
                wire.leave(true);
                return Ok(answer);
            } else {
                wire.answer().await?
            };
            if answer.as_ref().is_some_and(|answer| answer.reusable) {
                open = Some(wire);
            }
            Ok::<_, std::io::Error>(answer)
        };
        match tokio::time::timeout(HUNG, exchange).await {
            Err(_) => seen
                .wrong
                .push(format!("client {number}, round {round} hung")),
            Ok(Err(error)) => seen
                .wrong
                .push(format!("client {number}, round {round}: {error}")),
            Ok(Ok(None)) => seen.count("hung up"),
            Ok(Ok(Some(answer))) => match documented(&answer) {
                Ok(what) if answer.whole => seen.count(&what),
                Ok(what) => seen.count(&format!("{what}, broken off")),
                Err(wrong) => seen
                    .wrong
                    .push(format!("client {number}, round {round}: {wrong}")),
            },
        }
    }
    seen
}

/// Resident memory in KiB, and open files, of a process.
fn weight(gateway: &Gateway) -> (u64, usize) {
    let process = format!("/proc/{}", gateway.pid());
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap_or_default();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0);
    let files = std::fs::read_dir(format!("{process}/fd")).map_or(0, Iterator::count);
    (resident, files)
}

/// The weight once nothing is under way: connections that nobody uses any more end by themselves.
async fn settled_weight(gateway: &Gateway, files_wanted: usize) -> (u64, usize) {
    gateway.quiet().await;
    let start = Instant::now();
    loop {
        let (resident, files) = weight(gateway);
        if files <= files_wanted || start.elapsed() > PATIENCE {
            return (resident, files);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Runs `count` of something over all clients in three thirds, and fails when memory or files grow
/// from the first to the last.
async fn thirds<F, R>(gateway: &Gateway, count: u64, one: F) -> (Seen, String)
where
    F: Fn(u64, u64) -> R,
    R: Future<Output = Seen> + Send + 'static,
{
    let mut seen = Seen::default();
    let mut weights = Vec::new();
    // The pool keeps connections to the provider, as many as were ever used at once.
    let pool = usize::try_from(CLIENTS).expect("small") + 16;
    for third in 0..3 {
        let mut running = JoinSet::new();
        for client in 0..CLIENTS {
            running.spawn(one(third * CLIENTS + client, count.div_ceil(3 * CLIENTS)));
        }
        for part in running.join_all().await {
            seen.add(part);
        }
        let wanted = weights.first().map_or(2 * pool, |(_, files)| files + pool);
        weights.push(settled_weight(gateway, wanted).await);
    }
    let (first, last) = (weights[0], weights[2]);
    let shown = &seen.wrong[..seen.wrong.len().min(5)];
    assert!(
        shown.is_empty(),
        "{} went wrong: {shown:#?}",
        seen.wrong.len()
    );
    assert!(
        last.0 <= first.0 + first.0 / 2 + GROWTH_KIB,
        "memory grew: {weights:?}"
    );
    assert!(last.1 <= first.1 + pool, "files stay open: {weights:?}");
    let weights = format!(
        "memory {} -> {} KiB, files {} -> {}",
        first.0, last.0, first.1, last.1
    );
    (seen, weights)
}

/// All that a guard can do, and nobody kept out.
const GUARD: &str = "guard: {injection: enforce, untrusted: enforce, canary: enforce, secrets: enforce, pii: enforce, \
                     leak: enforce, input: {secrets: enforce, pii: enforce}, quarantine: false}";

fn rich(setup: Setup) -> Setup {
    setup
        .agent(Agent::new("default", "1000000").line(GUARD))
        .settings(IMPATIENT)
}

/// The gateway serves, owes nothing, and its log is sound.
async fn afterwards(gateway: Gateway, prompt: &str) {
    for stream in [false, true] {
        let reply = gateway.chat(prompt).field("stream", stream).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(
            reply.complete && (!stream || reply.done()),
            "{}",
            reply.text()
        );
    }
    must_not_have_panicked(&gateway.directory);
    aftermath(gateway, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_bring_nothing_down() {
    let (count, seed) = (knob("FUZZ", 2000, 200_000) * 3 / 5, seed());
    let provider = Provider::with(Options {
        keep_requests: false,
        ..Options::default()
    });
    let gateway = rich(Gateway::over(&provider)).start().await;
    let to = gateway.addr;
    let begin = Instant::now();
    let (seen, weights) = thirds(&gateway, count, |n, each| attacker(to, seed, n, each)).await;
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "fuzz, clients (seed {seed}): {count} attacks in {seconds:.1} s; {:?}; {weights}",
        seen.answers
    );
    let never = [
        "hop-by-hop",
        "Host",
        "Connection",
        "Content-",
        "compressed",
        "Authorization",
        "Transfer",
        "EOF while",
        "expected value",
        "trailing",
        "control character",
        "invalid escape",
        "surrogate",
        "number out of range",
        "recursion",
        "expected `",
        "duplicate",
        "unicode",
        "key must be",
        "invalid number",
    ];
    for record in provider.records() {
        let refused = record.refused.unwrap_or_default();
        let sent = never.iter().find(|reason| refused.contains(*reason));
        assert!(
            sent.is_none(),
            "the gateway sent what it should have refused: {refused}"
        );
    }
    afterwards(gateway, "[[chunks=3]] still there?").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_providers_bring_nothing_down() {
    let (count, seed) = (knob("FUZZ", 2000, 200_000) * 2 / 5, seed());
    let provider = upstream::start(seed).await;
    let gateway = rich(Gateway::at(&provider.base_url()).upstream("timeout_seconds: 1"))
        .start()
        .await;
    let to = gateway.addr;
    let begin = Instant::now();
    let (seen, weights) = thirds(&gateway, count, |n, each| victim(to, seed, n, each)).await;
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "fuzz, providers (seed {seed}): {count} answers in {seconds:.1} s over {} connections; {:?}; \
         {weights}",
        provider.connections(),
        seen.answers
    );
    afterwards(gateway, "calm").await;
}
