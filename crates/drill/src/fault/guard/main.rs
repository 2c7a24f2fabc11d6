//! The guard process.

use crate::fault::guard::process::{Identity, Process};
use crate::fault::guard::{GuardEntry, Harm, REGISTRY};
use crate::fault::spec::split;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// What a guard prints once its fault is there.
pub const IN_FORCE: &str = "in force";

/// What a guard is given as its argument, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardOrder {
    /// The fault.
    pub what: String,
    /// On whom.
    pub processes: Vec<Identity>,
    /// For how long at most, in milliseconds, should nobody end it.
    pub most_ms: u64,
}

/// Carries a fault out until standard input ends. Prints [`IN_FORCE`], or why it cannot be.
#[must_use]
pub fn guard_main(order: &str) -> ExitCode {
    let result = serde_json::from_str(order).map_err(|e| format!("the order cannot be read: {e}"));
    match result.and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

/// That nobody listens shows in the end of standard input.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn run(order: GuardOrder) -> Result<(), String> {
    let (name, value) = split(&order.what);
    let entry = REGISTRY.iter().find(|entry| entry.name == name);
    let entry = entry.ok_or_else(|| format!("`{name}` is no fault of a guard"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("no runtime: {e}"))?;
    runtime.block_on(guard(entry, value, &order))
}

async fn guard(entry: &GuardEntry, value: &str, order: &GuardOrder) -> Result<(), String> {
    // Before the fault: from here on every end is heard.
    let mut end = End::new()?;
    let held = order.processes.iter().map(|identity| Process::hold(*identity));
    let processes = held.collect::<Result<Vec<_>, _>>()?;
    let mut harm = (entry.begin)(value, processes)?;
    say(IN_FORCE);
    if entry.at_once {
        return Ok(());
    }
    let most = Duration::from_millis(order.most_ms);
    tokio::select! {
        () = end.comes() => Ok(()),
        () = tokio::time::sleep(most) => Ok(()),
        failed = work(&mut *harm) => failed,
    }
}

async fn work(harm: &mut dyn Harm) -> Result<(), String> {
    while let Some(pause) = harm.work()? {
        tokio::time::sleep(pause).await;
    }
    std::future::pending().await
}

/// Whatever ends a guard.
struct End {
    pipe: oneshot::Receiver<()>,
    signals: [tokio::signal::unix::Signal; 3],
}

impl End {
    fn new() -> Result<Self, String> {
        let (over, pipe) = oneshot::channel();
        let read = move || {
            let mut input = std::io::stdin().lock();
            let mut bytes = [0; 64];
            while matches!(input.read(&mut bytes), Ok(1..)) {}
            // The guard may have ended by itself.
            let _ = over.send(());
        };
        std::thread::Builder::new().spawn(read).map_err(|e| format!("no thread: {e}"))?;
        let listen = |kind| signal(kind).map_err(|e| format!("no signal: {e}"));
        let signals = [
            listen(SignalKind::terminate())?,
            listen(SignalKind::interrupt())?,
            listen(SignalKind::hangup())?,
        ];
        Ok(Self { pipe, signals })
    }

    async fn comes(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.signals;
        tokio::select! {
            _ = &mut self.pipe => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
