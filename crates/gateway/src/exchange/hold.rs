//! Waiting for a place when no replica can take a request: bounded in number and time.

use super::Exchange;
use crate::admit::queue::{Comer, No, Rules, Turn};
use crate::attempt::guard::AttemptGuard;
use crate::error::Refusal;
use crate::route::Entry;
use evenkeel_domain::pool::Refused;
use evenkeel_domain::{Health, Pool};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// As good as for ever, and short enough to be added to any moment.
const LONG: Duration = Duration::from_secs(86_400);

impl Exchange {
    /// An attempt on a replica, waiting for one if need be.
    pub(super) async fn acquire(&mut self) -> Result<AttemptGuard, Refusal> {
        // Who had a place before does not wait behind those who come.
        let again = self.attempts.get() > 0;
        if (again || !self.entry.queue.is_busy())
            && let Some(attempt) = self.pick(self.now())
        {
            return Ok(attempt);
        }
        if self.panel.is_some() {
            // The other voices would wait with it.
            self.pool().counts.refuse(self.asker.tier, Refused::NoReplica);
            return Err(unavailable(self.pool(), "none is left to ask".into()));
        }
        if !self.asker.waits {
            return Err(unavailable(self.pool(), describe(self.pool())));
        }
        Box::pin(self.wait(again)).await
    }

    async fn wait(&mut self, again: bool) -> Result<AttemptGuard, Refusal> {
        let entry = self.entry.clone();
        let counts = &entry.service.pool.counts;
        counts.holds.fetch_add(1, Relaxed);
        let comer = Comer {
            tier: self.asker.tier,
            flow: self.asker.flow,
            cost: self.asker.cost,
            deadline: self.template.deadline,
            again,
        };
        let rules = Rules::of(&entry.service.settings).less(self.held_for);
        let mut ticket = entry.queue.join(comer, rules).map_err(|no| self.refused(no))?;
        loop {
            let apart = self.deaths.wait_left(self.now());
            let turn = tokio::select! {
                turn = ticket.turn(apart.unwrap_or(LONG)) => turn,
                () = stood_in(&entry) => {
                    return Err(unavailable(self.pool(), "another service answers for it".into()));
                }
            };
            match turn {
                Turn::Go(grant) => match self.pick(self.now()) {
                    Some(attempt) => {
                        let waited = grant.taken();
                        counts.queue_wait.record(waited);
                        self.held_for += waited;
                        return Ok(attempt);
                    }
                    None => ticket = grant.of_no_use(),
                },
                // It need not be apart any longer.
                Turn::Later(waits) => match self.pick(self.now()) {
                    Some(attempt) => {
                        self.held_for += waits.waited();
                        return Ok(attempt);
                    }
                    None => ticket = waits,
                },
                Turn::Over { up } => return Err(self.waited_in_vain(up)),
            }
        }
    }

    fn waited_in_vain(&self, up: bool) -> Refusal {
        if self.left(self.now()).is_zero() {
            return self.expired();
        }
        if up {
            let waiting = self.pool().counts.held.load(Relaxed);
            return self.refused(No { why: Refused::Waited, waiting, wait: None });
        }
        self.refused(No { why: Refused::NoReplica, waiting: 0, wait: None })
    }

    fn refused(&self, no: No) -> Refusal {
        let pool = self.pool();
        pool.counts.refuse(self.asker.tier, no.why);
        let settings = &self.entry.service.settings;
        match no.why {
            Refused::NoReplica => {
                let why = format!("waited {:?}; {}", settings.hold.time, describe(pool));
                unavailable(pool, why)
            }
            Refused::QueueFull if pool.open() == 0 => {
                let why = format!("{} requests already wait for one", no.waiting);
                unavailable(pool, why)
            }
            // Limits were looked at before.
            Refused::Waited | Refused::QueueFull | Refused::Overloaded | Refused::Limited => {
                let wait = no.wait.unwrap_or_default();
                // Not all at the same time again.
                let spread = 1.0 + self.worker.rng.borrow_mut().f64() / 2.0;
                let retry = wait.mul_f64(spread);
                let service = pool.name.to_string();
                Refusal::Overloaded { service, waiting: no.waiting, retry }
            }
        }
    }

    /// Time still to be spent waiting while there is no replica.
    pub(super) fn hold_left(&self) -> Duration {
        self.entry.service.settings.hold.time.saturating_sub(self.held_for)
    }
}

/// Returns once nobody needs to wait for this service's replicas any more.
async fn stood_in(entry: &Entry) {
    match entry.service.settings.answers.fails_over {
        true => entry.service.pool.stood_in().await,
        false => std::future::pending().await,
    }
}

fn unavailable(pool: &Pool, why: String) -> Refusal {
    Refusal::Unavailable { service: pool.name.to_string(), why }
}

/// "2 isolated, 1 starting": why nobody can take it.
fn describe(pool: &Pool) -> String {
    let members = pool.members();
    if members.is_empty() {
        return "it has no replicas".into();
    }
    let mut counted: Vec<(Health, usize)> = Vec::new();
    for replica in members.iter() {
        let health = replica.live.health();
        match counted.iter_mut().find(|(h, _)| *h == health) {
            Some((_, n)) => *n += 1,
            None => counted.push((health, 1)),
        }
    }
    let parts: Vec<_> = counted.iter().map(|(h, n)| format!("{n} {h}")).collect();
    format!("its replicas: {}", parts.join(", "))
}
