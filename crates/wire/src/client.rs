//! One request on one connection: for probes, the command line and tests. The request
//! path of the gateway has its own pools and does not use this.

use bytes::Bytes;
use evenkeel_domain::transport::Connection;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::AbortHandle;

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection or the protocol broke.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The answer is larger than the caller wants to hold.
    #[error("answer larger than {0} bytes")]
    TooLarge(usize),
    /// The answer's body broke.
    #[error("answer broke off: {0}")]
    Body(String),
}

/// Aborts the connection's task when dropped, so that leaving is noticed at the far end.
#[derive(Debug)]
pub struct ConnectionGuard(AbortHandle);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a request and gives the head of the answer with its body still to be read. The
/// connection closes when the guard is dropped.
///
/// # Errors
/// When the connection breaks before the answer's head.
pub async fn open(
    connection: Connection,
    h2: bool,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, ConnectionGuard), ClientError> {
    let io = TokioIo::new(connection.io);
    if h2 || connection.h2 {
        let (mut sender, driver) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        let guard = ConnectionGuard(tokio::spawn(driver).abort_handle());
        return Ok((sender.send_request(request).await?, guard));
    }
    let (mut sender, driver) = hyper::client::conn::http1::handshake(io).await?;
    let guard = ConnectionGuard(tokio::spawn(driver.with_upgrades()).abort_handle());
    Ok((sender.send_request(request).await?, guard))
}

/// Sends a request and reads the whole answer, at most `limit` bytes of it.
///
/// # Errors
/// When the connection breaks or the answer is too large.
pub async fn fetch(
    connection: Connection,
    h2: bool,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<Response<Bytes>, ClientError> {
    let (response, _guard) = open(connection, h2, request).await?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, limit).collect().await.map_err(|e| {
        if e.is::<LengthLimitError>() {
            ClientError::TooLarge(limit)
        } else {
            ClientError::Body(e.to_string())
        }
    })?;
    Ok(Response::from_parts(parts, body.to_bytes()))
}
