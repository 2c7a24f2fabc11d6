//! A future that costs nothing while it has nothing to say.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::task::{Context, Poll, Wake, Waker};

/// A future that is polled only when itself has been woken, and not whenever its task is.
/// It stays within one task: that is the one it wakes.
pub(super) struct Quiet<F> {
    future: F,
    bell: Option<(Arc<Bell>, Waker)>,
}

struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Release);
        self.task.wake_by_ref();
    }
}

impl<F: Future + Unpin> Quiet<F> {
    pub(super) fn new(future: F) -> Self {
        Self { future, bell: None }
    }
}

impl<F: Future + Unpin> Future for Quiet<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let (bell, waker) = this.bell.get_or_insert_with(|| {
            let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: cx.waker().clone() });
            (bell.clone(), bell.into())
        });
        if !bell.rung.swap(false, AcqRel) {
            return Poll::Pending;
        }
        Pin::new(&mut this.future).poll(&mut Context::from_waker(waker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;
    use tokio::sync::oneshot;

    async fn waits(mut future: impl Future + Unpin) -> bool {
        poll_fn(|cx| Poll::Ready(Pin::new(&mut future).poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn it_is_polled_at_first_and_when_woken_and_not_in_between() {
        let (tell, told) = oneshot::channel::<u8>();
        let (mut told, polls) = (pin!(told), Cell::new(0));
        let counted = std::future::poll_fn(|cx| {
            polls.set(polls.get() + 1);
            told.as_mut().poll(cx)
        });
        let mut quiet = Quiet::new(counted);
        for _ in 0..10 {
            assert!(waits(&mut quiet).await);
        }
        assert_eq!(polls.get(), 1);
        tell.send(7).unwrap();
        assert_eq!((quiet.await, polls.get()), (Ok(7), 2));
    }

    #[tokio::test]
    async fn its_task_is_woken() {
        let (tell, told) = oneshot::channel::<u8>();
        let waiting = tokio::spawn(Quiet::new(told));
        tokio::task::yield_now().await;
        tell.send(7).unwrap();
        assert_eq!(waiting.await.unwrap(), Ok(7));
    }
}
