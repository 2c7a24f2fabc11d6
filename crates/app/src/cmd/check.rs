//! `evenkeel check` and `evenkeel config schema`.

use super::{BAD_CONFIG, fail};
use crate::config::{self, Config, replicas};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `evenkeel check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration file
    #[arg(default_value = config::DEFAULT_FILE)]
    config: PathBuf,
}

/// `evenkeel config …`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the JSON schema of the configuration, for editors
    Schema,
}

pub(super) fn run(args: &Args) -> ExitCode {
    match config::load(&args.config) {
        Ok((_, config)) => {
            if let Err(why) = config::check_store(&config) {
                eprintln!("{}: {why}", args.config.display());
                return ExitCode::from(BAD_CONFIG);
            }
            println!("{}: good", args.config.display());
            for service in &config.service {
                let places: u32 = service.replica.iter().map(replicas::numbers).sum();
                let looked_up =
                    service.replica.iter().filter(|r| r.dns.is_some() || r.file.is_some()).count();
                let more = match looked_up {
                    0 => String::new(),
                    n => format!(", {n} looked up"),
                };
                let plural = if places == 1 { "" } else { "s" };
                println!("  service {}: {places} replica{plural}{more}", service.name);
            }
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(BAD_CONFIG)
        }
    }
}

pub(super) fn config(command: &ConfigCommand) -> ExitCode {
    let ConfigCommand::Schema = command;
    match serde_json::to_string_pretty(&schemars::schema_for!(Config)) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}
