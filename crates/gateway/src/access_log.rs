//! The access log: one line a request, written by a thread of its own. A log that cannot
//! keep up loses lines, and counts them; it never holds a request up.

use crate::attempt::guard::LogLine;
use evenkeel_domain::{Outcome, clock};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Lines that may wait for the disk: about a second at 10,000 requests a second.
const WAITING: usize = 10_000;

/// Where lines go.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: SyncSender<String>,
    lost: Arc<AtomicU64>,
    json: bool,
}

impl AccessLog {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(mut to: Box<dyn Write + Send>, json: bool) -> std::io::Result<Self> {
        let (lines, inbox) = sync_channel::<String>(WAITING);
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            while let Ok(line) = inbox.recv() {
                // One write for all that is waiting.
                let mut block = line;
                while let Ok(more) = inbox.try_recv() {
                    block.push_str(&more);
                    if block.len() > 64 << 10 {
                        break;
                    }
                }
                // A full disk loses lines, not requests.
                let _ = to.write_all(block.as_bytes()).and_then(|()| to.flush());
            }
        })?;
        Ok(Self { lines, lost: Arc::default(), json })
    }

    /// Lines lost because the disk was too slow.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    pub(crate) fn write(
        &self,
        line: &LogLine,
        service: &str,
        status: u16,
        outcome: Outcome,
        took: Duration,
    ) {
        let id = line.id.to_str().unwrap_or("-");
        let at = clock::unix_millis();
        let ms = took.as_secs_f64() * 1e3;
        let attempts = line.attempts.get();
        let text = if self.json {
            serde_json::json!({
                "at_unix_ms": at, "id": id, "client": line.client, "method": line.method.as_str(),
                "path": line.path, "service": service, "status": status,
                "outcome": outcome.label(), "attempts": attempts, "ms": ms,
            })
            .to_string()
                + "\n"
        } else {
            format!(
                "{at} {} {} {} {service} {status} {outcome} attempts={attempts} {ms:.3}ms id={id}\n",
                line.client,
                line.method,
                line.path.escape_default(),
            )
        };
        if let Err(TrySendError::Full(_)) = self.lines.try_send(text) {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}
