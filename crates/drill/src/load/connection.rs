//! One connection, driven by whoever uses it: no task of its own, no wake-ups between two.

use crate::load::Flaw;
use crate::load::target::Target;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// An open connection. Dropping it closes it.
pub(crate) struct Connection {
    sender: Sender,
    /// Gone when the connection is closed.
    driver: Option<Driver>,
}

enum Sender {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub(crate) async fn open(target: &Target, h2: bool) -> Result<Self, Flaw> {
        let connection = target.dialer.dial().await.map_err(|e| Flaw::dial(&e))?;
        let h2 = connection.h2 || (h2 && target.absolute.scheme_str() == Some("http"));
        let io = TokioIo::new(connection.io);
        if h2 {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(|e| Flaw::broken(&e, false))?;
            return Ok(Self { sender: Sender::H2(sender), driver: Some(Box::pin(driver)) });
        }
        let (sender, driver) = http1::handshake(io).await.map_err(|e| Flaw::broken(&e, false))?;
        Ok(Self { sender: Sender::H1(sender), driver: Some(Box::pin(driver)) })
    }

    pub(crate) fn is_h2(&self) -> bool {
        matches!(self.sender, Sender::H2(_))
    }

    /// Whether a request can be sent. A server may have closed the connection while it was
    /// idle; that is no failure.
    pub(crate) async fn is_ready(&mut self) -> bool {
        let Self { sender, driver } = self;
        let ready = async {
            match sender {
                Sender::H1(sender) => sender.ready().await.is_ok(),
                Sender::H2(sender) => sender.ready().await.is_ok(),
            }
        };
        drive(driver, ready).await && self.driver.is_some()
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        let Self { sender, driver } = self;
        match sender {
            Sender::H1(sender) => drive(driver, sender.send_request(request)).await,
            Sender::H2(sender) => drive(driver, sender.send_request(request)).await,
        }
    }

    /// Awaits something that comes over this connection.
    pub(crate) async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        drive(&mut self.driver, future).await
    }
}

/// Polls the connection around the future, so that what one does is seen by the other in
/// the same turn.
async fn drive<F: Future>(driver: &mut Option<Driver>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        for _ in 0..2 {
            if let Some(running) = driver
                && running.as_mut().poll(cx).is_ready()
            {
                // Its error reaches the request as well.
                *driver = None;
            }
            if let Poll::Ready(out) = future.as_mut().poll(cx) {
                return Poll::Ready(out);
            }
        }
        Poll::Pending
    })
    .await
}
