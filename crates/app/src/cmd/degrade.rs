//! `evenkeel degrade`: has a service do less by hand.

use evenkeel_admin::{AdminClient, ClientError};
use evenkeel_domain::answers::LEVELS;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `evenkeel degrade`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service
    service: String,
    /// 0 (do everything) to 6 (a fixed answer), or `auto` to leave it to what is measured
    #[arg(value_parser = level)]
    level: Level,
    /// When the order ends by itself, like 30m or 2h; without it, at `auto`
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    lasts: Option<Duration>,
    /// Who orders, for the record
    #[arg(long, env = "USER", default_value = "cli")]
    owner: String,
}

/// A level by hand, or none.
#[derive(Debug, Clone, Copy)]
struct Level(Option<u8>);

fn level(text: &str) -> Result<Level, String> {
    if text == "auto" {
        return Ok(Level(None));
    }
    let number = text.parse::<u8>().ok().filter(|n| usize::from(*n) < LEVELS.len());
    number.map(|n| Level(Some(n))).ok_or_else(|| "a level is 0 to 6, or `auto`".into())
}

/// Gives the order, and says what it means.
pub(crate) async fn run(args: Args, client: &AdminClient) -> Result<ExitCode, ClientError> {
    let Level(level) = args.level;
    client.degrade(&args.service, level, &args.owner, args.lasts).await?;
    match level {
        None => println!("{}: its level follows what is measured", args.service),
        Some(n) => {
            let what = LEVELS.get(usize::from(n)).copied().unwrap_or_default();
            println!("{}: level {n} ordered ({what})", args.service);
        }
    }
    Ok(ExitCode::SUCCESS)
}
