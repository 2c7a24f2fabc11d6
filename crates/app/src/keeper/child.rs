//! One gateway process, as the keeper sees it.

use super::Event;
use super::sockets::Sockets;
use crate::link::{self, ToGateway, ToKeeper};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;
use tokio::sync::mpsc;

/// Messages to a gateway that may wait; it reads them as they come.
const WAITING: usize = 1024;

/// A gateway process.
pub(super) struct Gateway {
    pub(super) id: u64,
    pub(super) pid: u32,
    pub(super) ready: bool,
    outbox: mpsc::Sender<ToGateway>,
    kill: mpsc::Sender<()>,
}

impl Gateway {
    /// Starts a gateway on these sockets. Events about it carry its id.
    pub(super) fn start(
        id: u64,
        binary: &Path,
        sockets: &Sockets,
        events: mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        link::send_sockets(&ours, &sockets.all())?;
        let mut child = Command::new(binary)
            .arg("gateway")
            // The allocator commits its arenas whole unless told not to: measured at 8,000
            // streams, 38 KiB each instead of 25.
            .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            // A group of its own: Ctrl-C in a terminal reaches the keeper alone, which then
            // drains the gateway in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().unwrap_or(0);
        let (mut reader, mut writer) = link::split(ours)?;
        let (outbox, mut inbox) = mpsc::channel::<ToGateway>(WAITING);
        tokio::spawn(async move {
            while let Some(message) = inbox.recv().await {
                if writer.send(&message).await.is_err() {
                    return;
                }
            }
        });
        let said = events.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = reader.next::<ToKeeper>().await {
                if said.send(Event::Said(id, message)).await.is_err() {
                    return;
                }
            }
        });
        let (kill, mut killed) = mpsc::channel(1);
        tokio::spawn(async move {
            let status = tokio::select! {
                status = child.wait() => status,
                _ = killed.recv() => {
                    // Its end is reported below either way.
                    let _ = child.start_kill();
                    child.wait().await
                }
            };
            let how = status.map_or_else(|e| e.to_string(), |s| s.to_string());
            let _ = events.send(Event::Ended(id, how)).await;
        });
        Ok(Self { id, pid, ready: false, outbox, kill })
    }

    /// Queues a message. One that a stuck gateway does not take is dropped: it will be
    /// replaced.
    pub(super) fn tell(&self, message: ToGateway) {
        let _ = self.outbox.try_send(message);
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        let _ = self.kill.try_send(());
    }
}
