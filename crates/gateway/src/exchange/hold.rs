//! Waiting for a replica when none can take a request: bounded in number and time.

use super::Exchange;
use crate::attempt::guard::AttemptGuard;
use crate::error::Refusal;
use evenkeel_domain::settings::Tier;
use evenkeel_domain::{Health, Pool, clock};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::timeout;

impl Exchange {
    /// An attempt on a replica, waiting for one if need be.
    pub(super) async fn acquire(&mut self) -> Result<AttemptGuard, Refusal> {
        if let Some(attempt) = self.pick(self.now()) {
            return Ok(attempt);
        }
        if self.panel.is_some() {
            // The other voices would wait with it.
            return Err(self.unavailable(self.pool(), "none is left to ask".into()));
        }
        Box::pin(self.hold()).await
    }

    async fn hold(&mut self) -> Result<AttemptGuard, Refusal> {
        let pool = self.entry.service.pool.clone();
        if !self.asker.waits {
            let why = describe(&pool);
            return Err(Refusal::Unavailable { service: pool.name.to_string(), why });
        }
        let settings = self.entry.service.settings.hold.clone();
        // The second half of the places is for core requests.
        let places = match self.asker.tier {
            Tier::Core => settings.requests,
            Tier::BestEffort => settings.requests / 2,
        };
        let _place = Place::take(&pool, places).ok_or_else(|| {
            self.unavailable(&pool, format!("{places} requests already wait for one"))
        })?;
        pool.counts.holds.fetch_add(1, Relaxed);
        let began = clock::now();
        let budget = settings.time.saturating_sub(self.held_for);
        loop {
            let improved = pool.improved.notified();
            tokio::pin!(improved);
            // Listening before looking: what changes in between is not missed.
            improved.as_mut().enable();
            let now = clock::now();
            if let Some(attempt) = self.pick(now) {
                self.held_for += now.duration_since(began);
                return Ok(attempt);
            }
            let left = budget.saturating_sub(now.duration_since(began));
            if self.left(now).is_zero() {
                return Err(self.expired());
            }
            if left.is_zero() {
                let why = format!("waited {:?}; {}", settings.time, describe(&pool));
                return Err(self.unavailable(&pool, why));
            }
            let apart = self.deaths.wait_left(now).unwrap_or(left);
            let _ = timeout(left.min(self.left(now)).min(apart), improved).await;
        }
    }

    fn unavailable(&self, pool: &Pool, why: String) -> Refusal {
        pool.counts.refused.fetch_add(1, Relaxed);
        Refusal::Unavailable { service: pool.name.to_string(), why }
    }

    /// Time still to be spent on hold.
    pub(super) fn hold_left(&self) -> Duration {
        self.entry.service.settings.hold.time.saturating_sub(self.held_for)
    }
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

/// One of the places on hold.
struct Place(Arc<Pool>);

impl Place {
    fn take(pool: &Arc<Pool>, most: u32) -> Option<Self> {
        let place = Self(pool.clone());
        (pool.counts.held.fetch_add(1, Relaxed) < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.counts.held.fetch_sub(1, Relaxed);
    }
}
