//! An answer on its way from a replica to a client, after its commit.
//!
//! The relay owns everything that must end with the stream: the attempt, the request, the
//! connection. When the client leaves, it is dropped, and all of that with it.

use super::BodyError;
use crate::attempt::classify::{self, Verdict};
use crate::attempt::guard::{AttemptGuard, RequestGuard};
use crate::error::Shape;
use crate::upstream::AnswerBody;
use bytes::Bytes;
use evenkeel_domain::clock;
use evenkeel_domain::outcome::{Outcome, ReplicaFault};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// How finely progress is told.
const MOVE_STEP: Duration = Duration::from_millis(50);

/// A committed answer whose body still comes.
pub(crate) struct Relay {
    first: Bytes,
    body: AnswerBody,
    attempt: Option<AttemptGuard>,
    request: Rc<RequestGuard>,
    /// How a whole body counts: a 4xx that is passed on is whole, too.
    good: Outcome,
    idle: Duration,
    deadline: Instant,
    last: Instant,
    told: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// Errors go in band, in this shape: the stream is server-sent events.
    in_band: Option<Shape>,
    grpc: bool,
}

impl Relay {
    pub(crate) fn new(
        first: Bytes,
        body: AnswerBody,
        attempt: AttemptGuard,
        request: Rc<RequestGuard>,
        good: Outcome,
    ) -> Self {
        let now = clock::now();
        Self {
            first,
            body,
            attempt: Some(attempt),
            request,
            good,
            idle: Duration::from_secs(30),
            deadline: now + Duration::from_secs(900),
            last: now,
            told: now,
            timer: None,
            in_band: None,
            grpc: false,
        }
    }

    pub(crate) fn with_idle(mut self, idle: Duration, deadline: Instant) -> Self {
        (self.idle, self.deadline) = (idle, deadline);
        self
    }

    pub(crate) fn with_error_event(mut self, in_band: bool, shape: Shape) -> Self {
        self.in_band = in_band.then_some(shape);
        self.grpc = shape == Shape::Grpc;
        self
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.first.is_empty() {
            self.request.relayed();
            let first = std::mem::take(&mut self.first);
            // A body that is known to have ended is not asked again.
            if self.body.is_end_stream() {
                self.finish(self.good);
            }
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.attempt.is_none() {
            return Poll::Ready(None);
        }
        match self.body.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.moved(clock::now());
                if let Some(trailers) = frame.trailers_ref() {
                    let outcome = self.outcome_of_trailers(trailers);
                    self.finish(outcome);
                } else {
                    self.request.relayed();
                    if self.body.is_end_stream() {
                        self.finish(self.good);
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.broken(
                Outcome::ReplicaFault(ReplicaFault::Truncated),
                &format!("the replica's answer broke off: {error}"),
            ),
            Poll::Ready(None) => {
                self.finish(self.good);
                Poll::Ready(None)
            }
            Poll::Pending => self.wait(cx),
        }
    }

    /// Nothing there: watches the clock, without touching the timer on each piece.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let until = (self.last + self.idle).min(self.deadline);
            let timer =
                self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until.into())));
            ready!(timer.as_mut().poll(cx));
            let now = clock::now();
            if now >= self.deadline {
                return self.broken(Outcome::Expired, "the request's deadline ran out");
            }
            if now >= self.last + self.idle {
                let text = format!("the replica sent nothing for {:?}", self.idle);
                return self.broken(Outcome::ReplicaFault(ReplicaFault::Stalled), &text);
            }
            let again = (self.last + self.idle).min(self.deadline);
            timer.as_mut().reset(again.into());
        }
    }

    /// Progress, told to the replica's watchers at most every [`MOVE_STEP`]: the cache line
    /// is shared by all workers.
    fn moved(&mut self, now: Instant) {
        self.last = now;
        if now.saturating_duration_since(self.told) >= MOVE_STEP {
            self.told = now;
            if let Some(attempt) = &self.attempt {
                attempt.replica().live.moved(now);
            }
        }
    }

    fn outcome_of_trailers(&self, trailers: &http::HeaderMap) -> Outcome {
        if !self.grpc {
            return self.good;
        }
        match classify::grpc(classify::grpc_status(trailers), true) {
            Verdict::Bad(outcome) => outcome,
            _ => self.good,
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(attempt) = self.attempt.take() {
            attempt.settle(outcome);
            self.request.settle(outcome);
        }
    }

    /// The answer cannot be completed: says so in band where there is a band, else ends
    /// the connection uncleanly so that nobody takes the part for the whole.
    fn broken(
        &mut self,
        outcome: Outcome,
        text: &str,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(attempt) = self.attempt.take() {
            attempt.settle(outcome);
            self.request.settle(outcome);
        }
        match self.in_band {
            None => Poll::Ready(Some(Err(text.into()))),
            Some(shape) => Poll::Ready(Some(Ok(Frame::data(error_event(shape, outcome, text))))),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.first.is_empty() && (self.attempt.is_none() || self.body.is_end_stream())
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.in_band.is_some() {
            // An error event may be added.
            return SizeHint::default();
        }
        match self.body.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(self.first.len() as u64 + rest),
            None => SizeHint::default(),
        }
    }
}

/// An error as an event, for streams that have already begun.
pub(crate) fn error_event(shape: Shape, outcome: Outcome, text: &str) -> Bytes {
    let text = format!("The stream could not be completed: {text}");
    // A blank line first ends whatever event the replica had begun.
    let event = match shape {
        Shape::Anthropic => {
            let value = serde_json::json!({
                "type": "error", "error": { "type": "api_error", "message": text },
            });
            format!("\n\nevent: error\ndata: {value}\n\n")
        }
        _ => {
            let value = serde_json::json!({ "error": {
                "message": text, "type": "server_error", "param": null, "code": outcome.label(),
            }});
            format!("\n\ndata: {value}\n\n")
        }
    };
    Bytes::from(event)
}
