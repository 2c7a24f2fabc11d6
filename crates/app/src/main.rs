//! `evenkeel`: keeps AI model services answering.

mod cmd;
mod config;
mod gateway;
mod keeper;
mod link;
mod logging;

use clap::Parser;
use std::process::ExitCode;

/// The system's allocator took a tenth of a request's CPU in a profile.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cmd::Cli::parse().run()
}
