//! `evenkeel status`: services, replicas, their health and why.
//!
//! A snapshot goes in, text comes out ([`render`]); the rest is about the terminal. Each
//! state has a sign of its own, so that nothing is told by colour alone, and colour is
//! put on afterwards by those signs.

// By path, so that the admin crate's example and tests find it, too.
#[path = "status/render.rs"]
mod render;
#[path = "status/screen.rs"]
pub(crate) mod screen;

use evenkeel_admin::view::Snapshot;
use evenkeel_admin::{AdminClient, ClientError};
pub(crate) use render::render;
use screen::{colours, paint, put, size};
use std::process::ExitCode;

/// Exit code when a core service is not ready.
const NOT_READY: u8 = 1;
/// Exit code when nobody answers at the admin API's address.
const NOBODY: u8 = 3;

/// Arguments of `evenkeel status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show it anew each second, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// Show checks with which nothing is wrong, too
    #[arg(long)]
    checks: bool,
    /// As JSON; with --watch one line a second
    #[arg(long)]
    json: bool,
}

/// Shows the state. The exit code is 0 when every core service is ready, 1 when not, 3
/// when nobody answers.
///
/// # Errors
/// When the server refuses, or something else answers there.
pub(crate) async fn run(args: Args, client: &AdminClient) -> Result<ExitCode, ClientError> {
    if args.watch {
        return watch(&args, client).await;
    }
    let snapshot = match client.snapshot().await {
        Err(error @ ClientError::Nobody { .. }) => {
            eprintln!("evenkeel: {error}");
            return Ok(ExitCode::from(NOBODY));
        }
        other => other?,
    };
    let text = if args.json {
        serde_json::to_string_pretty(&snapshot).unwrap_or_default() + "\n"
    } else {
        paint(
            &render(&filtered(&args, &snapshot), None, size().map(|(columns, _)| columns)),
            colours(),
        )
    };
    put(&text);
    Ok(code(&snapshot))
}

/// Without those checks that nobody has to look at, unless they are asked for.
fn filtered(args: &Args, snapshot: &Snapshot) -> Snapshot {
    let mut shown = snapshot.clone();
    shown.checks.retain(|check| args.checks || check.state != "ok" || check.ahead.is_some());
    shown
}

fn code(snapshot: &Snapshot) -> ExitCode {
    ExitCode::from(if snapshot.ready { 0 } else { NOT_READY })
}

async fn watch(args: &Args, client: &AdminClient) -> Result<ExitCode, ClientError> {
    let mut before: Option<Snapshot> = None;
    let next = async || {
        let snapshot = match client.snapshot().await {
            Err(error) => {
                before = None;
                return Err(error);
            }
            Ok(snapshot) => snapshot,
        };
        let text = if args.json {
            serde_json::to_string(&snapshot).unwrap_or_default() + "\n"
        } else {
            let now = filtered(args, &snapshot);
            render(&now, before.as_ref(), size().map(|(columns, _)| columns)) + "\n"
        };
        let code = code(&snapshot);
        before = Some(snapshot);
        Ok((text, code))
    };
    screen::watch(args.json, next).await
}
