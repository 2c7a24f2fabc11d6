//! Calls that may block for ever (a dead network file system, a hanging driver), one at a
//! time: a look that does not come back costs one thread, not one a look.

use super::Trouble;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// One place for a blocking call.
#[derive(Debug, Default)]
pub(super) struct Slot {
    busy: Arc<AtomicBool>,
}

/// Given back when the call ends, however it ends.
struct Taken(Arc<AtomicBool>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

impl Slot {
    /// Runs a call on a thread for such calls. Who stops waiting leaves it there.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        if self.busy.swap(true, SeqCst) {
            return Err(Trouble::Hangs("an earlier look still hangs in the system".into()));
        }
        let taken = Taken(self.busy.clone());
        let run = tokio::task::spawn_blocking(move || {
            let _taken = taken;
            call()
        });
        run.await.unwrap_or_else(|error| Err(Trouble::NoData(format!("the look broke: {error}"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[tokio::test]
    async fn what_hangs_is_not_begun_again() {
        let slot = Slot::default();
        let (go, wait) = mpsc::channel::<()>();
        let hanging = slot.run(move || {
            let _ = wait.recv();
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), hanging).await.is_err());
        let second = slot.run(|| Ok(())).await;
        assert!(matches!(second, Err(Trouble::Hangs(text)) if text.contains("still hangs")));
        drop(go);
        while slot.busy.load(SeqCst) {
            tokio::task::yield_now().await;
        }
        assert_eq!(slot.run(|| Ok(7)).await, Ok(7));
    }
}
