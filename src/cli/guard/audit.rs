//! `weir guard audit verify`: whether an audit was changed.
//!
//! Reads only, also while gateways write. The files that were put aside before the one in use are verified
//! with it, as one chain.

use crate::custody::audit::{files, verify};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to do with an audit.
#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Verify the chain of its lines. Exit status 0: it holds; 1: it does not
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The file in use, such as guard/audit.jsonl
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The hash that a line must have, as `/admin/stats` or an earlier run showed it: shows whether the end was
    /// cut off or written anew
    #[arg(long, value_name = "HASH")]
    holds: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn run(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    let AuditCommand::Verify(args) = &args.command;
    let mut out = std::io::stdout().lock();
    anyhow::ensure!(args.file.exists(), "{}: no such file", args.file.display());
    let files = files(&args.file).with_context(|| args.file.display().to_string())?;
    let verified = verify(&files)?;
    let chain = &verified.verifier;
    if let Some(wrong) = &verified.wrong {
        let (path, line, error) = (wrong.path.display(), wrong.line, wrong.error);
        writeln!(out, "{path}, line {line}: {error}")?;
        writeln!(out, "{} lines before it hold", chain.lines())?;
        return Ok(ExitCode::FAILURE);
    }
    if let Some(hash) = &args.holds
        && !holds(&files, hash)?
    {
        writeln!(
            out,
            "no line has the hash {hash}: the end was cut off or written anew"
        )?;
        return Ok(ExitCode::FAILURE);
    }
    let head = chain.head();
    writeln!(
        out,
        "{} lines in {} files hold, from number {} to {}",
        chain.lines(),
        files.len(),
        chain.first(),
        head.seq
    )?;
    if verified.cut > 0 {
        writeln!(
            out,
            "{} bytes of a line that is not whole come after it",
            verified.cut
        )?;
    }
    writeln!(out, "head {}", head.hash)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether a line of these files, which were verified, has this hash.
fn holds(files: &[PathBuf], hash: &str) -> anyhow::Result<bool> {
    let end = format!("\"hash\":\"{}\"}}", hash.trim().to_ascii_lowercase());
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        if text.lines().any(|line| line.ends_with(&end)) {
            return Ok(true);
        }
    }
    Ok(false)
}
