//! `evenkeel job`: commands that must reach their end.

use super::times::{ago, clock};
use evenkeel_admin::view::JobView;
use evenkeel_admin::{AdminClient, ClientError};
use evenkeel_domain::clock::unix_millis;
use evenkeel_domain::job::JobOrder;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `evenkeel job`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List all jobs
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one: what it goes on from, how it failed, what that cost
    Show {
        /// The job
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Start one (again) from its last good checkpoint; what counted against it is forgotten
    Restart {
        /// The job
        name: String,
    },
    /// Stop one until it is restarted
    Stop {
        /// The job
        name: String,
    },
}

/// Does it.
pub(crate) async fn run(args: Args, client: &AdminClient) -> Result<ExitCode, ClientError> {
    match args.what {
        What::List { json } => {
            let jobs = client.snapshot().await?.jobs;
            match json {
                true => print_json(&jobs),
                false => jobs.iter().for_each(|job| println!("{}", line(job))),
            }
        }
        What::Show { name, json } => {
            let jobs = client.snapshot().await?.jobs;
            let Some(job) = jobs.iter().find(|job| job.name == name) else {
                eprintln!("evenkeel: there is no job `{name}`; `evenkeel job list` lists them");
                return Ok(ExitCode::FAILURE);
            };
            match json {
                true => print_json(job),
                false => show(job),
            }
        }
        What::Restart { name } => {
            client.job(&name, JobOrder::Restart).await?;
            println!("{name}: restart ordered");
        }
        What::Stop { name } => {
            client.job(&name, JobOrder::Stop).await?;
            println!("{name}: stop ordered");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_json<T: serde::Serialize>(what: &T) {
    println!("{}", serde_json::to_string_pretty(what).unwrap_or_default());
}

fn line(job: &JobView) -> String {
    let checkpoint = if job.checkpoint.is_empty() { "none" } else { &job.checkpoint };
    format!(
        "{}  {}  starts {}  failures {}  lost {}  checkpoint {checkpoint}  {}",
        job.name,
        job.stage.replace('_', " "),
        job.starts,
        job.failures,
        time(job.lost_ms),
        job.why
    )
}

fn show(job: &JobView) {
    println!("{}", line(job));
    let now = unix_millis();
    if let Some(at) = job.checkpoint_unix_ms {
        println!("  last good checkpoint {}: {} ago", job.checkpoint, ago(now.saturating_sub(at)));
    }
    if !job.broken.is_empty() {
        println!("  not as they were written: {}", job.broken.join(", "));
    }
    if let Some(progress) = &job.progress {
        println!("  says: {progress}");
    }
    for failure in &job.last_failures {
        let from =
            if failure.checkpoint.is_empty() { "no checkpoint" } else { &failure.checkpoint };
        let (at, lost) = (clock(failure.at_unix_ms), time(failure.lost_ms));
        println!("  {at} failed with {from}, {lost} lost: {}", failure.how);
    }
    for said in &job.last_lines {
        println!("    {said}");
    }
}

fn time(ms: u64) -> String {
    // To a tenth of a second: more would be noise.
    humantime::format_duration(Duration::from_millis(ms / 100 * 100)).to_string()
}
