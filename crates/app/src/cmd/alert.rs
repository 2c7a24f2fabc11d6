//! `evenkeel alert`: what people are told of, and what they say to it.

use super::admin::AdminArgs;
use super::times::{ago, clock};
use super::{BAD_CONFIG, fail};
use crate::config;
use crate::gateway::alerts::try_one;
use evenkeel_admin::view::{AlertView, AlertsView, SilenceBody, TriedView};
use evenkeel_admin::{AdminClient, ClientError};
use evenkeel_domain::clock::unix_millis;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `evenkeel alert`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// What is wrong now, who is not told, and by which ways people are
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Also what raises alerts
        #[arg(long)]
        sources: bool,
    },
    /// One alert: since when, who feels it, what was done, what to do
    Show {
        /// Its number, as `evenkeel alert list` shows it
        id: String,
    },
    /// Say that you look after an alert: nobody else is called
    Ack {
        /// Its number, or `all`
        id: String,
        #[command(flatten)]
        by: By,
    },
    /// Have nobody told of what matches, for a time
    Silence {
        /// Labels that must all match, like service=chat or alert=check; * at the end of a value
        #[arg(required = true, value_name = "LABEL=VALUE", value_parser = label)]
        matching: Vec<(String, String)>,
        /// For how long, like 30m or 2h
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        lasts: Duration,
        /// Why
        #[arg(long)]
        why: String,
        #[command(flatten)]
        by: By,
    },
    /// End a silence
    Unsilence {
        /// Its number
        id: String,
        #[command(flatten)]
        by: By,
    },
    /// What happened, newest first
    History {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Send a real message through each channel, or one; exit code 1 when one does not take it
    Test {
        /// The channel; all without it
        channel: Option<String>,
        /// Those of a configuration file, from here: nothing needs to run
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct By {
    /// Who orders it, for the record
    #[arg(long, env = "USER", default_value = "operator")]
    owner: String,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give it as LABEL=VALUE, like service=chat")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs `evenkeel alert`.
pub(crate) fn run(args: Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    if let What::Test { channel, config: Some(file) } = &args.what {
        return runtime.block_on(test_here(file, channel.as_deref()));
    }
    let client = match args.admin.client() {
        Ok(client) => client,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(ask(args.what, &client)) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

async fn ask(what: What, client: &AdminClient) -> Result<ExitCode, ClientError> {
    match what {
        What::List { json, sources } => {
            let alerts = client.alerts().await?;
            match json {
                true => println!("{}", serde_json::to_string_pretty(&alerts).unwrap_or_default()),
                false => print!("{}", listed(&alerts, sources, unix_millis())),
            }
        }
        What::Show { id } => {
            let alerts = client.alerts().await?;
            let Some(alert) = alerts.open.iter().find(|alert| alert.id == id) else {
                eprintln!(
                    "evenkeel: no alert `{id}` is open (`evenkeel alert history` has those that are over)"
                );
                return Ok(ExitCode::FAILURE);
            };
            print!("{}", shown(alert, unix_millis()));
            let history = client.alert_history(1000).await?;
            for past in history.iter().rev().filter(|past| past.alert == id) {
                println!("  {}  {:<12} {}", clock(past.at_unix_ms), past.kind, past.text);
            }
        }
        What::Ack { id, by } => {
            client.acknowledge(&id, &by.owner).await?;
            println!("{id}: {} looks after it; nobody else is called", by.owner);
        }
        What::Silence { matching, lasts, why, by } => {
            let matching: BTreeMap<String, String> = matching.into_iter().collect();
            let lasts = humantime::format_duration(lasts).to_string();
            let body = SilenceBody { matching, owner: by.owner, why, lasts };
            client.silence(&body).await?;
            println!("nobody is told of that for {}; `evenkeel alert list` shows it", body.lasts);
        }
        What::Unsilence { id, by } => {
            client.unsilence(&id, &by.owner).await?;
            println!("{id}: the silence is over");
        }
        What::History { limit, json } => {
            let all = client.alert_history(limit).await?;
            if json {
                println!("{}", serde_json::to_string_pretty(&all).unwrap_or_default());
                return Ok(ExitCode::SUCCESS);
            }
            for past in all {
                let at = clock(past.at_unix_ms);
                println!("{at}  {:<10} {:<12} {}", past.alert, past.kind, past.text);
            }
        }
        What::Test { channel, .. } => return Ok(tried(&client.try_channels(channel).await?)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Tries the channels of a file from here, whether anything runs or not.
async fn test_here(file: &Path, wanted: Option<&str>) -> ExitCode {
    let config = match config::load(file) {
        Ok((_, config)) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let mut all = Vec::new();
    for (name, _, channel) in config::channels(&config) {
        if wanted.is_none_or(|wanted| wanted == name) {
            all.push(try_one(&name, &channel).await);
        }
    }
    if let (true, Some(name)) = (all.is_empty(), wanted) {
        return fail(&format!("there is no channel `{name}` in {}", file.display()));
    }
    tried(&all)
}

fn tried(all: &[TriedView]) -> ExitCode {
    if all.is_empty() {
        println!("no channel is configured: nobody is told (add a [[channel]])");
        return ExitCode::FAILURE;
    }
    for one in all {
        let how = if one.delivered { "delivered" } else { "FAILED" };
        println!("{:<16} {how:<10} {}", one.channel, one.said);
    }
    match all.iter().all(|one| one.delivered) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn listed(alerts: &AlertsView, sources: bool, now: u64) -> String {
    let mut out = String::new();
    if let Some(error) = &alerts.error {
        out.push_str(&format!("alerts are not kept: {error}\n"));
    }
    if alerts.open.is_empty() {
        out.push_str("no alert is open\n");
    }
    for alert in &alerts.open {
        let age = ago(now.saturating_sub(alert.since_unix_ms));
        out.push_str(&format!(
            "{:<8} {:<7} {age:<8} {}{}\n",
            alert.id,
            alert.severity,
            alert.what,
            state(alert)
        ));
    }
    for silence in &alerts.silences {
        let left = ago(silence.until_unix_ms.saturating_sub(now));
        let matching: Vec<_> = silence.matching.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let matching = matching.join(" ");
        out.push_str(&format!(
            "silence {}: {matching} by {} for {left}: {}\n",
            silence.id, silence.owner, silence.why
        ));
    }
    if alerts.channels.is_empty() {
        out.push_str("no channel is configured: nobody is told (add a [[channel]])\n");
    }
    for channel in &alerts.channels {
        let error = channel.error.as_ref().map_or_else(String::new, |e| format!("; failed: {e}"));
        out.push_str(&format!(
            "channel {:<16} {:<12} {}  {}, {} delivered, {} wait{error}\n",
            channel.name,
            channel.kind,
            channel.place,
            channel.state,
            channel.delivered,
            channel.waiting
        ));
    }
    if sources || alerts.open.is_empty() {
        out.push_str("what raises alerts:\n");
        for source in &alerts.sources {
            let off = if source.enabled { "" } else { "  (off)" };
            out.push_str(&format!(
                "  {:<12} {:<7} after {:<4} {}{off}\n",
                source.name,
                source.severity,
                format!("{}s", source.for_seconds),
                source.about
            ));
        }
    }
    out
}

fn state(alert: &AlertView) -> String {
    match (&alert.silenced, &alert.acknowledged_by) {
        (Some(why), _) => format!("  [silenced {why}]"),
        (_, Some(by)) => format!("  [{by} looks after it]"),
        _ if alert.told.is_empty() => "  [nobody is told]".into(),
        _ => format!("  [told {}]", alert.told.join(", ")),
    }
}

fn shown(alert: &AlertView, now: u64) -> String {
    let mut out =
        format!("alert {}  {}  {}{}\n", alert.id, alert.alert, alert.severity, state(alert));
    let since = format!(
        "{} ({} ago)",
        clock(alert.since_unix_ms),
        ago(now.saturating_sub(alert.since_unix_ms))
    );
    let lines = [
        ("what", alert.what.clone()),
        ("why", alert.why.clone()),
        ("since", since),
        ("affected", alert.affected.clone()),
        ("done", alert.done.join("\n            ")),
        ("do", alert.next.clone()),
    ];
    for (name, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
        out.push_str(&format!("  {name:<10}{text}\n"));
    }
    out
}
