//! An answer that was come by in a roundabout way, counted as one request's.

use crate::attempt::guard::RequestGuard;
use crate::body::{BodyError, OutBody};
use crate::cache::flight::Flight;
use bytes::Bytes;
use evenkeel_domain::{Outcome, ReplicaFault};
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A client's request. Settled as cancelled when it is dropped before its end, whoever else
/// still works on a part of it.
pub(super) struct Asked(Rc<RequestGuard>);

impl Asked {
    pub(super) fn new(request: RequestGuard) -> Self {
        Self(Rc::new(request))
    }

    pub(super) fn guard(&self) -> &Rc<RequestGuard> {
        &self.0
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.settle(Outcome::Cancelled);
    }
}

/// Who knows how an answer ended.
pub(super) enum By {
    /// A part of the request.
    Part(Rc<RequestGuard>),
    /// An attempt shared with others.
    Flight(Arc<Flight>),
    /// It is here whole, and good.
    Kept,
}

impl By {
    fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Part(part) => part.ended(),
            Self::Flight(flight) => flight.outcome(),
            Self::Kept => Some(Outcome::Ok),
        }
    }
}

/// The body of such an answer.
pub(crate) struct Counted {
    body: OutBody,
    asked: Asked,
    by: By,
}

impl Counted {
    pub(super) fn new(body: OutBody, asked: Asked, by: By) -> Self {
        let counted = Self { body, asked, by };
        if counted.body.is_end_stream() {
            // Nobody asks an empty body for more.
            counted.ended();
        }
        counted
    }

    fn ended(&self) {
        self.asked.guard().settle(self.by.outcome().unwrap_or(Outcome::Ok));
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(_)) if self.body.is_end_stream() => self.ended(),
            Some(Ok(_)) => {}
            None => self.ended(),
            Some(Err(_)) => {
                let broken = Outcome::ReplicaFault(ReplicaFault::Truncated);
                let outcome = self.by.outcome().filter(|outcome| *outcome != Outcome::Ok);
                self.asked.guard().settle(outcome.unwrap_or(broken));
            }
        }
        Poll::Ready(frame)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
