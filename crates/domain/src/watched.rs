//! Waiting until something that many threads count is as wanted.
//!
//! Whoever counts pays nothing while nobody waits but one load: the request path counts
//! each attempt, and an operator waits for a replica once a day.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst, fence};
use tokio::sync::Notify;

/// Who waits for changes of some atomics.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    changed: Notify,
    waiting: AtomicU32,
}

impl Watched {
    /// Something has changed. It must have been by a `SeqCst` operation: after a weaker one
    /// a waiter could look too early and not be told.
    pub(crate) fn tell(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// Waits until `so`; looks at each change that is told.
    pub(crate) async fn until(&self, so: impl Fn() -> bool) {
        let _counted = Counted::new(&self.waiting);
        // Together with `tell`: either it sees that somebody waits, or its change is seen.
        fence(SeqCst);
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if so() {
                return;
            }
            changed.await;
        }
    }
}

/// Counts one who waits, also when the wait is given up.
struct Counted<'a>(&'a AtomicU32);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn no_change_is_missed() {
        // Each round the change and the wait meet at another moment.
        for _ in 0..2000 {
            let shared = Arc::new((Watched::default(), AtomicU32::new(1)));
            let theirs = shared.clone();
            let other = std::thread::spawn(move || {
                theirs.1.fetch_sub(1, SeqCst);
                theirs.0.tell();
            });
            block_on(shared.0.until(|| shared.1.load(SeqCst) == 0));
            other.join().unwrap();
            assert_eq!(shared.0.waiting.load(SeqCst), 0);
        }
    }

    #[test]
    fn who_gives_up_is_not_waited_for() {
        let watched = Watched::default();
        {
            let mut waiting = pin!(watched.until(|| false));
            let waker = std::task::Waker::noop();
            let polled = waiting.as_mut().poll(&mut std::task::Context::from_waker(waker));
            assert!(polled.is_pending());
            assert_eq!(watched.waiting.load(SeqCst), 1);
        }
        assert_eq!(watched.waiting.load(SeqCst), 0);
    }
}
