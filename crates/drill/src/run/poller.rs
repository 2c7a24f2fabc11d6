//! Looks at Evenkeel all the time, beside everything else: it may hang.

use crate::plan::Look;
use crate::run::Subject;
use evenkeel_domain::event::Event;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const EVERY: Duration = Duration::from_millis(100);
/// What has not answered by then does not.
const PATIENCE: Duration = Duration::from_secs(1);
/// Looks that wait to be taken: as many as there are while a guard starts slowly.
const QUEUE: usize = 64;

type Polled = (Option<Look>, Vec<Event>);

/// Dropping it ends the looking.
#[derive(Debug)]
pub(super) struct Poller {
    polled: mpsc::Receiver<Polled>,
    task: JoinHandle<()>,
}

pub(super) fn start(subject: Arc<dyn Subject>, cursor: u64) -> Poller {
    let (to, polled) = mpsc::channel(QUEUE);
    let task = tokio::spawn(async move {
        let mut last = (0, cursor);
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let polled = poll(&*subject, &mut last).await;
            if to.send(polled).await.is_err() {
                return;
            }
        }
    });
    Poller { polled, task }
}

/// `last` is the gateway's process and the newest event known of it.
async fn poll(subject: &dyn Subject, last: &mut (u32, u64)) -> Polled {
    let Ok(Ok(look)) = tokio::time::timeout(PATIENCE, subject.look()).await else {
        return (None, Vec::new());
    };
    if last.0 != 0 && last.0 != look.gateway_pid {
        // Another process counts anew.
        last.1 = 0;
    }
    last.0 = look.gateway_pid;
    if look.cursor == last.1 {
        return (Some(look), Vec::new());
    }
    let events = match tokio::time::timeout(PATIENCE, subject.events(last.1)).await {
        Ok(Ok(events)) => events,
        _ => Vec::new(),
    };
    last.1 = events.last().map_or(last.1, |event| event.seq);
    (Some(look), events)
}

impl Poller {
    /// The newest look, if there was one since, and all events.
    pub(super) fn take(&mut self) -> (Option<Option<Look>>, Vec<Event>) {
        let (mut newest, mut all) = (None, Vec::new());
        while let Ok((look, events)) = self.polled.try_recv() {
            newest = Some(look);
            all.extend(events);
        }
        (newest, all)
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.task.abort();
    }
}
