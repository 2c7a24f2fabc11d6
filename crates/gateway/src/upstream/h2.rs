//! HTTP/2 to a replica, and upgrades: over hyper's client.

use super::{Answer, AnswerBody, Connections, SendFailure, already_sent, dial, unsent};
use crate::body::UpBody;
use crate::template::Template;
use evenkeel_domain::Replica;
use evenkeel_domain::outcome::{NetworkFault, Outcome};
use evenkeel_domain::transport::Connection;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// The one connection that all requests to a replica share.
#[derive(Default)]
pub(super) struct Shared(RefCell<Option<http2::SendRequest<UpBody>>>);

impl Shared {
    pub(super) fn clear(&self) {
        self.0.borrow_mut().take();
    }

    fn open(&self) -> Option<http2::SendRequest<UpBody>> {
        self.0.borrow().clone().filter(|sender| !sender.is_closed())
    }
}

/// Sends a request over the shared connection, opened if need be.
pub(super) async fn send(
    connections: &Rc<Connections>,
    replica: &Replica,
    template: &Template,
) -> Result<Answer, SendFailure> {
    match connections.h2.open() {
        Some(sender) => request_on(sender, replica, template).await,
        None => {
            let connection = dial(replica, template.connect).await?;
            send_on(connections, connection, replica, template).await
        }
    }
}

/// Sends a request over a new connection, which becomes the shared one.
pub(super) async fn send_on(
    connections: &Rc<Connections>,
    connection: Connection,
    replica: &Replica,
    template: &Template,
) -> Result<Answer, SendFailure> {
    let (sender, driver) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        // A peer that vanished is noticed although nothing is sent to it.
        .keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .adaptive_window(true)
        .handshake(TokioIo::new(connection.io))
        .await
        .map_err(|e| unsent(NetworkFault::Unreachable, e.to_string()))?;
    tokio::task::spawn_local(async move {
        // How an exchange ended is told to the request itself.
        let _ = driver.await;
    });
    *connections.h2.0.borrow_mut() = Some(sender.clone());
    request_on(sender, replica, template).await
}

async fn request_on(
    mut sender: http2::SendRequest<UpBody>,
    replica: &Replica,
    template: &Template,
) -> Result<Answer, SendFailure> {
    if let Err(error) = sender.ready().await {
        return Err(unsent(NetworkFault::Reset, error.to_string()));
    }
    let request = template.build_h2(replica).ok_or_else(already_sent)?;
    match sender.try_send_request(request).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            Ok((head, AnswerBody::H2(body)))
        }
        Err(error) => Err(failure(error)),
    }
}

fn failure(mut error: TrySendError<Request<UpBody>>) -> SendFailure {
    let unsent = error.take_message().is_some();
    let error = error.into_error();
    // What our own body stream reported is the client's doing, not the replica's.
    let client_broke = error.is_user();
    let text = match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    let outcome = match client_broke {
        true => Outcome::ClientFault,
        false => Outcome::NetworkFault(NetworkFault::Reset),
    };
    SendFailure { outcome, unsent, client_broke, text }
}

/// Runs HTTP/2's own tasks on the worker's thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// Opens a connection of its own for an upgrade and sends the request on it.
pub(crate) async fn send_upgrade(
    replica: &Replica,
    limit: Duration,
    request: Request<UpBody>,
) -> Result<Response<Incoming>, SendFailure> {
    let connection = dial(replica, limit).await?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(connection.io))
        .await
        .map_err(|e| unsent(NetworkFault::Unreachable, e.to_string()))?;
    tokio::task::spawn_local(async move {
        let _ = driver.with_upgrades().await;
    });
    sender.try_send_request(request).await.map_err(failure)
}
