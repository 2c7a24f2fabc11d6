//! Between two attempts: back-off and the retry budget.
//!
//! One budget per service for all soft retries: a share of the requests under way. Out of
//! budget means to wait, not to fail; a failing fleet so gets at most that share more load.

use super::Exchange;
use crate::attempt::Failed;
use crate::error::Refusal;
use evenkeel_domain::settings::Retry;
use evenkeel_domain::{Outcome, Pool, rng};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// One place in the retry budget.
pub(super) struct RetryPermit(Arc<Pool>);

impl RetryPermit {
    pub(super) fn try_take(pool: &Arc<Pool>, settings: &Retry) -> Option<Self> {
        let active = pool.counts.active.load(Relaxed);
        let allowed = (active * settings.budget_percent / 100).max(settings.budget_min);
        if pool.counts.retrying.fetch_add(1, Relaxed) < allowed {
            return Some(Self(pool.clone()));
        }
        pool.counts.retrying.fetch_sub(1, Relaxed);
        None
    }
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.0.counts.retrying.fetch_sub(1, Relaxed);
        self.0.retry_freed.notify_one();
    }
}

impl Exchange {
    /// Waits as long as the last failure asks for.
    pub(super) async fn before_next(&mut self, failed: &Failed) -> Result<(), Refusal> {
        let after_death = self.deaths.note(failed);
        let again = self.all_tried();
        if again {
            self.rounds += 1;
            self.tried.borrow_mut().clear();
        }
        let pause = self.pause(failed, again).max(after_death.unwrap_or_default());
        let now = self.now();
        if pause >= self.left(now) {
            return Err(self.expired());
        }
        if !pause.is_zero() {
            sleep(pause).await;
        }
        self.deaths.judge(&self.worker, &self.entry, &self.template)?;
        if failed.outcome.is_hard() {
            return Ok(());
        }
        if failed.outcome == Outcome::Backpressure && self.has_fresh(self.now()) {
            // A replica that takes work and was not asked yet: no storm comes of asking it.
            self.entry.service.pool.counts.retries.fetch_add(1, Relaxed);
            return Ok(());
        }
        self.entry.service.pool.counts.retries.fetch_add(1, Relaxed);
        self.permit = Some(self.budget().await?);
        Ok(())
    }

    /// A replica not yet tried is asked at once after hard evidence or "busy"; else the
    /// back-off doubles with each round, and a busy fleet's own word is honoured.
    fn pause(&self, failed: &Failed, again: bool) -> Duration {
        let settings = &self.entry.service.settings.retry;
        let soft_fault = !failed.outcome.is_hard() && failed.outcome != Outcome::Backpressure;
        if !again && !soft_fault {
            return Duration::ZERO;
        }
        let doublings = self.rounds.saturating_sub(1).min(10) + self.soft_failures.min(6) / 2;
        let base = settings.backoff.saturating_mul(1 << doublings).min(settings.backoff_max);
        let jittered = rng::jittered(base, 0.5, &mut self.worker.rng.borrow_mut());
        match failed.retry_after.filter(|_| again) {
            Some(asked) => jittered.max(asked.min(self.hold_left())),
            None => jittered,
        }
    }

    async fn budget(&mut self) -> Result<RetryPermit, Refusal> {
        let pool = self.entry.service.pool.clone();
        let settings = self.entry.service.settings.retry.clone();
        loop {
            let freed = pool.retry_freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(permit) = RetryPermit::try_take(&pool, &settings) {
                return Ok(permit);
            }
            let left = self.left(self.now());
            if left.is_zero() || timeout(left, freed).await.is_err() {
                return Err(self.expired());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_follows_the_load_and_has_a_floor() {
        let pool = Arc::new(Pool::new("s".into()));
        let settings = Retry::default();
        let few: Vec<_> = (0..10).filter_map(|_| RetryPermit::try_take(&pool, &settings)).collect();
        assert_eq!(few.len(), 3);
        pool.counts.active.store(100, Relaxed);
        let more: Vec<_> =
            (0..20).filter_map(|_| RetryPermit::try_take(&pool, &settings)).collect();
        assert_eq!(few.len() + more.len(), 10);
        drop((few, more));
        assert_eq!(pool.counts.retrying.load(Relaxed), 0);
    }
}
