//! Work that outlives the request it began with: a worker ends only when it has ended.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use tokio::sync::Notify;

/// What a worker does beside its connections. Each piece of work bounds itself.
#[derive(Default)]
pub(crate) struct Background {
    running: Cell<usize>,
    idle: Notify,
}

struct Running(Rc<Background>);

impl Drop for Running {
    fn drop(&mut self) {
        let left = self.0.running.get() - 1;
        self.0.running.set(left);
        if left == 0 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Background {
    /// Runs it beside what goes on, on this thread.
    pub(crate) fn run(self: &Rc<Self>, work: impl Future<Output = ()> + 'static) {
        self.running.set(self.running.get() + 1);
        let running = Running(self.clone());
        tokio::task::spawn_local(async move {
            let _running = running;
            work.await;
        });
    }

    /// Waits until nothing runs any more.
    pub(crate) async fn idle(&self) {
        while self.running.get() > 0 {
            self.idle.notified().await;
        }
    }
}
