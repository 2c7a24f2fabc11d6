//! `evenkeel audit`: whether the journal of recovery is as it was written.

use crate::config;
use evenkeel_store::{Tampered, verify};
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code for a journal that was tampered with.
const TAMPERED: u8 = 1;
/// Exit code for one that cannot be read.
const UNREADABLE: u8 = 2;

/// What to do about the journal.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AuditCommand {
    /// Compare every row with its hash; exit code 1 when one was changed, added or removed
    Verify(Args),
}

/// Arguments of `evenkeel audit verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration file, for the state directory
    #[arg(short, long, default_value = config::DEFAULT_FILE)]
    config: PathBuf,
    /// The journal's file, instead of the one of the configuration
    #[arg(long)]
    journal: Option<PathBuf>,
    /// A head that was printed before, as NUMBER:HASH: nothing up to there may have changed
    #[arg(long, value_parser = head)]
    head: Option<(u64, String)>,
}

fn head(text: &str) -> Result<(u64, String), String> {
    let parts = text.split_once(':').and_then(|(n, hash)| Some((n.parse().ok()?, hash.into())));
    parts.ok_or_else(|| "write it as it was printed: NUMBER:HASH".into())
}

/// Runs `evenkeel audit`.
pub(crate) fn run(command: AuditCommand) -> ExitCode {
    let AuditCommand::Verify(args) = command;
    let path = match args.journal {
        Some(path) => path,
        None => match config::load(&args.config) {
            Ok((_, config)) => config::journal_path(&config),
            Err(errors) => return unreadable(&errors),
        },
    };
    if !path.exists() {
        let path = path.display();
        return unreadable(&format!(
            "there is no journal at {path}: nothing was healed with this configuration yet; name \
             another one with --config, or the file itself with --journal"
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return unreadable(&error),
    };
    let noted = args.head.as_ref().map(|(at, hash)| (*at, hash.as_str()));
    match runtime.block_on(verify(&path, noted)) {
        Ok(chain) => {
            println!("{}: {} rows are as they were written", path.display(), chain.rows);
            if chain.pruned > 0 {
                println!("{} older ones were deleted as too old", chain.pruned);
            }
            println!("head {}:{}", chain.head, chain.hash);
            ExitCode::SUCCESS
        }
        Err(Tampered::Broken { seq, what }) => {
            eprintln!(
                "evenkeel: {}: {what}; rows before {seq} are as they were written",
                path.display()
            );
            ExitCode::from(TAMPERED)
        }
        Err(Tampered::Open(error)) => unreadable(&error),
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("evenkeel: {error}");
    ExitCode::from(UNREADABLE)
}
