//! `evenkeel scale`: how many copies of a service run, by hand.

use evenkeel_admin::{AdminClient, ClientError};
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `evenkeel scale`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service
    service: String,
    /// How many copies, or `auto` to leave it to what is measured
    #[arg(value_parser = copies)]
    copies: Copies,
    /// When the order ends by itself, like 30m or 2h; without it, at `auto`
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    lasts: Option<Duration>,
    /// Who orders, for the record
    #[arg(long, env = "USER", default_value = "cli")]
    owner: String,
}

/// A number by hand, or none.
#[derive(Debug, Clone, Copy)]
struct Copies(Option<u32>);

fn copies(text: &str) -> Result<Copies, String> {
    if text == "auto" {
        return Ok(Copies(None));
    }
    text.parse().map(|n| Copies(Some(n))).map_err(|_| "a number of copies, or `auto`".into())
}

/// Gives the order, and says what it means.
pub(crate) async fn run(args: Args, client: &AdminClient) -> Result<ExitCode, ClientError> {
    let Copies(copies) = args.copies;
    client.scale(&args.service, copies, &args.owner, args.lasts).await?;
    match copies {
        None => println!("{}: its copies follow what is measured", args.service),
        Some(n) => println!("{}: {n} copies ordered", args.service),
    }
    Ok(ExitCode::SUCCESS)
}
