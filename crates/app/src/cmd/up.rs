//! `evenkeel up`.

use super::{BAD_CONFIG, fail};
use crate::config;
use crate::keeper::{self, Announcement, KeeperError, Options};
use crate::logging;
use std::path::PathBuf;
use std::process::ExitCode;

/// Open files that a busy gateway needs: two per stream, and some.
const FILES_WANTED: u64 = 16_384;

/// Arguments of `evenkeel up`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration file; watched, and read again when it changes or on SIGHUP
    #[arg(short, long, default_value = config::DEFAULT_FILE)]
    config: PathBuf,
}

pub(super) fn run(args: Args) -> ExitCode {
    let (sources, parsed) = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    if let Err(why) = config::open_store(&parsed) {
        eprintln!("{}: {why}", args.config.display());
        return ExitCode::from(BAD_CONFIG);
    }
    logging::init(parsed.log.format, parsed.log.level.as_deref());
    raise_file_limit();
    serve(Options { file: Some(args.config.clone()), name: args.config, sources, announce })
}

/// Runs the keeper on this thread.
pub(super) fn serve(options: Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(keeper::run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ KeeperError::Config(_)) => {
            eprintln!("{error}");
            ExitCode::from(BAD_CONFIG)
        }
        Err(error) => fail(&error),
    }
}

fn announce(what: &Announcement) {
    let scheme = if what.tls { "https" } else { "http" };
    let clients: Vec<_> = what.clients.iter().map(|a| format!("{scheme}://{a}")).collect();
    tracing::info!(
        clients = clients.join(" "),
        admin = what.admin.map(|a| a.to_string()),
        services = what.services.join(" "),
        workers = what.workers,
        gateway_pid = what.gateway_pid,
        "serving"
    );
}

/// Takes as many open files as the system lets us, and says when that is not enough.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: now.maximum, maximum: now.maximum };
    // Refused only where it is forbidden; then what is there must do.
    let _ = setrlimit(Resource::Nofile, raised);
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if limit < FILES_WANTED {
        tracing::warn!(
            limit,
            "few open files allowed: about {} streams fit; raise LimitNOFILE (systemd) or \
             `ulimit -n`",
            limit / 2
        );
    }
}
