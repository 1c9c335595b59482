//! A load generator for chat-completions gateways: HTTP/1.1, one thread, loopback only. Prints one
//! JSON object.
//!
//! ```text
//! loadgen --url http://127.0.0.1:8080/v1/chat/completions [--conns 16] [--duration 3] [--requests N]
//!         [--rate R] [--ramp S] [--stream] [--body-size BYTES] [--new-bytes BYTES] [--directive "chunks=64 delay_ms=100"]
//!         [--model M] [--header name:value]... [--timeout S]
//! ```
//!
//! Closed loop: `--conns` connections with one request in flight each, started over `--ramp` seconds.
//! Open loop (`--rate`): arrivals at a fixed rate; latency counts from the *intended* arrival, so that a
//! gateway that stalls is charged for the queue behind it; arrivals over `--conns` wait, and that wait
//! counts too. An answer counts only with status 200 and `"choices"`, a stream only with `[DONE]`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use serde_json::{Value, json};

type Connection = SendRequest<Full<Bytes>>;

/// What was asked for on the command line.
struct Options {
    url: Uri,
    conns: usize,
    duration: Duration,
    requests: u64,
    rate: f64,
    ramp: Duration,
    stream: bool,
    body_size: usize,
    new_bytes: usize,
    directive: String,
    model: String,
    headers: Vec<(String, String)>,
    timeout: Duration,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            url: Uri::default(),
            conns: 16,
            duration: Duration::from_secs(3),
            requests: u64::MAX,
            rate: 0.0,
            ramp: Duration::ZERO,
            stream: false,
            body_size: 0,
            new_bytes: 0,
            directive: String::new(),
            model: "openai/gpt-4o-mini".into(),
            headers: vec![("authorization".into(), "Bearer sk-test".into())],
            timeout: Duration::from_secs(60),
        };
        while let Some(name) = args.next() {
            if name == "--stream" {
                options.stream = true;
                continue;
            }
            let value = args.next().ok_or(format!("{name} needs a value"))?;
            match name.as_str() {
                "--url" => options.url = number(&name, &value)?,
                "--conns" => options.conns = number(&name, &value)?,
                "--duration" => options.duration = seconds(&name, &value)?,
                "--requests" => options.requests = number(&name, &value)?,
                "--rate" => options.rate = number(&name, &value)?,
                "--ramp" => options.ramp = seconds(&name, &value)?,
                "--body-size" => options.body_size = number(&name, &value)?,
                "--new-bytes" => options.new_bytes = number(&name, &value)?,
                "--directive" => options.directive = value,
                "--model" => options.model = value,
                "--timeout" => options.timeout = seconds(&name, &value)?,
                "--header" => {
                    let (key, text) = value.split_once(':').ok_or("--header name:value")?;
                    options
                        .headers
                        .retain(|(other, _)| !other.eq_ignore_ascii_case(key));
                    options.headers.push((key.into(), text.trim().into()));
                }
                _ => return Err(format!("unknown option {name}")),
            }
        }
        match options.url.authority() {
            Some(authority) if authority.host() == "127.0.0.1" => Ok(options),
            _ => Err("--url http://127.0.0.1:PORT/... is needed; loopback only".into()),
        }
    }

    /// The request body: prose with the odd quote, line break and non-ASCII letter, as prompts have. Of it
    /// `new_bytes` are a question of their own, which begins with [`MARK`].
    fn body(&self) -> Bytes {
        let mut prompt = String::new();
        if !self.directive.is_empty() {
            prompt = format!("[[{}]] ", self.directive);
        }
        prompt
            .push_str("Please summarise the following notes in two sentences for a busy reader. ");
        fill(&mut prompt, self.body_size.saturating_sub(self.new_bytes));
        let mut messages = vec![
            json!({"role": "system", "content": "You are a helpful assistant."}),
            json!({"role": "user", "content": prompt}),
        ];
        if self.new_bytes > 0 {
            let mut question = MARK.to_owned();
            fill(&mut question, self.new_bytes);
            messages.push(json!({"role": "assistant", "content": "Two sentences it is."}));
            messages.push(json!({"role": "user", "content": question}));
        }
        let mut body = json!({
            "model": self.model,
            "messages": messages,
            "temperature": 0.7,
            "max_tokens": 256,
        });
        if self.stream {
            body["stream"] = json!(true);
            body["stream_options"] = json!({"include_usage": true});
        }
        Bytes::from(body.to_string())
    }
}

/// What a question begins with that no other request has: a number takes its place.
const MARK: &str = "note 0000000000: ";

fn fill(text: &mut String, length: usize) {
    const WORDS: &str =
        "lorem ipsum dolor sit amet, consectetur adipiscing elit.\n \"quoted\" na\u{ef}ve ";
    for word in WORDS.split_inclusive(' ').cycle() {
        if text.len() >= length {
            break;
        }
        text.push_str(word);
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name} {value}: invalid"))
}

fn seconds(name: &str, value: &str) -> Result<Duration, String> {
    let seconds = number(name, value)?;
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("{name} {value}: {error}"))
}

/// What is the same for every request.
struct Target {
    address: String,
    path: String,
    body: Bytes,
    /// Where the number stands that makes a request another one, and the last number.
    number: Option<(usize, Cell<u64>)>,
    headers: Vec<(String, String)>,
    stream: bool,
    timeout: Duration,
}

impl Target {
    fn next_body(&self) -> Bytes {
        let Some((at, last)) = &self.number else {
            return self.body.clone();
        };
        last.set(last.get() + 1);
        let mut body = self.body.to_vec();
        body[*at..*at + 10].copy_from_slice(format!("{:010}", last.get()).as_bytes());
        body.into()
    }
}

/// What was seen.
struct Tally {
    latency: Histogram<u64>,
    first_chunk: Histogram<u64>,
    gap: Histogram<u64>,
    ok: u64,
    events: u64,
    bytes: u64,
    connections: u64,
    errors: BTreeMap<String, u64>,
    error_sample: Option<String>,
    last: Option<Instant>,
}

impl Tally {
    fn new() -> Self {
        let micros = || Histogram::new_with_bounds(1, 120_000_000, 3).expect("valid bounds");
        Self {
            latency: micros(),
            first_chunk: micros(),
            gap: micros(),
            ok: 0,
            events: 0,
            bytes: 0,
            connections: 0,
            errors: BTreeMap::new(),
            error_sample: None,
            last: None,
        }
    }

    fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(micros.max(1));
}

fn quantiles(histogram: &Histogram<u64>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let at = |quantile| histogram.value_at_quantile(quantile);
    json!({"n": histogram.len(), "mean": histogram.mean().round(), "p50": at(0.5), "p90": at(0.9),
           "p99": at(0.99), "p999": at(0.999), "max": histogram.max()})
}

async fn connect(target: &Target) -> Result<Connection, String> {
    let socket = tokio::net::TcpStream::connect(&target.address)
        .await
        .map_err(|error| format!("connect: {error}"))?;
    socket
        .set_nodelay(true)
        .map_err(|error| format!("connect: {error}"))?;
    let (sender, connection) = http1::handshake(TokioIo::new(socket))
        .await
        .map_err(|error| format!("handshake: {error}"))?;
    // Its error, if any, reaches the request that is under way.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(sender)
}

/// One request and its whole answer.
async fn exchange(
    target: &Target,
    connection: &mut Connection,
    start: Instant,
    tally: &RefCell<Tally>,
) -> Result<(), String> {
    connection.ready().await.map_err(|_| "ready".to_string())?;
    let mut request = Request::post(&target.path)
        .header("host", &target.address)
        .header("content-type", "application/json");
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(target.next_body()))
        .map_err(|error| format!("request: {error}"))?;
    let answer = connection.send_request(request).await.map_err(|error| {
        if error.is_incomplete_message() {
            "closed".into()
        } else {
            format!("send: {error}")
        }
    })?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut first = None;
    let mut previous = Instant::now();
    let (mut events, mut bytes, mut done) = (0, 0, false);
    // The end mark may be split over two chunks, so the end of the last one is kept.
    let mut tail: Vec<u8> = Vec::new();
    let mut kept: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| format!("body: {error}"))?.into_data() else {
            continue;
        };
        bytes += data.len() as u64;
        if target.stream && status == 200 {
            let seen = memmem::find_iter(&data, b"data: ").count() as u64;
            if seen > 0 {
                let now = Instant::now();
                if first.is_none() {
                    first = Some(now - start);
                } else {
                    record(&mut tally.borrow_mut().gap, now - previous);
                }
                previous = now;
            }
            events += seen;
            tail.extend_from_slice(&data[data.len().saturating_sub(24)..]);
            done |= memmem::find(&tail, b"[DONE]").is_some();
            tail.drain(..tail.len().saturating_sub(24));
        } else if kept.len() < 8192 {
            kept.extend_from_slice(&data);
        }
    }
    let took = start.elapsed();
    let mut tally = tally.borrow_mut();
    if status != 200 {
        if tally.error_sample.is_none() {
            tally.error_sample = Some(String::from_utf8_lossy(&kept).chars().take(300).collect());
        }
        return Err(format!("http {status}"));
    }
    if target.stream && !done {
        return Err("stream without [DONE]".into());
    }
    if !target.stream && memmem::find(&kept, b"\"choices\"").is_none() {
        return Err("no choices in the answer".into());
    }
    tally.ok += 1;
    tally.events += events;
    tally.bytes += bytes;
    record(&mut tally.latency, took);
    if let Some(first) = first {
        record(&mut tally.first_chunk, first);
    }
    tally.last = Some(Instant::now());
    Ok(())
}

/// One request on the connection in `slot`, which is opened when there is none.
async fn shot(
    target: &Target,
    slot: &mut Option<Connection>,
    start: Instant,
    tally: &RefCell<Tally>,
) {
    let work = async {
        for attempt in 0..2 {
            let mut connection = match slot.take() {
                Some(open) if !open.is_closed() => open,
                _ => {
                    tally.borrow_mut().connections += 1;
                    connect(target).await?
                }
            };
            match exchange(target, &mut connection, start, tally).await {
                // The other side may close an idle connection as we use it; allowed once.
                Err(error) if attempt == 0 && (error == "closed" || error == "ready") => {}
                result => {
                    let reusable = match &result {
                        Ok(()) => true,
                        Err(error) => error.starts_with("http "),
                    };
                    if reusable {
                        *slot = Some(connection);
                    }
                    return result;
                }
            }
        }
        Err("closed twice".to_string())
    };
    let result = tokio::time::timeout(target.timeout, work).await;
    if let Err(error) = result.unwrap_or_else(|_| Err("timeout".into())) {
        *tally.borrow_mut().errors.entry(error).or_insert(0) += 1;
    }
}

async fn closed_loop(
    options: &Options,
    target: &Rc<Target>,
    tally: &Rc<RefCell<Tally>>,
    start: Instant,
) {
    let end = start + options.duration;
    let issued = Rc::new(RefCell::new(0));
    let requests = options.requests;
    let mut tasks = Vec::new();
    for n in 0..options.conns {
        let (target, tally, issued) = (target.clone(), tally.clone(), issued.clone());
        let wait = options.ramp.mul_f64(n as f64 / options.conns as f64);
        tasks.push(tokio::task::spawn_local(async move {
            tokio::time::sleep(wait).await;
            let mut slot = None;
            while Instant::now() < end && *issued.borrow() < requests {
                *issued.borrow_mut() += 1;
                let failed = tally.borrow().failed();
                shot(&target, &mut slot, Instant::now(), &tally).await;
                // A gateway that only fails is not hammered.
                if tally.borrow().failed() > failed + 50 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("a task of ours does not panic");
    }
}

async fn open_loop(
    options: &Options,
    target: &Rc<Target>,
    tally: &Rc<RefCell<Tally>>,
    start: Instant,
) {
    let pool: Rc<RefCell<Vec<Option<Connection>>>> = Rc::default();
    let permits = Rc::new(tokio::sync::Semaphore::new(options.conns));
    let step = Duration::from_secs_f64(1.0 / options.rate);
    let mut due = start;
    let mut tasks = Vec::new();
    while due < start + options.duration && (tasks.len() as u64) < options.requests {
        tokio::time::sleep_until(due.into()).await;
        // Tokio's timer has 1 ms steps: its own lateness is not the gateway's.
        let arrival = if due.elapsed() < Duration::from_millis(2) {
            Instant::now()
        } else {
            due
        };
        let (target, tally) = (target.clone(), tally.clone());
        let (pool, permits) = (pool.clone(), permits.clone());
        tasks.push(tokio::task::spawn_local(async move {
            let permit = permits.acquire().await;
            let mut slot = pool.borrow_mut().pop().flatten();
            shot(&target, &mut slot, arrival, &tally).await;
            pool.borrow_mut().push(slot);
            drop(permit);
        }));
        due += step;
    }
    for task in tasks {
        task.await.expect("a task of ours does not panic");
    }
}

async fn run(options: Options) {
    let authority = options.url.authority().expect("checked by Options::parse");
    let body = options.body();
    // Another number at every start, so that what a gateway saw in an earlier run is not said again.
    let first = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_millis() as u64 % 100_000_000 * 100);
    let number = memmem::find(&body, MARK.as_bytes()).map(|at| (at + 5, Cell::new(first)));
    let target = Rc::new(Target {
        address: authority.to_string(),
        path: options.url.path().to_string(),
        body,
        number,
        headers: options.headers.clone(),
        stream: options.stream,
        timeout: options.timeout,
    });
    let tally = Rc::new(RefCell::new(Tally::new()));
    let start = Instant::now();
    if options.rate > 0.0 {
        open_loop(&options, &target, &tally, start).await;
    } else {
        closed_loop(&options, &target, &tally, start).await;
    }
    let tally = tally.borrow();
    let took = tally.last.map_or(start.elapsed(), |last| last - start);
    println!(
        "{}",
        json!({
            "ok": tally.ok, "errors": tally.failed(), "error_kinds": tally.errors,
            "error_sample": tally.error_sample, "seconds": took.as_secs_f64(),
            "rps": tally.ok as f64 / took.as_secs_f64(),
            "latency_us": quantiles(&tally.latency), "first_chunk_us": quantiles(&tally.first_chunk),
            "gap_us": quantiles(&tally.gap), "events": tally.events, "bytes": tally.bytes,
            "connections": tally.connections, "body_bytes": target.body.len(),
        })
    );
}

fn main() {
    let options = Options::parse(std::env::args().skip(1)).unwrap_or_else(|error| {
        eprintln!("loadgen: {error}");
        std::process::exit(2);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime on one thread");
    tokio::task::LocalSet::new().block_on(&runtime, run(options));
}
