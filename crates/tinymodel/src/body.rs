//! What goes back to the client: a whole body, or a stream that makes its tokens as it
//! is read.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};

use crate::run::Run;

/// How one API writes its stream. All text goes into `out`.
pub(crate) trait Format: Send + 'static {
    /// Before the first token.
    fn begin(&mut self, run: &Run, out: &mut BytesMut);
    /// Sequence `at` of `run` has made a step.
    fn step(&mut self, run: &Run, at: usize, out: &mut BytesMut);
    /// After the last token.
    fn end(&mut self, run: &Run, out: &mut BytesMut);
}

/// A response body.
pub(crate) enum Reply {
    /// All of it at once.
    Whole(Bytes),
    /// Events.
    Stream(Box<Events>),
}

impl Reply {
    /// An answer of JSON.
    pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Self> {
        Self::of("application/json", status, Self::Whole(body.into()))
    }

    /// An answer of plain text.
    pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Self> {
        Self::of("text/plain; version=0.0.4; charset=utf-8", status, Self::Whole(body.into()))
    }

    /// A stream of events.
    pub(crate) fn stream(run: Run, format: impl Format) -> Response<Self> {
        let events =
            Events { run, format: Box::new(format), out: BytesMut::new(), state: State::New };
        let mut response = Self::of(
            "text/event-stream; charset=utf-8",
            StatusCode::OK,
            Self::Stream(Box::new(events)),
        );
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }

    fn of(kind: &'static str, status: StatusCode, body: Self) -> Response<Self> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Running,
    Over,
}

/// A running stream.
pub(crate) struct Events {
    run: Run,
    format: Box<dyn Format>,
    out: BytesMut,
    state: State,
}

impl Events {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while self.state != State::Over {
            let Poll::Ready(step) = self.run.poll_step(cx) else { return Poll::Pending };
            if self.state == State::New {
                self.state = State::Running;
                self.format.begin(&self.run, &mut self.out);
            }
            if let Some(at) = step {
                self.format.step(&self.run, at, &mut self.out);
            }
            if self.run.ended() {
                self.state = State::Over;
                self.format.end(&self.run, &mut self.out);
            }
            if !self.out.is_empty() {
                return Poll::Ready(Some(self.out.split().freeze()));
            }
        }
        Poll::Ready(None)
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match &mut *self {
            Self::Whole(body) if body.is_empty() => return Poll::Ready(None),
            Self::Whole(body) => Poll::Ready(Some(std::mem::take(body))),
            Self::Stream(events) => events.poll(cx),
        };
        data.map(|data| data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_empty(),
            Self::Stream(events) => events.state == State::Over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
