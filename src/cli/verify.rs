//! `weir verify`: check the signatures of an answer that was saved with curl.
//!
//! Decides where keys come from and what is said; what a signature covers is [`crate::signature`]'s.

mod saved;

use crate::policy;
use crate::policy::signatures::{DEFAULT_ID, VARIABLE};
use crate::settings::environment::Environment;
use crate::settings::problem::Complaint;
use crate::settings::units;
use crate::signature::v1::{self, Asked, Form, Received, Stamp};
use crate::signature::{Key, titan};
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use saved::Head;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// What to check, and against what.
///
/// Keys come from --key, --policy and the variable `HMAC_SECRET`. The exit status is 0 when everything that
/// was looked for is verified, 2 when something is not.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The answer's body, every byte of it, as `curl -o` saves it; `-` reads it from the input
    #[arg(value_name = "BODY")]
    body: PathBuf,
    /// The answer's header, as `curl -D` saves it; v1 needs it
    #[arg(long, value_name = "FILE")]
    headers: Option<PathBuf>,
    /// What must be there and right
    #[arg(long, value_enum, default_value_t = Scheme::Any)]
    scheme: Scheme,
    /// The path that was asked for, with its query; v1 needs it
    #[arg(long)]
    path: Option<String>,
    /// The method that was used
    #[arg(long, default_value = "POST")]
    method: String,
    /// The `x-weir-nonce` that was sent
    #[arg(long)]
    nonce: Option<String>,
    /// The body that was sent
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// How old the signature may be, such as 5m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<Duration>,
    /// A key: its id, and the file that holds its secret
    #[arg(long, value_name = "ID=FILE")]
    key: Vec<String>,
    /// The policy whose keys are used
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

/// What must be there and right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scheme {
    /// Whatever is there, and at least one
    Any,
    /// The Model Gateway's
    Titan,
    /// The one that covers the whole exchange
    V1,
    /// Both
    Both,
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|complaint: Complaint| complaint.message)
}

/// What was found out about one scheme: nothing when it was not looked for.
type Found<T> = Option<Result<T, String>>;

/// Runs the command.
///
/// # Errors
/// When a file cannot be read, or there is nothing to check with.
pub fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let keys = keys(args)?;
    let body = read(&args.body)?;
    let head = match &args.headers {
        Some(path) => Some(Head::parse(&String::from_utf8_lossy(&read(path)?))?),
        None => None,
    };
    let events = match &head {
        Some(head) => head.is_stream(),
        None => !body.trim_ascii_start().starts_with(b"{"),
    };
    let any = args.scheme == Scheme::Any;
    let titan_is_there = titan::is_signed(events, &body);
    let v1_is_there = head
        .as_ref()
        .is_some_and(|head| !head.signatures.is_empty())
        || memchr::memmem::find(&body, v1::COMMENT).is_some();
    let v1 = (matches!(args.scheme, Scheme::V1 | Scheme::Both) || (any && v1_is_there))
        .then(|| check_v1(args, &keys, head.as_ref(), events, &body));
    let v1 = v1.transpose()?;
    let titan = matches!(args.scheme, Scheme::Titan | Scheme::Both) || (any && titan_is_there);
    let titan = titan.then(|| titan::verify(&keys, events, &body).map_err(|flaw| flaw.to_string()));
    let verified = match (&v1, &titan) {
        (None, None) => false,
        (v1, titan) => {
            v1.as_ref().is_none_or(Result::is_ok) && titan.as_ref().is_none_or(Result::is_ok)
        }
    };
    if args.json {
        println!("{}", as_json(verified, events, &v1, &titan));
    } else {
        say(events, &v1, &titan);
    }
    Ok(if verified {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

fn keys(args: &VerifyArgs) -> anyhow::Result<Vec<Arc<Key>>> {
    let environment = Environment::capture(Path::new("."));
    let mut keys = Vec::new();
    for stated in &args.key {
        let (id, file) = stated
            .split_once('=')
            .with_context(|| "--key is ID=FILE, the file holding the secret")?;
        let secret = Zeroizing::new(read(Path::new(file))?);
        let key = Key::new(id, secret.trim_ascii()).with_context(|| format!("--key {id}"))?;
        keys.push(Arc::new(key));
    }
    if let Some(path) = &args.policy {
        keys.extend(policy::load(path, &environment)?.signatures.keys);
    } else if let Some(secret) = environment.filled(VARIABLE) {
        // One that is too short to sign with may have been the Model Gateway's own.
        keys.push(Arc::new(Key::new(DEFAULT_ID, secret.trim().as_bytes())?));
    }
    if keys.is_empty() {
        bail!("there is no key to verify with: set {VARIABLE}, or name one with --key or --policy");
    }
    Ok(keys)
}

fn check_v1(
    args: &VerifyArgs,
    keys: &[Arc<Key>],
    head: Option<&Head>,
    events: bool,
    body: &[u8],
) -> anyhow::Result<Result<Stamp, String>> {
    let head = head.context("v1 signs the header, too: name it with --headers")?;
    let path = args.path.clone().context(
        "v1 signs what was asked for: name it with --path, such as /v1/chat/completions",
    )?;
    let sent = args.request.as_deref().map(read).transpose()?;
    let asked = Asked {
        method: args.method.clone(),
        path,
        request_id: head.request_id.clone(),
        nonce: args.nonce.clone(),
        body: sent.map(|sent| v1::digest(&sent)),
    };
    if head.signatures.len() > 1 {
        return Ok(Err("there are several signatures in the header".to_owned()));
    }
    let received = Received {
        asked: &asked,
        status: head.status,
        header: head.signatures.first().map(String::as_str),
        form: if events { Form::Stream } else { Form::Whole },
        body,
    };
    let stamp = match v1::verify(keys, &received) {
        Ok(stamp) => stamp,
        Err(flaw) => return Ok(Err(flaw.to_string())),
    };
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    let age = Duration::from_millis(now.abs_diff(stamp.millis));
    if args.max_age.is_some_and(|most| age > most) {
        let age = units::show_duration(Duration::from_secs(age.as_secs()));
        return Ok(Err(format!(
            "the signature is {age} away from now: the answer may be an old one"
        )));
    }
    Ok(Ok(stamp))
}

fn moment(millis: u64) -> String {
    let moment = i64::try_from(millis)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    moment.map(|moment| moment.to_string()).unwrap_or_default()
}

fn say(events: bool, v1: &Found<Stamp>, titan: &Found<titan::Checked>) {
    match v1 {
        None => println!("v1: not signed"),
        Some(Err(why)) => println!("v1: WRONG: {why}"),
        Some(Ok(stamp)) => println!(
            "v1: verified: the whole {}, signed with key `{}` at {}",
            if events { "stream" } else { "answer" },
            stamp.key,
            moment(stamp.millis)
        ),
    }
    match titan {
        None => println!("titan: not signed"),
        Some(Err(why)) => println!("titan: WRONG: {why}"),
        Some(Ok(checked)) if events => println!(
            "titan: verified: {} chunks, signed with key `{}`; whether the stream is whole it does not say",
            checked.signatures, checked.key
        ),
        Some(Ok(checked)) => println!(
            "titan: verified: the content, signed with key `{}`",
            checked.key
        ),
    }
}

fn as_json(
    verified: bool,
    events: bool,
    v1: &Found<Stamp>,
    titan: &Found<titan::Checked>,
) -> Value {
    let v1 = v1.as_ref().map(|found| match found {
        Ok(stamp) => json!({
            "verified": true,
            "key": stamp.key,
            "signed_at": moment(stamp.millis),
            "nonce": stamp.nonce,
            "request_sha256": stamp.request,
            "body_sha256": stamp.body,
        }),
        Err(why) => json!({"verified": false, "error": why}),
    });
    let titan = titan.as_ref().map(|found| match found {
        Ok(checked) => json!({
            "verified": true,
            "key": checked.key,
            "signatures": checked.signatures,
        }),
        Err(why) => json!({"verified": false, "error": why}),
    });
    json!({"verified": verified, "stream": events, "v1": v1, "titan": titan})
}
