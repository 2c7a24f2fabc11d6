//! The end: answers under way, then gateways, then replicas.

use super::child::Gateway;
use super::signals::{Signals, What};
use super::{Event, Keeper};
use crate::link::ToGateway;
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::sync::mpsc;

/// Replicas get this long to end when the keeper stops, unless their own grace is longer.
const STOP_WITHIN: Duration = Duration::from_secs(30);

impl Keeper {
    /// Drains the gateways, then stops the replicas. A second signal hurries.
    pub(super) async fn stop(mut self, inbox: &mut mpsc::Receiver<Event>, signals: &mut Signals) {
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        tracing::info!("stopping: answers under way may end; a second signal ends them");
        // The gateways have the sockets, too: new clients are refused once they let go.
        self.sockets.close();
        self.tell_all(&ToGateway::Drain { replaced: false });
        let limit = tokio::time::sleep(self.config.gateway.drain + Duration::from_secs(2));
        tokio::pin!(limit);
        let mut gateways: Vec<Gateway> = self.current.take().into_iter().collect();
        gateways.append(&mut self.old);
        while !gateways.is_empty() {
            tokio::select! {
                Some(event) = inbox.recv() => if let Event::Ended(id, _) = event {
                    gateways.retain(|g| g.id != id);
                },
                what = signals.next() => if matches!(what, What::Stop) {
                    gateways.iter().for_each(Gateway::kill);
                },
                () = &mut limit => gateways.iter().for_each(Gateway::kill),
            }
        }
        // A job has as long as it asks for: it may be writing a checkpoint.
        let grace = self.config.job.iter().map(|job| job.stop_grace).max().unwrap_or_default();
        let hurried = tokio::select! {
            () = self.hosts.shutdown(STOP_WITHIN, grace.max(STOP_WITHIN)) => false,
            () = signals.stop_again() => true,
        };
        if hurried {
            self.hosts.shutdown(Duration::ZERO, Duration::ZERO).await;
        }
        tracing::info!("stopped");
    }
}
