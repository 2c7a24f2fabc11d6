//! How many requests run, how many wait, and the figures that tell.
//!
//! A request owns a [`Held`]; dropping it, at the end or because the client left,
//! frees the slot and takes its share out of every gauge.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;
use crate::generate::Finish;

/// What `/metrics` shows.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) running: AtomicU64,
    pub(crate) waiting: AtomicU64,
    /// Tokens of running requests: what a real server keeps in its key-value cache.
    pub(crate) cached_tokens: AtomicU64,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) generated_tokens: AtomicU64,
    pub(crate) ended_stop: AtomicU64,
    pub(crate) ended_length: AtomicU64,
    pub(crate) aborted: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// The slots and their queue, first come first served.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    queue: u64,
    pub(crate) stats: Arc<Stats>,
}

impl Slots {
    /// At least one slot; `queue` may be zero.
    pub(crate) fn new(slots: usize, queue: usize) -> Self {
        let slots = slots.clamp(1, Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(slots));
        Self { free, queue: queue as u64, stats: Arc::default() }
    }

    /// Waits for a slot. Fails at once when the queue is full.
    pub(crate) async fn take(&self, prompt_tokens: usize) -> Result<Held, ApiError> {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait().await?,
        };
        let prompt_tokens = prompt_tokens as u64;
        self.stats.running.fetch_add(1, Relaxed);
        self.stats.cached_tokens.fetch_add(prompt_tokens, Relaxed);
        self.stats.prompt_tokens.fetch_add(prompt_tokens, Relaxed);
        let stats = Arc::clone(&self.stats);
        Ok(Held { stats, cached: prompt_tokens, done: false, _permit: permit })
    }

    async fn wait(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        if self.stats.waiting.load(Relaxed) >= self.queue {
            self.stats.refused.fetch_add(1, Relaxed);
            return Err(ApiError::busy());
        }
        let _place = Place::take(&self.stats);
        Arc::clone(&self.free).acquire_owned().await.map_err(|_| ApiError::busy())
    }
}

/// A place in the queue; given up when the client leaves.
struct Place<'a>(&'a Stats);

impl<'a> Place<'a> {
    fn take(stats: &'a Stats) -> Self {
        stats.waiting.fetch_add(1, Relaxed);
        Self(stats)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// A slot in use.
#[derive(Debug)]
pub(crate) struct Held {
    stats: Arc<Stats>,
    cached: u64,
    done: bool,
    _permit: OwnedSemaphorePermit,
}

impl Held {
    /// Counts a generated token.
    pub(crate) fn token(&mut self) {
        self.cached += 1;
        self.stats.cached_tokens.fetch_add(1, Relaxed);
        self.stats.generated_tokens.fetch_add(1, Relaxed);
    }

    /// Counts a request that came to its end.
    pub(crate) fn finished(&mut self, how: Option<Finish>) {
        self.done = true;
        match how {
            Some(Finish::Length) => self.stats.ended_length.fetch_add(1, Relaxed),
            _ => self.stats.ended_stop.fetch_add(1, Relaxed),
        };
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stats.running.fetch_sub(1, Relaxed);
        self.stats.cached_tokens.fetch_sub(self.cached, Relaxed);
        if !self.done {
            self.stats.aborted.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_waits_the_next_is_refused_and_leaving_frees() {
        let slots = Slots::new(1, 1);
        let held = slots.take(3).await.expect("free");
        {
            let waiting = std::pin::pin!(slots.take(1));
            let mut waiting = waiting;
            assert!(
                std::future::poll_fn(|cx| std::task::Poll::Ready(
                    waiting.as_mut().poll(cx).is_pending()
                ))
                .await
            );
            assert_eq!(slots.stats.waiting.load(Relaxed), 1);
            assert!(slots.take(1).await.is_err());
        }
        assert_eq!(slots.stats.waiting.load(Relaxed), 0);
        drop(held);
        assert_eq!(slots.stats.cached_tokens.load(Relaxed), 0);
        assert!(slots.take(1).await.is_ok());
    }
}
