//! `evenkeel node`: hosts that may run replicas.

use super::fail;
use crate::config::{self, Config, is_address};
use evenkeel_agent::{Authority, is_node_name};
use evenkeel_domain::{clock, rng};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `evenkeel node`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum NodeCommand {
    /// Make the file that lets another host run replicas: its certificate and key
    New(New),
}

/// Arguments of `evenkeel node new`.
#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// The node's name: a-z, 0-9 and `-`
    name: String,
    /// Where its agent will listen, as the keeper reaches it
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// Where to write the file; `NAME.bundle` in this directory by default
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Configuration file of the keeper, for its state directory
    #[arg(short, long, default_value = config::DEFAULT_FILE)]
    config: PathBuf,
}

pub(super) fn run(command: &NodeCommand) -> ExitCode {
    let NodeCommand::New(new) = command;
    match make(new) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => fail(&why),
    }
}

fn make(new: &New) -> Result<String, String> {
    let New { name, address, .. } = new;
    if !is_node_name(name) {
        return Err(format!("`{name}` is no name of a node; use up to 63 of a-z, 0-9 and `-`"));
    }
    if !is_address(address) {
        return Err(format!("`{address}` is no address; use HOST:PORT, such as 10.0.0.7:9910"));
    }
    let state_dir = state_dir_of(&new.config)?;
    let now = clock::unix_millis() / 1000;
    let id = rng::from_os().u64(..);
    let authority = Authority::read_or_new(&state_dir, id, now).map_err(|e| e.to_string())?;
    let bundle = authority.bundle(name, address, now).map_err(|e| e.to_string())?;
    let out = new.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.bundle")));
    bundle.write(&out).map_err(|e| e.to_string())?;
    Ok(format!(
        "{file} holds a private key: take it to that host (mode 0600), start there\n\n  \
         evenkeel agent {file}\n\nand add to {config}:\n\n[[node]]\nname = \"{name}\"\naddress = \
         \"{address}\"\n",
        file = out.display(),
        config = new.config.display()
    ))
}

/// The state directory of a configuration that need not be right in all else: the node may be
/// in it already.
fn state_dir_of(path: &Path) -> Result<PathBuf, String> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        format!("{}: cannot be read: {e}; name the keeper's with --config", path.display())
    })?;
    let table: toml::Table = text.parse().map_err(|e| format!("{}: {e}", path.display()))?;
    let state_dir = table.get("state_dir").and_then(|dir| dir.as_str()).map(PathBuf::from);
    Ok(config::state_dir(&Config { state_dir, ..Config::default() }))
}
