//! The terminal: text put there once, or anew each second; colour by the signs of states.

use evenkeel_admin::ClientError;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code when nobody answers at the admin API's address.
const NOBODY: u8 = 3;
/// Time between two frames of `--watch`.
const FRAME: Duration = Duration::from_secs(1);

/// Writes to standard output; false when nobody reads it any more.
pub(crate) fn put(text: &str) -> bool {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Whether colours are wanted.
pub(crate) fn colours() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !set("NO_COLOR")
}

/// Columns and rows, where standard output is a terminal.
pub(crate) fn size() -> Option<(usize, usize)> {
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

/// Shows what `next` gives anew each second, until a signal or nobody reads it: a text for one
/// frame (`lines`: for one line) and the exit code that goes with it.
///
/// # Errors
/// When the server refuses, or something else answers there.
pub(crate) async fn watch(
    lines: bool,
    mut next: impl AsyncFnMut() -> Result<(String, ExitCode), ClientError>,
) -> Result<ExitCode, ClientError> {
    let bad = |e: io::Error| ClientError::Setting(format!("signals cannot be caught: {e}"));
    let mut interrupted = signal(SignalKind::interrupt()).map_err(bad)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(bad)?;
    let mut ticks = tokio::time::interval(FRAME);
    let screen = (!lines && io::stdout().is_terminal()).then(Screen::enter);
    let mut ended = ExitCode::from(NOBODY);
    loop {
        let shown = async {
            ticks.tick().await;
            next().await
        };
        let shown = tokio::select! {
            biased;
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
            shown = shown => shown,
        };
        let text = match shown {
            // It may be starting again: keep looking.
            Err(error @ ClientError::Nobody { .. }) => {
                ended = ExitCode::from(NOBODY);
                if screen.is_none() {
                    eprintln!("evenkeel: {error}");
                    continue;
                }
                format!("{error}\n")
            }
            Err(error) => return Err(error),
            Ok((text, code)) => {
                ended = code;
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
pub(crate) fn paint(text: &str, colours: bool) -> String {
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
