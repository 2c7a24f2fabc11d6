//! `evenkeel incident`, `why`, `pause`, `resume`: what is wrong, why, what was done, what to do
//! next; and what people order about it.

use super::times::{ago, clock};
use evenkeel_admin::view::{IncidentDetail, IncidentView, SignView};
use evenkeel_admin::{AdminClient, ClientError};
use evenkeel_domain::clock::unix_millis;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `evenkeel incident`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List the newest incidents
    List {
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one with all that was written down about it
    Show {
        /// The incident's number
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what would be done about a replica now, and why; nothing of it is done
    Plan {
        /// The replica, as `evenkeel status` names it
        replica: String,
    },
    /// Go on with an incident that waits for a person
    Approve {
        /// The incident's number
        id: String,
        #[command(flatten)]
        by: By,
    },
    /// Do a step now, whatever the limits say
    Force {
        /// The incident's number
        id: String,
        /// Number (from 1) or name of the step
        step: String,
        #[command(flatten)]
        by: By,
    },
    /// End what its steps keep in force: copies, a service that stands in
    Undo {
        /// The incident's number
        id: String,
        #[command(flatten)]
        by: By,
    },
    /// End the storm stop
    ResetStorm {
        #[command(flatten)]
        by: By,
    },
}

#[derive(Debug, clap::Args)]
struct By {
    /// Who orders, for the record
    #[arg(long, env = "USER", default_value = "cli")]
    owner: String,
}

/// Runs `evenkeel incident`.
///
/// # Errors
/// When the server refuses.
pub(crate) async fn run(args: Args, client: &AdminClient) -> Result<ExitCode, ClientError> {
    match args.what {
        What::List { limit, json } => list(client, limit, json).await?,
        What::Show { id, json } => {
            let detail = client.incident(&id).await?;
            if json {
                println!("{}", serde_json::to_string_pretty(&detail).unwrap_or_default());
            } else {
                print!("{}", shown(&detail, unix_millis()));
            }
        }
        What::Plan { replica } => plan(client, &replica).await?,
        What::Approve { id, by } => {
            client.approve(&id, &by.owner).await?;
            println!("{id}: approved; `evenkeel incident show {id}` shows how it goes");
        }
        What::Force { id, step, by } => {
            client.force(&id, &step, &by.owner).await?;
            println!("{id}: {step} ordered; `evenkeel incident show {id}` shows how it goes");
        }
        What::Undo { id, by } => {
            client.undo(&id, &by.owner).await?;
            println!("{id}: undone; `evenkeel incident show {id}` shows what was");
        }
        What::ResetStorm { by } => {
            client.reset_storm(&by.owner).await?;
            println!("the storm stop is over; incidents go on");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &AdminClient, limit: u32, json: bool) -> Result<(), ClientError> {
    let all = client.incidents(limit).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&all).unwrap_or_default());
        return Ok(());
    }
    if all.is_empty() {
        println!("no incidents");
    }
    let now = unix_millis();
    for incident in &all {
        println!("{}", line(incident, now));
    }
    let recovery = client.snapshot().await?.recovery;
    for pause in recovery.map(|recovery| recovery.pauses).unwrap_or_default() {
        let left = ago(pause.until_unix_ms.saturating_sub(now));
        println!("{} is paused by {} for {left}: {}", pause.target, pause.owner, pause.why);
    }
    Ok(())
}

fn line(incident: &IncidentView, now: u64) -> String {
    let age = ago(now.saturating_sub(incident.onset_unix_ms));
    let took = incident.resolved_unix_ms.map_or_else(String::new, |at| {
        format!(" after {}", ago(at.saturating_sub(incident.onset_unix_ms)))
    });
    format!(
        "{:<8} {:<12} {:<10} {} ago  {}{took}: {}",
        incident.id, incident.replica, incident.phase, age, incident.cause, incident.why
    )
}

async fn plan(client: &AdminClient, replica: &str) -> Result<(), ClientError> {
    let plan = client.plan(replica).await?;
    let incident = plan.incident.map(|id| format!(" (incident {id})")).unwrap_or_default();
    println!("{replica}{incident}\n  next: {}", plan.next);
    for (n, step) in plan.steps.iter().enumerate() {
        println!("  {}. {}\n     {}", n + 1, step.what, step.verdict);
        let undo = if step.undo.is_empty() { "no undo" } else { &step.undo };
        println!("     touches {}; {undo}", step.touches);
    }
    println!("  then a person is called");
    Ok(())
}

/// An incident as text.
fn shown(detail: &IncidentDetail, now: u64) -> String {
    let one = &detail.incident;
    let mut out = format!(
        "incident {}  {}  {}\n  wrong     {}: {}\n",
        one.id, one.replica, one.phase, one.cause, one.why
    );
    let mut times = vec![format!("onset {}", clock(one.onset_unix_ms))];
    for (name, at) in [
        ("detected", one.detected_unix_ms),
        ("isolated", one.isolated_unix_ms),
        ("mitigated", one.mitigated_unix_ms),
        ("resolved", one.resolved_unix_ms),
    ] {
        if let Some(at) = at {
            times.push(format!("{name} +{}", ago(at.saturating_sub(one.onset_unix_ms))));
        }
    }
    out.push_str(&format!("  times     {}\n", times.join(", ")));
    out.push_str(&signs(&one.signs));
    let steps =
        one.steps.iter().enumerate().map(|(n, name)| {
            if n as u64 + 1 == one.step { format!("[{name}]") } else { name.clone() }
        });
    let steps: Vec<String> = steps.collect();
    out.push_str(&format!("  playbook  {}\n  done\n", steps.join(" → ")));
    for row in &detail.rows {
        let at = clock(row.at_unix_ms);
        out.push_str(&format!("    {at}  {:<10} {}  (epoch {})\n", row.kind, row.text, row.epoch));
    }
    for hold in &one.holds {
        out.push_str(&format!("  in force  {hold}; `evenkeel incident undo {}` ends it\n", one.id));
    }
    if !one.held.is_empty() {
        out.push_str(&format!("  now       {}\n", one.held));
    }
    if !one.next.is_empty() {
        out.push_str(&format!("  next      {}\n", one.next));
    }
    let age = ago(now.saturating_sub(one.since_unix_ms));
    out.push_str(&format!("  {} for {age}\n", one.phase));
    out
}

fn signs(all: &[SignView]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut out = "  signals\n".to_owned();
    for sign in all {
        out.push_str(&format!(
            "    {}  {}: {}\n",
            clock(sign.at_unix_ms),
            sign.observer,
            sign.text
        ));
    }
    out
}

/// Arguments of `evenkeel why`.
#[derive(Debug, clap::Args)]
pub(crate) struct WhyArgs {
    /// The replica, as `evenkeel status` names it
    replica: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs `evenkeel why`.
///
/// # Errors
/// When the server refuses.
pub(crate) async fn why(args: WhyArgs, client: &AdminClient) -> Result<ExitCode, ClientError> {
    let why = client.why(&args.replica).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&why).unwrap_or_default());
        return Ok(ExitCode::SUCCESS);
    }
    let on = why.node.as_ref().map_or_else(String::new, |node| format!(" on {node}"));
    println!("{}{on}  {}: {}", why.replica, why.health, why.why);
    println!("  {}; evidence against it: {}", why.gate, evidence(&why.against, &why.detectors));
    print!("{}", signs(&why.signs));
    if let Some(detail) = &why.incident {
        print!("{}", shown(detail, unix_millis()));
    }
    println!("what to do next: {}", why.next);
    Ok(ExitCode::SUCCESS)
}

fn evidence(against: &str, detectors: &[String]) -> String {
    let weight = match against {
        "nothing" => return "none".into(),
        "one" => "one signal",
        "enough" => "enough to isolate",
        _ => "certain",
    };
    format!("{weight} ({})", detectors.join(", "))
}

/// Arguments of `evenkeel pause`.
#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    /// A replica or a service; everything without it
    #[arg(default_value = "all")]
    target: String,
    /// For how long, like 30m or 2h
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    lasts: Duration,
    /// Why nothing is to be done
    #[arg(long)]
    why: String,
    #[command(flatten)]
    by: By,
}

/// Runs `evenkeel pause`.
///
/// # Errors
/// When the server refuses.
pub(crate) async fn pause(args: PauseArgs, client: &AdminClient) -> Result<ExitCode, ClientError> {
    client.pause(&args.target, &args.by.owner, &args.why, args.lasts).await?;
    let time = humantime::format_duration(args.lasts);
    println!(
        "{}: nothing is done for {time}; `evenkeel resume {}` ends that",
        args.target, args.target
    );
    Ok(ExitCode::SUCCESS)
}

/// Arguments of `evenkeel resume`.
#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    /// What was paused; everything without it
    #[arg(default_value = "all")]
    target: String,
    #[command(flatten)]
    by: By,
}

/// Runs `evenkeel resume`.
///
/// # Errors
/// When the server refuses.
pub(crate) async fn resume(
    args: ResumeArgs,
    client: &AdminClient,
) -> Result<ExitCode, ClientError> {
    client.resume(&args.target, &args.by.owner).await?;
    println!("{}: recovery goes on", args.target);
    Ok(ExitCode::SUCCESS)
}
