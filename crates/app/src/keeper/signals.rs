//! What the system asks of the keeper.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
pub(super) enum What {
    Stop,
    Reload,
    Upgrade,
}

pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr2: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    pub(super) async fn next(&mut self) -> What {
        tokio::select! {
            _ = self.term.recv() => What::Stop,
            _ = self.int.recv() => What::Stop,
            _ = self.hup.recv() => What::Reload,
            _ = self.usr2.recv() => What::Upgrade,
        }
    }

    pub(super) async fn stop_again(&mut self) {
        while !matches!(self.next().await, What::Stop) {}
    }
}
