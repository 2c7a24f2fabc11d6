//! `evenkeel demo`: the whole of it in one command, with nothing installed.

use super::{fail, up};
use crate::config::{LogFormat, Sources};
use crate::keeper::{Announcement, Options};
use crate::logging;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `evenkeel demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address for clients
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: std::net::SocketAddr,
    /// Address of the admin API
    #[arg(long, default_value = "127.0.0.1:9900")]
    admin: std::net::SocketAddr,
    /// Replicas of the built-in model
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=16))]
    replicas: u32,
    /// Time between two tokens, in milliseconds
    #[arg(long, default_value_t = 30)]
    pace: u64,
}

pub(super) fn run(args: Args) -> ExitCode {
    if !args.listen.ip().is_loopback() || !args.admin.ip().is_loopback() {
        return fail(
            &"the demo serves on loopback only: nobody shall take a toy model's answers \
                      for real ones; `evenkeel init` writes a configuration for real use",
        );
    }
    logging::init(LogFormat::Text, Some("warn,evenkeel_health=info,evenkeel::keeper=info"));
    up::raise_file_limit();
    let state = match State::new() {
        Ok(state) => state,
        Err(error) => return fail(&error),
    };
    let text = match config_text(&args, &state.0) {
        Ok(text) => text,
        Err(error) => return fail(&error),
    };
    let sources = Sources { text, keys: None };
    eprintln!("evenkeel: starting {} replicas of the built-in model …", args.replicas);
    up::serve(Options { file: None, name: PathBuf::from("(demo)"), sources, announce })
}

/// A directory of this demo's own: nothing of an earlier one shows, and nothing of this one
/// is left.
struct State(PathBuf);

impl State {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("evenkeel-demo-{}", std::process::id()));
        // It must be new: in a place where anybody may write, another's is not to be trusted.
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(std::io::Error::new(error.kind(), format!("{path:?}: {error}"))),
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the demo's files stay");
        }
    }
}

fn config_text(args: &Args, state: &Path) -> std::io::Result<String> {
    let program = std::env::current_exe()?;
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    Ok(format!(
        r#"
state_dir = {state}

[gateway]
listen = "{listen}"
drain = "10s"

[admin]
listen = "{admin}"

[[service]]
name = "demo"
models = ["evenkeel-demo"]

  [[service.replica]]
  command = [{program}, "model", "--listen", "127.0.0.1:{{port}}", "--pace", "{pace}"]
  copies = {replicas}
  stop_grace = "5s"
"#,
        state = quoted(&state.to_string_lossy()),
        program = quoted(&program.to_string_lossy()),
        listen = args.listen,
        admin = args.admin,
        pace = args.pace,
        replicas = args.replicas,
    ))
}

fn announce(what: &Announcement) {
    let Some(address) = what.clients.first() else { return };
    let admin = what.admin.map(|a| a.to_string()).unwrap_or_default();
    println!("evenkeel demo: a toy model behind a real gateway\n");
    println!("  clients   http://{address}   (OpenAI and Anthropic paths, model evenkeel-demo)");
    println!("  admin     http://{admin}   (metrics, /api/v1)");
    println!("  gateway   pid {}, {} workers", what.gateway_pid, what.workers);
    for instance in &what.instances {
        match (instance.pid, instance.port) {
            (Some(pid), Some(port)) => {
                println!("  replica   {}   pid {pid}, port {port}", instance.name);
            }
            _ => println!("  replica   {}   {}", instance.name, instance.phase.label()),
        }
    }
    println!("\nStream an answer:\n");
    println!(
        "  curl -N http://{address}/v1/chat/completions -H 'content-type: application/json' \\\n    \
         -d '{{\"model\":\"evenkeel-demo\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\
         \"content\":\"Tell me of the sea\"}}]}}'"
    );
    if let Some(pid) = what.instances.iter().find_map(|instance| instance.pid) {
        println!("\nThen kill a replica, and ask again: nobody notices.\n\n  kill -9 {pid}");
    }
    let flag =
        if admin == "127.0.0.1:9900" { String::new() } else { format!(" --admin http://{admin}") };
    println!("\nWatch it: evenkeel status --watch{flag}");
    println!("Ctrl-C drains and stops everything.\n");
}
