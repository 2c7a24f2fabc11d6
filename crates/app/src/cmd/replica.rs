//! `evenkeel replica`: orders about one replica.

use evenkeel_admin::client::ReplicaOrder;
use evenkeel_admin::{AdminClient, ClientError};
use std::process::ExitCode;
use std::time::Duration;

/// Exit code when nobody answers at the admin API's address.
const NOBODY: u8 = 3;

/// Arguments of `evenkeel replica`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, clap::Subcommand)]
enum Order {
    /// Send it nothing new; what runs may finish
    Drain(Lasting),
    /// Take it out at once; what runs is moved
    Isolate(Lasting),
    /// End what was ordered for it by drain or isolate
    Undrain {
        /// The replica, as `evenkeel status` names it
        name: String,
    },
    /// Have a standby take traffic, until it is demoted
    Promote(Named),
    /// Send a promoted standby back; it ends what it has begun
    Demote(Named),
    /// Stop and start it, if Evenkeel runs it
    Restart {
        /// The replica, as `evenkeel status` names it
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The standby, as `evenkeel status` names it
    name: String,
    /// Who orders, for the record
    #[arg(long, env = "USER", default_value = "cli")]
    owner: String,
}

#[derive(Debug, clap::Args)]
struct Lasting {
    /// The replica, as `evenkeel status` names it
    name: String,
    /// When the order ends by itself, like 30m or 2h; without it, at `undrain`
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    lasts: Option<Duration>,
    /// Who orders, for the record
    #[arg(long, env = "USER", default_value = "cli")]
    owner: String,
}

/// Gives the order, and says that it was taken.
///
/// # Errors
/// When the server refuses it.
pub(crate) async fn run(args: Args, client: &AdminClient) -> Result<ExitCode, ClientError> {
    let (order, name, lasts, owner) = match args.order {
        Order::Drain(a) => (ReplicaOrder::Drain, a.name, a.lasts, a.owner),
        Order::Isolate(a) => (ReplicaOrder::Isolate, a.name, a.lasts, a.owner),
        Order::Promote(a) => (ReplicaOrder::Promote, a.name, None, a.owner),
        Order::Demote(a) => (ReplicaOrder::Demote, a.name, None, a.owner),
        Order::Undrain { name } => (ReplicaOrder::Undrain, name, None, String::new()),
        Order::Restart { name } => (ReplicaOrder::Restart, name, None, String::new()),
    };
    match client.replica_order(order, &name, &owner, lasts).await {
        Err(error @ ClientError::Nobody { .. }) => {
            eprintln!("evenkeel: {error}");
            return Ok(ExitCode::from(NOBODY));
        }
        other => other?,
    }
    let until = match (order, lasts) {
        (_, Some(lasts)) => format!(", for {}", humantime::format_duration(lasts)),
        (ReplicaOrder::Drain | ReplicaOrder::Isolate, None) => {
            format!(", until `evenkeel replica undrain {name}`")
        }
        _ => String::new(),
    };
    println!("{name}: {} ordered{until}; `evenkeel status` shows how it goes", order.verb());
    Ok(ExitCode::SUCCESS)
}
