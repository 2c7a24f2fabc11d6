//! `evenkeel status`: services, replicas, their health and why.
//!
//! A snapshot goes in, text comes out ([`render`]); the rest is about the terminal. Each
//! state has a sign of its own, so that nothing is told by colour alone, and colour is
//! put on afterwards by those signs.

// By path, so that the admin crate's example and tests find it, too.
#[path = "status/render.rs"]
mod render;

use evenkeel_admin::view::Snapshot;
use evenkeel_admin::{AdminClient, ClientError};
pub(crate) use render::render;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code when a core service is not ready.
const NOT_READY: u8 = 1;
/// Exit code when nobody answers at the admin API's address.
const NOBODY: u8 = 3;
/// Time between two frames of `--watch`.
const FRAME: Duration = Duration::from_secs(1);

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

/// Writes to standard output; false when nobody reads it any more.
fn put(text: &str) -> bool {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

fn colours() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !set("NO_COLOR")
}

/// Columns and rows, where standard output is a terminal.
fn size() -> Option<(usize, usize)> {
    let out = io::stdout();
    let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten()?;
    (size.ws_col > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// The terminal's second screen, left again however the command ends.
struct Screen;

impl Screen {
    fn enter() -> Self {
        // Second screen, no cursor, no wrapping of what is too wide.
        put("\x1b[?1049h\x1b[?25l\x1b[?7l");
        Self
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        put("\x1b[?7h\x1b[?25h\x1b[?1049l");
    }
}

async fn watch(args: &Args, client: &AdminClient) -> Result<ExitCode, ClientError> {
    let bad = |e: io::Error| ClientError::Setting(format!("signals cannot be caught: {e}"));
    let mut interrupted = signal(SignalKind::interrupt()).map_err(bad)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(bad)?;
    let mut ticks = tokio::time::interval(FRAME);
    let screen = (!args.json && io::stdout().is_terminal()).then(Screen::enter);
    let mut before: Option<Snapshot> = None;
    let mut ended = ExitCode::from(NOBODY);
    loop {
        let next = async {
            ticks.tick().await;
            client.snapshot().await
        };
        let shown = tokio::select! {
            biased;
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
            next = next => next,
        };
        let text = match shown {
            // It may be starting again: keep looking.
            Err(error @ ClientError::Nobody { .. }) => {
                ended = ExitCode::from(NOBODY);
                before = None;
                if screen.is_none() {
                    eprintln!("evenkeel: {error}");
                    continue;
                }
                format!("{error}\n")
            }
            Err(error) => return Err(error),
            Ok(snapshot) => {
                ended = code(&snapshot);
                let text = if args.json {
                    serde_json::to_string(&snapshot).unwrap_or_default() + "\n"
                } else {
                    let now = filtered(args, &snapshot);
                    render(&now, before.as_ref(), size().map(|(columns, _)| columns)) + "\n"
                };
                before = Some(snapshot);
                text
            }
        };
        if !put(&if screen.is_some() { frame(&text) } else { text }) {
            break;
        }
    }
    Ok(ended)
}

/// Text as a frame over the last one, cut to the terminal's height.
fn frame(text: &str) -> String {
    let rows = size().map_or(usize::MAX, |(_, rows)| rows.max(2));
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let fits = if lines.len() > rows { rows - 1 } else { lines.len() };
    let mut shown: Vec<String> = lines.iter().take(fits).map(|line| (*line).to_owned()).collect();
    if fits < lines.len() {
        shown.push(format!("… {} more lines", lines.len() - fits));
    }
    format!("\x1b[H{}\x1b[K\x1b[J", paint(&shown.join("\x1b[K\r\n"), colours()))
}

/// Puts colour on the signs of states and the word after each.
fn paint(text: &str, colours: bool) -> String {
    if !colours {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut words = 0;
    for c in text.chars() {
        let code = match c {
            '●' => "\x1b[32m",
            '◐' | '▲' => "\x1b[33m",
            '✖' => "\x1b[31m",
            '○' => "\x1b[2m",
            _ => "",
        };
        out.push_str(code);
        if !code.is_empty() {
            words = 2;
        } else if words > 0 && (c.is_whitespace() || c == '\x1b') {
            words = if c == ' ' { words - 1 } else { 0 };
            if words == 0 {
                out.push_str("\x1b[0m");
            }
        }
        out.push(c);
    }
    if words > 0 {
        out.push_str("\x1b[0m");
    }
    out
}
