//! `evenkeel logs`: what a supervised replica wrote.

use evenkeel_admin::{AdminClient, ClientError};
use std::io::Write;
use std::process::ExitCode;

/// Exit code when nobody answers at the admin API's address.
const NOBODY: u8 = 3;

/// Arguments of `evenkeel logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The replica, as `evenkeel status` names it
    name: String,
    /// How many of the last lines
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: usize,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
}

/// Copies the log to standard output.
///
/// # Errors
/// When the server refuses or breaks off.
pub(crate) async fn run(args: Args, client: &AdminClient) -> Result<ExitCode, ClientError> {
    let mut log = match client.logs(&args.name, args.lines, args.follow).await {
        Err(error @ ClientError::Nobody { .. }) => {
            eprintln!("evenkeel: {error}");
            return Ok(ExitCode::from(NOBODY));
        }
        other => other?,
    };
    let mut out = std::io::stdout();
    while let Some(piece) = log.next().await? {
        // Whoever read this has read enough (`| head`).
        if out.write_all(&piece).and_then(|()| out.flush()).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    if args.follow {
        eprintln!("evenkeel: the server ended, and this log with it");
    }
    Ok(ExitCode::SUCCESS)
}
