//! `evenkeel check` and `evenkeel config schema`.

use super::{BAD_CONFIG, fail};
use crate::config::{self, Config, replicas};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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
            warn_of_keys(&args.config, &config);
            for service in &config.service {
                let places: u32 =
                    service.replica.iter().map(|r| replicas::numbers(service, r)).sum();
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

/// Says how many keys there are, and whether others can read them: hashes give no key away,
/// but names and limits are nobody else's affair.
fn warn_of_keys(path: &Path, config: &Config) {
    if !config.asks_for_keys() {
        return;
    }
    let good = config.key.iter().filter(|key| !key.revoked).count();
    println!("  keys: {good}, {} revoked", config.key.len() - good);
    if good == 0 {
        eprintln!("warning: nobody has a key, so that nobody is served; `evenkeel key new ID`");
    }
    let Some(file) = config.gateway.keys.as_ref().map(|named| config::beside(path, named)) else {
        return;
    };
    let mode = std::fs::metadata(&file).map_or(0, |meta| meta.permissions().mode());
    if mode & 0o077 != 0 {
        let file = file.display();
        eprintln!("warning: {file} is not its owner's alone; `chmod 600 {file}`");
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
