//! The `weir` program: see [`weir::cli`].

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match weir::cli::run(weir::cli::Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}
