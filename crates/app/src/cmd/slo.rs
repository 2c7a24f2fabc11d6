//! `evenkeel slo`: what services promised and kept.

pub(super) mod render;

use super::status::screen;
use evenkeel_admin::view::SloView;
use evenkeel_admin::{AdminClient, ClientError};
use std::process::ExitCode;

/// Exit code while a rule asks for somebody at once.
const PAGES: u8 = 1;
/// Exit code when nobody answers at the admin API's address.
const NOBODY: u8 = 3;

/// Arguments of `evenkeel slo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this service
    service: Option<String>,
    /// Show it anew each second, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// As JSON; with --watch one line a second
    #[arg(long)]
    json: bool,
}

/// Shows it. The exit code is 0, 1 while a burn-rate rule pages, 3 when nobody answers.
///
/// # Errors
/// When the server refuses, or there is no such service.
pub(crate) async fn run(args: Args, client: &AdminClient) -> Result<ExitCode, ClientError> {
    if args.watch {
        let shown = async || {
            let view = only(&args, client.slo().await?)?;
            Ok((text(&args, &view), code(&view)))
        };
        return screen::watch(args.json, shown).await;
    }
    let view = match client.slo().await {
        Err(error @ ClientError::Nobody { .. }) => {
            eprintln!("evenkeel: {error}");
            return Ok(ExitCode::from(NOBODY));
        }
        other => only(&args, other?)?,
    };
    let text = match args.json {
        true => serde_json::to_string_pretty(&view).unwrap_or_default() + "\n",
        false => screen::paint(&render::render(&view), screen::colours()),
    };
    screen::put(&text);
    Ok(code(&view))
}

/// With the service that was asked for.
fn only(args: &Args, mut view: SloView) -> Result<SloView, ClientError> {
    let Some(name) = &args.service else { return Ok(view) };
    view.services.retain(|service| service.service == *name);
    match view.services.is_empty() && view.error.is_none() {
        true => Err(ClientError::Setting(format!(
            "there is no service `{name}`; `evenkeel status` lists the names"
        ))),
        false => Ok(view),
    }
}

fn text(args: &Args, view: &SloView) -> String {
    match args.json {
        true => serde_json::to_string(view).unwrap_or_default() + "\n",
        false => render::render(view),
    }
}

fn code(view: &SloView) -> ExitCode {
    let rules = view.services.iter().flat_map(|service| &service.rules);
    let mut pages = rules.filter(|rule| rule.severity == "page" && rule.since_unix_ms.is_some());
    ExitCode::from(if pages.next().is_some() { PAGES } else { 0 })
}
