//! `evenkeel`: keeps AI model services answering.

mod cmd;
mod config;
mod gateway;
mod keeper;
mod link;
mod logging;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    cmd::Cli::parse().run()
}
