//! The service log, on standard error.

use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging. Called once per process; a second call changes nothing.
pub(crate) fn init(format: LogFormat, level: Option<&str>) {
    let env = std::env::var("EVENKEEL_LOG").ok();
    let wanted = env.as_deref().or(level).unwrap_or("info");
    let filter = EnvFilter::try_new(wanted).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // Whoever logs first has decided; tests start several in one process.
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(colours).with_target(false).try_init(),
    };
}
