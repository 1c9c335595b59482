//! The `weir` program: see [`weir::cli`].

use clap::Parser as _;
use std::process::ExitCode;

/// A tenth less CPU a request than the system's allocator, for a few KiB more an open stream
/// (`make bench`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match weir::cli::run(weir::cli::Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}
