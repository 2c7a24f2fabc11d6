//! The commands over a gateway that is none: `cli serve` in one terminal, `cli status
//! --watch` in another.

#[path = "../tests/it/fake.rs"]
mod fake;
#[path = "../../app/src/cmd/logs.rs"]
mod logs;
#[path = "../../app/src/cmd/replica.rs"]
mod replica;
#[path = "../../app/src/cmd/status.rs"]
mod status;

use clap::{Parser, Subcommand};
use evenkeel_admin::{AdminClient, ClientError};
use evenkeel_domain::{Outcome, clock, rng};
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::TcpListener;

#[derive(Parser)]
struct Cli {
    #[arg(long, default_value = "127.0.0.1:9900", global = true)]
    admin: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve made-up data
    Serve,
    Status(status::Args),
    Replica(replica::Args),
    Logs(logs::Args),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    run(cli).await.unwrap_or_else(|error| {
        eprintln!("evenkeel: {error}");
        ExitCode::FAILURE
    })
}

async fn run(cli: Cli) -> Result<ExitCode, ClientError> {
    let client = AdminClient::new(&cli.admin, None, None)?;
    match cli.command {
        Command::Serve => Ok(serve(&cli.admin).await),
        Command::Status(args) => status::run(args, &client).await,
        Command::Replica(args) => replica::run(args, &client).await,
        Command::Logs(args) => logs::run(args, &client).await,
    }
}

async fn serve(address: &str) -> ExitCode {
    let Ok(listener) = TcpListener::bind(address).await else { return ExitCode::FAILURE };
    let fake = fake::Fake::new();
    let state = fake.state(None);
    let traffic = async {
        let mut rng = rng::from_os();
        loop {
            tokio::time::sleep(Duration::from_millis(rng.u64(5..80))).await;
            let pool = &fake.services[0].1;
            let took = Duration::from_millis(rng.u64(20..400));
            pool.counts.requests[0].fetch_add(1, Relaxed);
            pool.counts.first_byte.record(took);
            pool.counts.total.record(took * 9);
            let members = pool.members();
            members[0].live.record_outcome(Outcome::Ok, clock::now());
            members[0].live.record_first_byte(took);
        }
    };
    let served = evenkeel_admin::serve(state, vec![listener], None, traffic).await;
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
