//! What a replica tells of its own queue: how many requests it works on, how many wait.
//!
//! ```text
//!   nothing under way ──► not asked
//!   something ──► /metrics? /slots? /get_load? ──► the first that tells is asked from now on
//!                        └── none: not asked again before its next start
//! ```
//! Asked seldom, and more often once it has all that it may have. It judges nothing: what is
//! made of the answer is the gateway's affair.

mod format;
mod source;

use crate::authority::Target;
use evenkeel_domain::room::Told;
use evenkeel_domain::{Gate, Incarnation, clock, rng};
use format::Load;
use source::Source;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Between two questions while more may be wanted than it can start.
const OFTEN: Duration = Duration::from_millis(250);
/// … while it is in use, and between two looks whether it is.
const SELDOM: Duration = Duration::from_secs(1);
/// Jitter: many replicas must not be asked in step.
const JITTER: f64 = 0.2;
/// Questions in a row without an answer after which its source is looked for anew.
const LOST: u32 = 5;

/// Asks for as long as it is not dropped.
pub(super) async fn follow(target: Target) {
    let mut rng = rng::from_os();
    let mut asking = Asking::default();
    loop {
        let pause = asking.turn(&target).await;
        sleep(rng::jittered(pause, JITTER, &mut rng)).await;
    }
}

/// What is known of where to ask.
#[derive(Default)]
struct Asking {
    of: Incarnation,
    source: Option<Source>,
    /// This start of it tells nothing.
    tells_nothing: bool,
    missed: u32,
}

impl Asking {
    /// Asks where that makes sense; gives the time to the next turn.
    async fn turn(&mut self, target: &Target) -> Duration {
        let live = &target.replica.live;
        if self.of != live.incarnation() {
            *self = Self { of: live.incarnation(), ..Self::default() };
            live.room.tell(None);
        }
        let in_use = live.in_flight() > 0 && live.gate() != Gate::Shut;
        if !in_use || self.tells_nothing || !target.settings.concurrency.adaptive {
            return SELDOM;
        }
        let load = match timeout(target.settings.probe.timeout, self.ask(target)).await {
            Ok(Some(load)) => load,
            Ok(None) | Err(_) => return self.missed(),
        };
        self.missed = 0;
        let told = told(&load, live.in_flight());
        live.room.tell(Some(told));
        let limit = live.room.limit();
        match told.waiting > 0 || (limit > 0 && told.ours >= limit) {
            true => OFTEN,
            false => SELDOM,
        }
    }

    async fn ask(&mut self, target: &Target) -> Option<Load> {
        if let Some(source) = self.source {
            return source.ask(target).await.ok().flatten();
        }
        for source in Source::candidates(target) {
            match source.ask(target).await {
                Ok(Some(load)) => {
                    self.source = Some(source);
                    return Some(load);
                }
                Ok(None) => {}
                // Nobody answered at all: that says nothing of what it tells.
                Err(_) => return None,
            }
        }
        self.tells_nothing = true;
        None
    }

    fn missed(&mut self) -> Duration {
        self.missed += 1;
        if self.missed >= LOST {
            (self.source, self.missed) = (None, 0);
        }
        SELDOM
    }
}

fn told(load: &Load, ours: u32) -> Told {
    Told {
        at: clock::now(),
        // Some tell only of what waits: the rest of ours runs.
        running: load.running.unwrap_or_else(|| ours.saturating_sub(load.waiting)),
        waiting: load.waiting,
        slots: load.slots,
        full: load.full,
        ours,
    }
}
