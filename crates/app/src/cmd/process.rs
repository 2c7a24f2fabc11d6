//! `evenkeel reload`, `upgrade` and `stop`: orders to a running Evenkeel.

use evenkeel_admin::{AdminClient, ClientError};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `evenkeel reload` and `evenkeel stop`: none.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Arguments of `evenkeel upgrade`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpgradeArgs {
    /// The new binary; by default what lies now where the running one was started from
    #[arg(long)]
    binary: Option<PathBuf>,
}

pub(crate) async fn reload(_: Args, client: &AdminClient) -> Result<ExitCode, ClientError> {
    client.reload().await?;
    println!("reading the configuration again; `evenkeel status` tells whether it was taken");
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn upgrade(
    args: UpgradeArgs,
    client: &AdminClient,
) -> Result<ExitCode, ClientError> {
    // The other process may run in another directory.
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    client.upgrade(args.binary.map(absolute)).await?;
    println!("handing over; answers under way end in the old process");
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn stop(_: Args, client: &AdminClient) -> Result<ExitCode, ClientError> {
    client.stop().await?;
    println!("stopping; answers under way may end");
    Ok(ExitCode::SUCCESS)
}
