//! How long a client may take for a request's head.
//!
//! hyper makes a timer for each request and drops it some microseconds later. To enter one
//! into tokio's wheel and take it out again costs more than to read the head. Here each
//! connection has one entry in the wheel, which stays: a new deadline is later than the one
//! before, so it is enough to look at it when the old one is over.

use hyper::rt::{Sleep, Timer};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// The entry in the wheel, made when something is waited for.
type Entry = Option<Pin<Box<tokio::time::Sleep>>>;

/// The timer of one connection.
#[derive(Debug, Default)]
pub(super) struct Patience(Arc<Mutex<Entry>>);

/// One deadline of it.
struct Wait {
    entry: Arc<Mutex<Entry>>,
    deadline: tokio::time::Instant,
}

impl Timer for Patience {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait { entry: self.0.clone(), deadline: deadline.into() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        let armed = entry.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.deadline)));
        if armed.deadline() > self.deadline {
            armed.as_mut().reset(self.deadline);
        }
        loop {
            ready!(armed.as_mut().poll(cx));
            if armed.deadline() >= self.deadline {
                // What has fired is of no use to the next one.
                *entry = None;
                return Poll::Ready(());
            }
            armed.as_mut().reset(self.deadline);
        }
    }
}

impl Sleep for Wait {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    const STEP: Duration = Duration::from_secs(1);

    async fn waits(mut future: impl Future + Unpin) -> bool {
        poll_fn(|cx| Poll::Ready(Pin::new(&mut future).poll(cx).is_pending())).await
    }

    #[tokio::test(start_paused = true)]
    async fn each_deadline_is_kept_whatever_was_armed_before() {
        let timer = Patience::default();
        let begun = timer.now();
        let mut dropped = timer.sleep(10 * STEP);
        assert!(waits(&mut dropped).await);
        drop(dropped);
        // Sooner, later, later, and once more after one that was dropped.
        for (wait, over) in [(5, 5), (8, 13), (1, 14)] {
            timer.sleep(wait * STEP).await;
            assert_eq!((timer.now() - begun).as_secs(), over);
        }
        let mut dropped = timer.sleep(STEP);
        assert!(waits(&mut dropped).await);
        drop(dropped);
        timer.sleep(4 * STEP).await;
        assert_eq!((timer.now() - begun).as_secs(), 18);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_in_a_row_leave_one_entry() {
        let timer = Patience::default();
        for _ in 0..100 {
            let mut wait = timer.sleep(STEP);
            assert!(waits(&mut wait).await);
            tokio::time::advance(STEP / 2).await;
        }
        assert_eq!(Arc::strong_count(&timer.0), 1);
    }
}
