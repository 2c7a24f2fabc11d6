//! Evenkeel and model servers as processes, and a client that says what it sends.

mod command;
mod model;
mod stream;
mod up;
mod wire;

pub(crate) use command::{Ran, evenkeel};
pub(crate) use model::{Model, model_at};
pub(crate) use stream::Stream;
pub(crate) use up::{Up, service, supervised, two_services};
pub(crate) use wire::{Answer, Wire, ask, chat, get, padding, post, raw};

use evenkeel_domain::clock::now;
use std::future::Future;
use std::time::Duration;

/// The binary under test.
pub(crate) const EVENKEEL: &str = env!("CARGO_BIN_EXE_evenkeel");
/// How long anything may take that takes milliseconds on a machine with nothing else to do.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Looks until there is something to see.
///
/// # Panics
/// When nothing comes in time.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    look: impl FnMut() -> F,
) -> T {
    until_within(SOON, what, look).await
}

/// [`until`] for what takes its time. The only place where tests wait.
pub(crate) async fn until_within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = now() + limit;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// [`until`] for what is asked without waiting.
pub(crate) async fn until_so(what: &str, mut so: impl FnMut() -> bool) {
    until(what, || std::future::ready(so().then_some(()))).await;
}

/// Whether a process is there and no zombie.
pub(crate) fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}
