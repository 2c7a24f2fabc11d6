//! The API, served to this process alone.

use evenkeel_batch::{Parts, router};
use evenkeel_wire::within::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Header fields that the gateway adds to a client's.
const ADDED: usize = 16;

/// Serves every connection until `end`, which ends them all.
pub(super) async fn api(
    mut listener: Listener,
    parts: Parts,
    headers: usize,
    mut end: oneshot::Receiver<()>,
) {
    let mut http = http1::Builder::new();
    http.max_headers(headers + ADDED);
    let router = router(parts);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            taken = listener.accept() => {
                let Some(stream) = taken else { break };
                let service = TowerToHyperService::new(router.clone());
                connections.spawn(http.serve_connection(TokioIo::new(stream), service));
            }
            // How one ended is between client and API; a panic in it ends it alone.
            Some(_) = connections.join_next() => {}
            _ = &mut end => break,
        }
    }
    connections.shutdown().await;
}
