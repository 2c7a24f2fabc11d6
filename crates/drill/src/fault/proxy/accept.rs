//! The proxy's own task: owns the port and every connection.

use crate::fault::proxy::port::Port;
use crate::fault::proxy::{Current, Shared, connection};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The most connections open at once; more wait to be accepted.
const MOST_OPEN: usize = 8_192;
/// How long to wait before listening again when that failed.
const LISTEN_AGAIN: Duration = Duration::from_millis(10);

/// Until aborted. Dropping it drops the port and all connections.
pub(crate) async fn run(
    port: Port,
    first: TcpListener,
    shared: Arc<Shared>,
    mut current: watch::Receiver<Current>,
    applied: watch::Sender<u64>,
) {
    let mut listener = Some(first);
    let mut open = JoinSet::new();
    loop {
        let now = current.borrow_and_update().clone();
        if !now.fault.listens() {
            listener = None;
        } else if listener.is_none() {
            listener = port.listen().ok();
            if listener.is_none() {
                tokio::time::sleep(LISTEN_AGAIN).await;
                continue;
            }
        }
        applied.send_replace(now.version);
        if !serve(&mut listener, &shared, &mut current, &mut open).await {
            return;
        }
    }
}

/// Until the fault changes; `false` when none can come any more.
async fn serve(
    listener: &mut Option<TcpListener>,
    shared: &Arc<Shared>,
    current: &mut watch::Receiver<Current>,
    open: &mut JoinSet<()>,
) -> bool {
    loop {
        tokio::select! {
            biased;
            changed = current.changed() => return changed.is_ok(),
            Some(_) = open.join_next() => {}
            accepted = accept(listener), if open.len() < MOST_OPEN => {
                let Ok(client) = accepted else {
                    // Out of descriptors, most likely: wait for some to come back.
                    tokio::time::sleep(LISTEN_AGAIN).await;
                    continue;
                };
                let number = shared.counts.accepted.fetch_add(1, Relaxed);
                open.spawn(connection::run(client, number, shared.clone(), current.clone()));
            }
        }
    }
}

async fn accept(listener: &Option<TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(client, _)| client),
        None => std::future::pending().await,
    }
}
